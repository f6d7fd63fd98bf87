"""The one table of settings: what each is called in a file, a variable and on the command line, and what it accepts.

Everything that knows a setting by name (loader, `--show-config`, error messages, the pytest plugin) reads this table.
"""

from __future__ import annotations

from pytest_memguard.errors import quote
from pytest_memguard.units import TB, UNLIMITED, Limit, format_size, parse_seconds, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

RUNNER, PYTEST, BOTH = "runner", "pytest", "both"
ACTIONS = ("fail", "warn")
LEFTOVERS = ("report", "kill", "ignore", "keep")
KILL, WARNING, FINISH = "kill", "warning", "finish"
OCCASIONS = (KILL, WARNING, FINISH)
EXPECTED_SWITCH = "expected 1, 0, true, false, yes, no, on or off"
SHORTEST_INTERVAL = 0.05  # seconds; a snapshot is about 1 KB, so this is 20 KB of log a second

_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class Kind:
    """A kind of value: how it is read, how `--show-config` writes it, and what help calls it ("": a switch).

    `parse(value, written_in_file)` raises ValueError, whose text says what was expected.
    """

    __slots__ = ("metavar", "parse", "write")

    def __init__(self, metavar: str, parse: Callable[[object, bool], Any], write: Callable[[Any], str] = str) -> None:
        self.metavar = metavar
        self.parse = parse
        self.write = write


class Setting:
    """One row of the table: all that options, variables, files, help and `--show-config` have to know of a setting."""

    def __init__(
        self,
        key: str,
        kind: Kind,
        default: Any,
        help: str,  # noqa: A002 - the word everybody knows
        *,
        example: str = "",
        options: tuple[str, ...] = (),
        pytest_option: str = "",
        pytest_help: str = "",
        bun_variable: str = "",
        generic_variable: str = "",
        doors: str = BOTH,
        secret: bool = False,
        acts: bool = False,
    ) -> None:
        self.key = key  # in the file
        self.name = key.replace("-", "_")  # as an attribute of Settings
        self.variable = "MEMGUARD_" + self.name.upper()
        self.bun_variable = bun_variable  # read when the command is bun test
        self.generic_variable = generic_variable  # read for any command
        self.options = options  # of memguard-test; the long spelling last
        self.pytest_option = pytest_option
        self.doors = doors  # which of `memguard-test` and pytest has it
        self.kind = kind
        self.default = default  # as a user would write it
        self.example = example  # of a value, as it is typed in a shell
        self.help = help  # where memguard-test has an option: 55 characters, as its --help is one screen
        self.pytest_help = pytest_help or help
        self.secret = secret  # its value may hold a password or a token: no message quotes it
        self.acts = acts  # it runs or writes something: a project's file may say it where the user trusts the project

    def parse(self, value: object, written_in_file: bool) -> Any:
        """Return the value that was meant. Raises ValueError, whose text says what was expected."""
        return self.kind.parse(value, written_in_file)

    def got(self, value: object) -> str:
        """Return the end of an error's sentence, nothing where the value may hold a secret."""
        return "" if self.secret else f", got {quote(value)}"


def _parse_size(value: object, _written_in_file: bool) -> Any:
    """Check a size, and return it as it was written: what a percentage is of is known only when it is chosen."""
    parse_size(value, total=TB)  # type: ignore[arg-type]
    return value


def _parse_interval(value: object, _written_in_file: bool) -> float:
    seconds = parse_seconds(value)  # type: ignore[arg-type]
    if seconds < SHORTEST_INTERVAL:
        raise ValueError(f"expected a number of seconds of at least {SHORTEST_INTERVAL}, such as 3, 0.5 or 500ms")
    return seconds


def _parse_grace(value: object, _written_in_file: bool) -> float:
    return parse_seconds(value)  # type: ignore[arg-type]


def _parse_path(value: object, written_in_file: bool) -> str | None:
    if value is False and written_in_file:  # TOML has no word for "none", and a profile may want no log
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("expected the path of a file" + (", or false for none" if written_in_file else ""))
    return value


