"""The log: JSON lines, and the folder where runs are kept."""
