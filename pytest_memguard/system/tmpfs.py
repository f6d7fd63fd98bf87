"""How full each tmpfs is: files there are memory that stays when the processes that wrote it are gone."""

from __future__ import annotations

import os

from pytest_memguard.errors import printable

from .procfs import read_file

MOST = 64  # mounts looked at, of which each takes 3 us: a node of Kubernetes has hundreds


def used(root: str = "/") -> dict[str, int]:
    """Return the bytes in use on each tmpfs, by the place where it is mounted first; {} where there are none."""
    found: dict[str, int] = {}
    devices: set[bytes] = set()
    for line in read_file(os.path.join(root, "proc/self/mountinfo")).splitlines():
        fields, _, kind = line.partition(b" - ")
        if not kind.startswith(b"tmpfs "):
            continue
        _, _, device, _, path, *_ = fields.split()
        if device in devices or len(devices) >= MOST:
            continue
        devices.add(device)
        try:
            place = path.decode("unicode_escape").encode("latin-1")  # \040 is a blank
            facts = os.statvfs(place)
        except (OSError, ValueError):
            continue
        found[printable(os.fsdecode(place))] = (facts.f_blocks - facts.f_bfree) * facts.f_frsize
    return found
