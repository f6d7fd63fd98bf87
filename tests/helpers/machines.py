"""A machine whose memory a test decides: a folder with the files of /proc and /sys that tell how full it is.

MEMGUARD_MACHINE points memguard at it. The files are rewritten in place, as the kernel's change under an open
descriptor; every text has the same length, so none is ever half old and half new.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MB = 1 << 20


class Machine:
    """Sizes are MB."""

    def __init__(self, folder: Path, *, total: int, available: int) -> None:
        self.folder = folder
        self.total = total
        self.has(available)

    @property
    def environment(self) -> dict[str, str]:
        """The variable that points memguard here."""
        return {"MEMGUARD_MACHINE": str(self.folder)}

    def has(self, available: int) -> None:
        """Let so much be available from now on."""
        kilobytes = {"MemTotal": self.total, "MemFree": available // 2, "MemAvailable": available}
        self._write("proc/meminfo", "".join(f"{name + ':':<16}{mb * 1024:>10} kB\n" for name, mb in kilobytes.items()))

    def group(self, *, limit: int, used: int, cache: int = 0, name: str = "job") -> None:
        """Put everything into a control group (version 2) that uses so much, `cache` of it as page cache."""
        self._write("proc/self/cgroup", f"0::/{name}\n")
        self._write(f"sys/fs/cgroup/{name}/memory.max", f"{limit * MB:<20}\n")
        self._write(f"sys/fs/cgroup/{name}/memory.stat", f"anon {0:<20}\ninactive_file {cache * MB:020}\n")
        self._write(f"sys/fs/cgroup/{name}/memory.current", f"{used * MB:<20}\n")

    def _write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, text.encode(), 0)
        finally:
            os.close(descriptor)
