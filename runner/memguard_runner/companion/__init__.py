"""`memguard`: everything that is not "run this"."""
