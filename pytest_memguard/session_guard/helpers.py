"""Processes that multiprocessing, joblib and loky start for themselves: they end with pytest, and clean up then."""

from __future__ import annotations


def is_helper(words: list[str]) -> bool:
    """Return whether a command is a resource tracker or a fork server: killed, it would leave shared memory behind."""
    return any(" import main" in word and ("resource_tracker" in word or "forkserver" in word) for word in words)


def ends_by_itself(words: list[str]) -> bool:
    """Return whether a command is that of a helper, or of a pool that loky keeps for whoever comes next."""
    return is_helper(words) or any("popen_loky" in word for word in words)
