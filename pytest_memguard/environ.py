"""The variables that memguard itself sets in the environments of what it starts, or (reader, machine) in its tests."""

COOKIE = "MEMGUARD_RUN"  # the identifiers of the runs around a process, the outermost first
SOCKET = "MEMGUARD_SOCKET"  # where a pytest finds the guard around it
LIFELINE = "MEMGUARD_LIFELINE"  # a descriptor whose closing ends the run: `--watch` holds the other end
READER = "MEMGUARD_READER"
MACHINE = "MEMGUARD_MACHINE"  # a folder that stands for `/`
PLAN = "MEMGUARD_PLAN"  # the settings with which a pytest session is guarded, for its guard
INTERNAL_VARIABLES = (COOKIE, SOCKET, LIFELINE, PLAN, READER, MACHINE)  # MEMGUARD_*, and no settings of a user

NOTICE = "NOTICE_"  # begins the names in which a notify command finds what happened
NOTICE_JOB = "NOTICE_JOB"  # what a sender has to send
