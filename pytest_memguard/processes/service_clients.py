"""Programs that let a service outside of the tree do the work: what that starts is no descendant of theirs."""

from __future__ import annotations

import os

CLIENTS = frozenset(("docker", "docker-compose", "podman", "nerdctl", "ollama", "kubectl"))
SERVING = "serve"  # `ollama serve` is the service itself


def client_in(words: list[str]) -> str:
    """Return the name of the client that a command is, "" when it is none."""
    name = os.path.basename(words[0]) if words else ""
    return name if name in CLIENTS and SERVING not in words[1:2] else ""
