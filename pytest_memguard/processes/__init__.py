"""Processes: who they are, what they hold, how they are signalled."""
