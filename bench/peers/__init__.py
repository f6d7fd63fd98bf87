"""Other ways to guard a command, started as programs of their own."""
