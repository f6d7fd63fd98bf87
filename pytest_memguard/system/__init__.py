"""The machine: its memory, its control groups, the kernel's OOM killer."""
