"""Sinks: where the events of a run go. Each is a small pluggy plugin; nothing is imported before it is wanted."""
