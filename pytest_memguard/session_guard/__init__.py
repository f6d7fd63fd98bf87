"""The guard's side of pytest sessions."""
