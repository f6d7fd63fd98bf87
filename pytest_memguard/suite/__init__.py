"""The pytest side: what the plugin needs besides its hooks. Nothing here is imported by the engine or the runner."""
