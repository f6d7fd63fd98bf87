"""The name that a guard process takes in ps(1): `killall -9 memguard-test` must leave somebody to end the tree."""

NAME = b"memguard-guard"  # 14 of the 15 bytes that comm has (proc(5))


def take_guard_name() -> None:
    """Give this process the guard's name, where there is a procfs (macOS has none)."""
    try:
        with open("/proc/self/comm", "wb", buffering=0) as name:
            name.write(NAME)
    except OSError:
        pass
