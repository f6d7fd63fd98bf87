"""What guarding costs a session of trivial tests, beside other plugins, and what its guard process holds and uses."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import memory, processes, sessions
from .context import CannotMeasure, running
from .report import Report, Verdict, spread

if TYPE_CHECKING:
    from .context import Context

TESTS = 500
SLOW = 4.0  # seconds: whoever takes longer runs in every SLOW_TURN-th round only
SLOW_TURN = 8
AT_MOST = 1.03
SHARE_ALLOWED = 1.4
MB = 1 << 20
WINDOW = 2.0  # seconds out of the SLEEP that the sleeping test takes
SETTLE = 0.5
SLEEP = 3
PEERS = {"timeout": "pytest-timeout", "memray": "pytest-memray", "monitor": "pytest-monitor"}
LIMIT = "--mem-limit=4000"
SLEEPER = """\
import subprocess, time

def test_sleeps():
    children = [subprocess.Popen(["sleep", "60"]) for _ in range({count})]
    open("ready", "w").close()
    time.sleep({seconds})
    for child in children:
        child.kill()
        child.wait()
"""


@dataclass
class Candidate:
    """A way to run the tests: its plugins (all others are blocked), its options, and what was measured."""

    name: str
    plugins: tuple[str, ...]
    options: tuple[str, ...] = ()
    tests: int = TESTS
    runs: dict[int, sessions.Ended] = field(default_factory=dict)  # by round
    failure: str = ""

    @property
    def kind(self) -> str:
        """Return what tells it from others that it cannot be compared to."""
        return " -n 2" if "-n2" in self.options else ", 1 test" if self.tests == 1 else ""

    def ratios(self, base: Candidate, what: str) -> list[float]:
        """Return what it took compared to another, round by round."""
        return [
            getattr(run, what) / getattr(base.runs[turn], what) for turn, run in self.runs.items() if turn in base.runs
        ]


def measure(context: Context) -> Report:
    """Run all candidates in turn, again and again, forwards and backwards."""
    rounds = 6 if context.quick else 40
    environment = sessions.Environment(context.scratch, context.python, ["pytest-xdist"])
    missing = _install_peers(environment)
    folder = context.scratch / "trivial"
    folder.mkdir(exist_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    for tests in (1, TESTS):
        lines = [f"def test_{number}(): pass\n" for number in range(tests)]
        (folder / f"test_{tests}.py").write_text("\n".join(lines), encoding="utf-8")
    candidates = _candidates(missing)
    _run_in_turn(candidates, environment, folder, rounds)
    report = Report(
        "pytest",
        f"pytest, {TESTS} trivial tests",
        f"Milliseconds, {rounds} rounds in turn, those over {SLOW:.0f} s in every {SLOW_TURN}th, median "
        "(least - most). Time: until pytest has ended; CPU: user and system time of all processes of the session, the "
        "guard process among them. Ratios are of two runs in the same round: to the same session with memguard "
        "installed but not asked for, and without it (`-p no:memguard`); with `-n 2` both run with `-n 2`. A "
        "session of 1 test shows what of it is start-up. Plugins not named are blocked.",
        ["session", "time", "CPU", "time / not asked for", "time / without", "CPU / not asked for", "CPU / without"],
    )
    by_name = {candidate.name: candidate for candidate in candidates}
    for candidate in candidates:
        bases = [by_name[f"memguard not asked for{candidate.kind}"], by_name[f"without{candidate.kind}"]]
        report.rows.append(_row(candidate, bases))
    for package, why in missing.items():
        report.rows.append([package, "cannot be installed", "", "", "", "", ""])
        report.notes.append(f"{package} cannot be installed: {why}")
    for candidate in candidates:
        if candidate.failure:
            report.notes.append(f"{candidate.name} does not work with this pytest: `{candidate.failure}`")
    guarded = by_name[LIMIT].ratios(by_name["memguard not asked for"], "wall")
    if guarded:
        ratio = statistics.median(guarded)
        what = f"{TESTS} trivial tests with {LIMIT}, time / not asked for"
        report.verdicts.append(Verdict(what, f"{AT_MOST} x", f"{ratio:.3f} x", ratio <= AT_MOST))
    _guard_process(context, environment, report)
    named = ["pytest", "pytest-xdist", *(package for package in PEERS.values() if package not in missing)]
    report.notes.append(
        "Versions: " + ", ".join(f"{package} {environment.version(package)}" for package in named) + "."
    )
    return report


def _install_peers(environment: sessions.Environment) -> dict[str, str]:
    """Return the peers that cannot be installed, and why."""
    missing = {}
    for package in PEERS.values():
        try:
            environment.install(package)
        except CannotMeasure as error:
            missing[package] = str(error)
    return missing


def _candidates(missing: dict[str, str]) -> list[Candidate]:
    guard, workers = ("memguard",), ("memguard", "xdist", "xdist.looponfail")
    found = [
        Candidate("without", ()),
        Candidate("memguard not asked for", guard),
        Candidate(LIMIT, guard, (LIMIT,)),
        Candidate(f"{LIMIT} --mem-report", guard, (LIMIT, "--mem-report")),
        Candidate("without, 1 test", (), tests=1),
        Candidate("memguard not asked for, 1 test", guard, tests=1),
        Candidate(f"{LIMIT}, 1 test", guard, (LIMIT,), tests=1),
        Candidate("without -n 2", workers[1:], ("-n2",)),
        Candidate("memguard not asked for -n 2", workers, ("-n2",)),
        Candidate(f"{LIMIT} --mem-report -n 2", workers, (LIMIT, "--mem-report", "-n2")),
    ]
    options = {"timeout": ("--timeout=60",), "memray": ("--memray",), "monitor": ()}
    for plugin, package in PEERS.items():
        if package not in missing:
            words = options[plugin]
            found.append(Candidate(" ".join([package, *words]), (plugin,), words))
    return found


def _run_in_turn(candidates: list[Candidate], environment: sessions.Environment, folder: Path, rounds: int) -> None:
    installed = environment.plugins()
    commands = {}
    turns = {}
    for candidate in candidates:
        blocked = [word for name in installed if name not in candidate.plugins for word in ("-p", f"no:{name}")]
        commands[candidate.name] = environment.pytest("-q", f"test_{candidate.tests}.py", *blocked, *candidate.options)
        first = sessions.run(commands[candidate.name], folder)  # reads files from disk, and writes .pyc files
        if first.status or f"{candidate.tests} passed" not in first.output:
            candidate.failure = _failure(first)
        turns[candidate.name] = SLOW_TURN if first.wall > SLOW else 1
    working = [candidate for candidate in candidates if not candidate.failure]
    for turn in range(rounds):
        for candidate in working if turn % 2 else reversed(working):
            if turn % turns[candidate.name] == 0:
                ended = sessions.run(commands[candidate.name], folder)
                if ended.status:
                    raise CannotMeasure(f"{candidate.name}: status {ended.status}: {_failure(ended)}")
                candidate.runs[turn] = ended


def _failure(ended: sessions.Ended) -> str:
    """Return the last line of an error in the output, or of all of it."""
    errors = [line[1:].strip() for line in ended.output.splitlines() if line.startswith("E  ")]
    return errors[-1] if errors else sessions.last_line(ended.output)


def _row(candidate: Candidate, bases: list[Candidate]) -> list[str]:
    if candidate.failure:
        return [candidate.name, "does not work", "", "", "", "", ""]
    runs = candidate.runs.values()
    figures = [spread([1000 * run.wall for run in runs], 0), spread([1000 * run.cpu for run in runs], 0)]
    ratios = [
        "" if base is candidate else spread(candidate.ratios(base, what), 3)
        for what in ("wall", "cpu")
        for base in bases
    ]
    return [candidate.name, *figures, *ratios]


def _guard_process(context: Context, environment: sessions.Environment, report: Report) -> None:
    """Add what the guard process holds and uses while a test sleeps."""
    bare = statistics.median(memory.bare_python(context)[0] for _ in range(3))
    at_most = SHARE_ALLOWED * bare
    for count in (0, 10):
        private, shares = [], []
        for _ in range(1 if context.quick else 5):
            held, share = _sleeping(context, environment, count)
            private.append(held)
            shares.append(share)
        middle = statistics.median(private)
        what = f"guard process, a test sleeps beside {count} idle subprocesses"
        report.notes.append(
            f"The {what}: USS {spread([held / MB for held in private], 2)} MB, {spread(shares, 2)} % of a core."
        )
        measured = f"{middle / MB:.2f} MB ({100 * (middle / bare - 1):+.0f} %)"
        limit = f"{at_most / MB:.2f} MB (bare CPython's {bare / MB:.2f} MB + 40 %)"
        report.verdicts.append(Verdict(f"USS of the {what}", limit, measured, middle <= at_most))


def _sleeping(context: Context, environment: sessions.Environment, count: int) -> tuple[int, float]:
    """Return the USS of the guard process, and its share of a core in percent."""
    ready = context.scratch / "ready"
    ready.unlink(missing_ok=True)
    text = SLEEPER.format(count=count, seconds=SLEEP)
    (context.scratch / "test_sleeper.py").write_text(text, encoding="utf-8")
    with running(environment.pytest("-q", LIMIT, "test_sleeper.py"), context) as process:
        processes.wait_until(lambda: ready.exists() or process.poll() is not None, "the sleeping test")
        guard = _guard_of(process.pid)
        time.sleep(SETTLE)
        before, started = processes.cpu_time([guard]), time.monotonic_ns()
        time.sleep(WINDOW)
        used, elapsed = processes.cpu_time([guard]) - before, time.monotonic_ns() - started
        held = processes.private_memory(guard)
        if not held:
            raise CannotMeasure("the guard process of a sleeping test ended before its time")
        process.wait(30)
        return held, 100 * used / elapsed


def _guard_of(pid: int) -> int:
    """Return the guard process of a session: its command line has the session's first pid."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if b"session_guard" in text and f'"pid":{pid},'.encode() in text.replace(b" ", b""):
            return int(path.parent.name)
    raise CannotMeasure(f"pytest ({pid}) has no guard process")
