"""Reading and editing the configuration file of a project: a pyproject.toml or a memguard.toml."""
