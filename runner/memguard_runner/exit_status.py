"""Exit statuses of our own; those of timeout(1) and the shell, and the number that container users know."""

OK = 0
USAGE = 2
OWN_FAILURE = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
OVER_SIGNALS = 128
MEMORY = 137
