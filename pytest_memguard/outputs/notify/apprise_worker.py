"""Sending by apprise, in a process of its own: it takes a second and 40 MB to import, and nothing else needs it."""

from __future__ import annotations

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

from .redact import masked_url

TYPES = {"kill": "failure", "warning": "warning"}


def main() -> None:
    """Send what stands on stdin as JSON ({"urls": [...], "facts": {...}}); exit with 1 if an address failed."""
    job = json.load(sys.stdin)
    import apprise  # late: an extra (and 40 MB)

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    facts = job["facts"]

    def send(url: str) -> bool:
        sender = apprise.Apprise()
        kind = TYPES.get(facts["event"], "info")
        return bool(sender.add(url)) and bool(
            sender.notify(
                title=facts["title"], body=facts["text"], notify_type=kind, body_format=apprise.NotifyFormat.TEXT
            )
        )

    with ThreadPoolExecutor(len(job["urls"])) as pool:  # one that hangs holds up no other
        sent = list(pool.map(send, job["urls"]))
    failed = [masked_url(url) for url, arrived in zip(job["urls"], sent, strict=True) if not arrived]
    if failed:
        sys.exit(f"apprise could not send to {', '.join(failed)}")
