"""The user's state folder: where it is, and making folders in it that are for the user alone."""

from __future__ import annotations

import os
from errno import EACCES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def find(environ: Mapping[str, str], platform: str) -> str:
    """Return memguard's state folder, "" where there is none (no home). `platform` is as in sys.platform.

    The places are platformdirs' (user_state_dir), XDG_STATE_HOME first on each system. A relative path is to be
    ignored (XDG Base Directory Specification).
    """
    base = environ.get("XDG_STATE_HOME", "")
    if not base.startswith("/"):
        home = environ.get("HOME", "")
        if not home.startswith("/"):
            return ""
        base = home.rstrip("/") + ("/Library/Application Support" if platform == "darwin" else "/.local/state")
    return base.rstrip("/") + "/memguard"


def make(place: str) -> None:
    """Make a folder with those above it, for the user alone. Raises OSError where nothing is to be kept."""
    above = place
    missing = []
    while True:
        try:
            facts = os.stat(above)
            break
        except FileNotFoundError:
            missing.append(above)
            above = os.path.dirname(above)
    if facts.st_uid != os.geteuid() and (not missing or _is_someone_elses(facts.st_uid)):
        raise PermissionError(EACCES, "belongs to another user", above)
    for path in reversed(missing):
        try:
            os.mkdir(path, 0o700)
            set_mode(path, 0o700)  # ~/.local is not ours alone
        except FileExistsError:  # another run was quicker
            pass


def set_mode(file: str | int, mode: int) -> None:
    """Give a file that we made the mode it should have whatever the umask took away."""
    try:
        os.chmod(file, mode)
    except OSError:  # a file system without modes
        pass


def _is_someone_elses(owner: int) -> bool:
    """Return whether this is sudo in the caller's home: a folder of root's in there would be in the caller's way."""
    return os.geteuid() == 0 and owner != 0 and os.environ.get("SUDO_UID") == str(owner)
