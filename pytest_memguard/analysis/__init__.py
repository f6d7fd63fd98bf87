"""What a log tells: reading it, the shape of a run over time, and how runs compare."""
