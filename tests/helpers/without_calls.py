"""Becomes a program for which some system calls fail, as in a container with an old or strict seccomp profile.

    without_calls.py ERRNO CALL|all[-CALL...] PROGRAM [ARGUMENT...]

A filter of its own (seccomp(2), classic BPF): load the call's number, compare it with each, answer the errno.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

NUMBERS = {  # x86_64, aarch64 (asm/unistd.h)
    "flock": (73, 32),
    "getpriority": (140, 141),
    "getrusage": (98, 165),
    "inotify_init1": (294, 26),
    "kcmp": (312, 272),
    "memfd_create": (319, 279),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "sched_getaffinity": (204, 123),
    "setpgid": (109, 154),
    "setpriority": (141, 140),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "waitid": (247, 95),
}
LOAD, IS_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
ALLOW, ANSWER = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
NO_NEW_PRIVS, SECCOMP, FILTER = 38, 22, 2  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def numbers(calls: str) -> list[int]:
    """Return the numbers of one call, or of all but some, on this machine."""
    first, *others = calls.split("-")
    column = ("x86_64", "aarch64").index(os.uname().machine)
    names = NUMBERS.keys() - others if first == "all" else [first]
    return [NUMBERS[name][column] for name in names]


def refuse(calls: list[int], error: int) -> None:
    """Let these calls fail from now on, for this process and what comes of it."""
    steps = [(LOAD, 0, 0, 0)]
    for number in calls:
        steps += [(IS_EQUAL, 0, 1, number), (RETURN, 0, 0, ANSWER | error)]
    steps.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(SECCOMP, FILTER, ctypes.byref(program), 0, 0):
        sys.exit(f"no filter can be set here: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    refuse(numbers(sys.argv[2]), getattr(errno, sys.argv[1]))
    os.execvp(sys.argv[3], sys.argv[3:])
