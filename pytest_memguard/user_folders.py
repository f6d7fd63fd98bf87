"""The user's folders, for state and for configuration: where they are, and making some that are for the user alone."""

from __future__ import annotations

import os
from errno import EACCES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MACOS = "/Library/Application Support"


def find_state(environ: Mapping[str, str], platform: str) -> str:
    """Return memguard's state folder, "" where there is none (no home). `platform` is as in sys.platform.

    The places are platformdirs' (user_state_dir), XDG_STATE_HOME first on each system. A relative path is to be
    ignored (XDG Base Directory Specification).
    """
    return _find(environ, "XDG_STATE_HOME", MACOS if platform == "darwin" else "/.local/state")


def find_configuration(environ: Mapping[str, str], platform: str) -> str:
    """Return memguard's configuration folder in the same way (user_config_dir, XDG_CONFIG_HOME)."""
    return _find(environ, "XDG_CONFIG_HOME", MACOS if platform == "darwin" else "/.config")


def _find(environ: Mapping[str, str], variable: str, usual: str) -> str:
    base = environ.get(variable, "")
    if not base.startswith("/"):
        home = environ.get("HOME", "")
        if not home.startswith("/"):
            return ""
        base = home.rstrip("/") + usual
    return base.rstrip("/") + "/memguard"


def expand_home(path: str, environ: Mapping[str, str]) -> str:
    """Return a path with the home folder in the place of a tilde at its beginning."""
    if (path == "~" or path.startswith("~/")) and environ.get("HOME"):
        return environ["HOME"].rstrip("/") + path[1:]
    return os.path.expanduser(path)


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
    if facts.st_uid != os.geteuid() and (not missing or is_behind_sudo(facts.st_uid)):
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


def is_behind_sudo(owner: int) -> bool:
    """Return whether this is sudo and `owner` its caller, in whose home a folder of root's would be in the way."""
    return os.geteuid() == 0 and owner != 0 and os.environ.get("SUDO_UID") == str(owner)