def _parse_switch(value: object, written_in_file: bool) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and not written_in_file:
        switch = _SWITCH.get(value.strip().lower())
        if switch is not None:
            return switch
    raise ValueError("expected true or false" if written_in_file else EXPECTED_SWITCH)


def _parse_verbose(value: object, written_in_file: bool) -> bool:
    """Accept, from a variable, any whole number too: VERBOSE=2 is what other programs are told."""
    if isinstance(value, str) and not written_in_file:
        digits = value.strip()
        if digits.isascii() and digits.isdigit():
            return digits.strip("0") != ""
        try:
            return _parse_switch(value, written_in_file)
        except ValueError:
            raise ValueError(EXPECTED_SWITCH + ", or a whole number") from None
    return _parse_switch(value, written_in_file)


def _parse_test_limit(value: object, written_in_file: bool) -> Any:
    """Check a size, or false for none."""
    if value is False and written_in_file:
        return None
    return _parse_size(value, written_in_file)


def _parse_floor(value: object, written_in_file: bool) -> Any:
    """Check a size; 0, and false in a file, mean none."""
    if not isinstance(value, bool) and str(value).strip() == "0":
        return None
    return _parse_test_limit(value, written_in_file)


def _choice(words: tuple[str, ...]) -> Callable[[object, bool], Any]:
    def parse(value: object, _written_in_file: bool) -> str:
        if value not in words:
            raise ValueError("expected " + " or ".join([", ".join(words[:-1]), words[-1]]))
        return str(value)

    return parse


def _parse_occasions(value: object, _written_in_file: bool) -> tuple[str, ...]:
    """Accept "kill, warning" and ["kill", "warning"]; return them in the order of OCCASIONS."""
    words = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)) or not words or any(word not in OCCASIONS for word in words):
        raise ValueError('expected one or more of kill, warning, finish, such as "kill, warning"')
    return tuple(word for word in OCCASIONS if word in words)


def _parse_shell_command(value: object, written_in_file: bool) -> str | None:
    if value is False and written_in_file:
        return None
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("expected a command for the shell" + (", or false for none" if written_in_file else ""))
    return value


def _parse_urls(value: object, written_in_file: bool) -> tuple[str, ...]:
    """Accept a list; in a variable, words with blanks between them. An empty list, or false, means none."""
    if value is False and written_in_file:
        return ()
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) and "://" in word for word in words):
        raise ValueError('expected addresses as apprise has them, such as "ntfy://topic"')
    return tuple(words)


def _parse_patterns(value: object, written_in_file: bool) -> tuple[str, ...]:
    """Accept a list; in a variable, words with blanks between them. An empty list, or false, means none."""
    if value is False and written_in_file:
        return ()
    words = value.split() if isinstance(value, str) and not written_in_file else value
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError('expected patterns as in a .gitignore, such as ["out/", "*.log"]')
    return tuple(words)


def _count(expected: str) -> Callable[[object, bool], int]:
    def parse(value: object, _written_in_file: bool) -> int:
        digits = value.strip() if isinstance(value, str) else value
        if isinstance(digits, str) and digits.isascii() and digits.isdigit() and len(digits) < 7:
            return int(digits)
        if isinstance(digits, int) and not isinstance(digits, bool) and 0 <= digits < 10**6:
            return digits
        raise ValueError(expected)

    return parse


_kept = _count("expected how many runs to keep, such as 100, or 0 for none")


def _parse_keep(value: object, written_in_file: bool) -> int:
    """Check how many runs are kept; a switch that is off means none."""
    is_off = _SWITCH.get(str(value).strip().lower()) is False
    return 0 if is_off else _kept(value, written_in_file)


def _words(value: tuple[str, ...]) -> str:
    return ", ".join(value)


def _seconds(value: float) -> str:
    return f"{value:.10g} s"


def _true_or_false(value: bool) -> str:
    return "true" if value else "false"


