"""Settings: the table, and what files, environment and options say."""
