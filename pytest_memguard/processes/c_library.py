"""Calls of the C library, for what Python has no function for.

`_ctypes`, the C half of the standard `ctypes`, does it for 0.8 ms of the command's start, and for next to no memory;
importing `ctypes` and loading a library through it takes 3.4 ms and 0.5 MB.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def function(name: str) -> Callable[..., int]:
    """Return a function of integers that fit an int, and of pointers made by ctypes. It returns an int."""
    try:
        import _ctypes  # late: the command's start

        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), name)  # type: ignore[arg-type]
        call = _ctypes.call_function
    except (ImportError, AttributeError, OSError):  # an interpreter that is not CPython
        import ctypes  # late: the command's start

        return getattr(ctypes.CDLL(None), name)  # type: ignore[no-any-return]
    return lambda *arguments: int(call(address, arguments))