SIZE = Kind("SIZE", _parse_size, format_size)
SWITCH = Kind("", _parse_switch, _true_or_false)
COUNT = Kind("N", _count("expected how many tests to show, such as 10"))

SETTINGS = (
    Setting(
        "limit",
        SIZE,
        800,
        "what the whole tree may hold: MB, 1.5G or 50% (800)",
        example="500",
        options=("-t", "--limit"),
        pytest_option="--mem-limit",
        pytest_help="guard this session: pytest, its subprocesses and xdist workers may hold SIZE together "
        "(MB, 1.5G, 50%); 0 switches the guard off",
        bun_variable="BUN_TEST_MEMORY_THRESHOLD",
        generic_variable="MEMORY_THRESHOLD",
    ),
    Setting(
        "min-available",
        Kind("SIZE", _parse_floor, format_size),
        None,
        "stop it, too, when the machine has less than that left",
        example="500",
        options=("--min-available",),
        pytest_option="--mem-min-available",
        pytest_help="act, too, when the machine has less than SIZE available and this session holds a good part of "
        "what is used",
    ),
    Setting(
        "warn",
        SIZE,
        "90%",
        "level above which a warning is given: a size, or a percentage of the limit",
        example="80%",
        pytest_option="--mem-warn",
        pytest_help="name tests that came so close to a limit (default 90%)",
    ),
    Setting(
        "interval",
        Kind("S", _parse_interval, _seconds),
        3,
        "seconds between two snapshots in the log (3)",
        example="5",
        options=("-i", "--interval"),
        bun_variable="BUN_TEST_CHECK_INTERVAL",
        generic_variable="CHECK_INTERVAL",
    ),
    Setting(
        "log",
        Kind("FILE", _parse_path),
        None,
        "append snapshots to a file, as JSON lines",
        example="memory.log",
        options=("-l", "--log"),
        pytest_option="--mem-log",
        pytest_help="append a JSON line a snapshot",
        bun_variable="BUN_TEST_LOG_FILE",
        acts=True,
    ),
    Setting(
        "keep",
        Kind("N", _parse_keep),
        100,
        "how many runs of each folder are kept in the log folder of the user; 0 for none",
        example="10",
    ),
    Setting(
        "verbose",
        Kind("", _parse_verbose, _true_or_false),
        False,
        "show a status line, and the peak at the end",
        doors=RUNNER,
        options=("-v", "--verbose"),
        bun_variable="BUN_TEST_VERBOSE",
        generic_variable="VERBOSE",
    ),
    Setting(
        "notify",
        SWITCH,
        True,
        "send notifications, on the desktop and by notify-*",
        options=("--notify", "--no-notify"),
    ),
    Setting(
        "notify-on",
        Kind("WORDS", _parse_occasions, _words),
        (KILL,),
        "what to notify of: kill,warning,finish (kill)",
        example="kill,warning",
        options=("--notify-on",),
    ),
    Setting(
        "notify-command",
        Kind("CMD", _parse_shell_command),
        None,
        "shell command that is told: NOTICE_TITLE, ..., stdin",
        example='"say stopped"',
        options=("--notify-command",),
        secret=True,
        acts=True,
    ),
    Setting(
        "notify-urls",
        Kind("URLS", _parse_urls, " ".join),
        (),
        "addresses to notify through apprise (extra: notify)",
        example="ntfy://topic",
        secret=True,
        acts=True,
    ),
    Setting(
        "grace",
        Kind("S", _parse_grace, _seconds),
        5,
        "seconds between SIGTERM and SIGKILL (5)",
        example="10",
        options=("--grace",),
    ),
    Setting(
        "leave-running",
        SWITCH,
        False,
        "let what the command leaves behind at its end run on",
        doors=RUNNER,
        options=("--leave-running",),
    ),
    Setting(
        "watch-ignore",
        Kind("PATTERNS", _parse_patterns, " ".join),
        (),
        "what --watch does not watch, as in a .gitignore: a list of patterns",
        example="out/",
        doors=RUNNER,
    ),
    Setting("enabled", SWITCH, False, "guard every pytest session of this project", doors=PYTEST),
    Setting(
        "test-limit",
        Kind("SIZE", _parse_test_limit, format_size),
        None,
        "what each test may add to what was there when it started; the marker mem_limit overrides it",
        example="200",
        pytest_option="--mem-test-limit",
        doors=PYTEST,
    ),
    Setting(
        "action",
        Kind("fail|warn", _choice(ACTIONS)),
        "fail",
        "what to do when a limit is passed: act and fail the test at fault (default), or only warn",
        example="warn",
        pytest_option="--mem-action",
        doors=PYTEST,
    ),
    Setting(
        "leftovers",
        Kind("report|kill|ignore|keep", _choice(LEFTOVERS)),
        "report",
        "processes that a test left running: report them at the end (default), kill them when the test is over, "
        "or ignore them; at the end of the session all are ended, unless you keep them",
        example="kill",
        pytest_option="--mem-leftovers",
        doors=PYTEST,
    ),
    Setting(
        "report",
        COUNT,
        0,
        "show the N tests that added most memory (10)",
        example="10",
        pytest_option="--mem-report",
        doors=PYTEST,
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
BY_KEY = {setting.key: setting for setting in SETTINGS}


class Settings:
    """The effective settings of one run, and where each came from. Sizes are bytes, durations seconds."""

    limit: Limit
    min_available: Limit  # 0: none
    warn: Limit
    interval: float
    log: str | None
    keep: int
    verbose: bool
    notify: bool
    notify_on: tuple[str, ...]
    notify_command: str | None
    notify_urls: tuple[str, ...]
    grace: float
    leave_running: bool
    watch_ignore: tuple[str, ...]
    enabled: bool
    test_limit: Limit  # 0: none
    action: str
    leftovers: str
    report: int
    profile: str | None
    config_file: str | None
    user_file: str | None

    def __init__(
        self,
        values: Mapping[str, Any],
        sources: Mapping[str, str],
        notes: Mapping[str, str],
        notices: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Take values by name: bytes where there is a size, None for none."""
        for name, value in values.items():
            if name in BY_NAME and BY_NAME[name].kind.metavar == SIZE.metavar:
                setattr(self, name, Limit(value or 0, sources[name] if value else ""))
            else:
                setattr(self, name, tuple(value) if isinstance(value, list) else value)
        self._sources = sources
        self._notes = notes
        self._notices = notices

    @property
    def warn_share(self) -> float:
        """How much of a limit the warn level is."""
        return self.warn / self.limit

    def lift_limit(self) -> None:
        """Take the limit of the whole tree away, and leave the share of it that is worth a warning."""
        self.warn = Limit(int(UNLIMITED * self.warn_share), self.warn.source)
        self.limit = Limit(UNLIMITED)

    def source(self, name: str) -> str:
        """Return where the value of setting `name` came from: "-t", "MEMGUARD_LIMIT", "default", or file and table."""
        return self._sources[name]

    def note(self, name: str) -> str:
        """Return what a percentage was taken of, such as "50% of physical memory"; otherwise nothing."""
        return self._notes.get(name, "")

    def notices(self) -> tuple[tuple[str, str], ...]:
        """Return what files say that does not hold, and the cure: to be told once a run."""
        return self._notices

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON and execnet have it, secrets and all."""
        values = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        plain = {name: int(value) if isinstance(value, Limit) else value for name, value in values.items()}
        return {"values": plain, "sources": dict(self._sources)}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Settings:
        """Return what `to_json` made; nothing is known of percentages any more."""
        return cls(facts["values"], facts["sources"], {})


def nearest(word: str, known: Iterable[str]) -> str:
    """Return, for a message about an unknown `word`, the nearest known one, or else all there are, in parentheses."""
    import difflib  # late: the command's start (8 ms with what it imports: on the way to an error only)

    names = list(known)
    close = difflib.get_close_matches(word[:100], names, n=1, cutoff=0.6)
    if close:
        return f"(did you mean {close[0]}?)"
    return f"(known are {', '.join(names)})"
