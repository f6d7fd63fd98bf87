"""The measurements behind every figure in the documentation: `python -m bench`, against named peers in the same run.

Each measurement is a module with one function, `measure(context) -> Report`. Nothing here is part of the package.
"""
