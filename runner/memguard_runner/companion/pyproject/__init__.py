"""Reading and editing the configuration in a pyproject.toml."""
