"""In a terminal the command works as without memguard: keys, job control, window size, screen."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
from typing import TYPE_CHECKING

import psutil
import pytest
from processes import MEMGUARD_TEST, program, python, wait_for, wait_until_gone
from runs import RECORDER, Memguard, find_bun, received
from terminals import COLUMNS, ROWS, STOP, Terminal, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHELL = ["bash", "--norc", "--noprofile", "-i"]
needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")


@pytest.fixture
def open_terminal(memguard: Memguard) -> Iterator[Callable[..., Terminal]]:
    """Starts programs in terminals, and closes these in the end."""
    terminals = []

    def start(*words: object) -> Terminal:
        terminals.append(Terminal(memguard, list(words)))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.leave()


OpenTerminal = "Callable[..., Terminal]"


def state_of(pid: int) -> str:
    return psutil.Process(pid).status()


def test_the_command_is_in_the_foreground_of_the_terminal(open_terminal: OpenTerminal) -> None:
    code = "import os; print(os.getpgrp() == os.tcgetpgrp(0), [os.isatty(n) for n in range(3)])"
    terminal = open_terminal(*MEMGUARD_TEST, *python(code))
    assert terminal.wait_for_end() == 0
    assert terminal.rows()[0] == "True [True, True, True]"


def test_the_command_may_read_from_the_terminal(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(*MEMGUARD_TEST, *python("print('hello', input('your name? '))"))
    terminal.wait_for_text("your name? ")
    terminal.type("Ada")
    assert terminal.wait_for_end() == 0
    assert terminal.rows()[1] == "hello Ada"


def test_the_command_sees_the_window_and_its_changes(open_terminal: OpenTerminal) -> None:
    code = (
        "import os, signal\n"
        "def show(*_): print(*os.get_terminal_size(), flush=True)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})\n"
        "show()\n"
        "signal.sigwait({signal.SIGWINCH})\n"
        "show()"
    )
    terminal = open_terminal(*MEMGUARD_TEST, *python(code))
    terminal.wait_for_text(f"{COLUMNS} {ROWS}")
    terminal.child.setwinsize(30, 100)
    terminal.wait_for_text("100 30")
    assert terminal.wait_for_end() == 0


def test_ctrl_c_reaches_the_command_exactly_once(memguard: Memguard, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(*MEMGUARD_TEST, *python(RECORDER))
    memguard.ready("ready")
    terminal.child.sendintr()
    wait_for(lambda: received(memguard.folder), "SIGINT")
    terminal.press("\x1c")  # Ctrl-\
    wait_for(lambda: len(received(memguard.folder)) > 1, "SIGQUIT")
    (memguard.folder / "end").touch()
    assert terminal.wait_for_end() == 5
    assert received(memguard.folder) == [signal.SIGINT, signal.SIGQUIT]


def test_what_somebody_sends_reaches_the_command_in_a_terminal_too(
    memguard: Memguard, open_terminal: OpenTerminal
) -> None:
    terminal = open_terminal(*MEMGUARD_TEST, *python(RECORDER))
    memguard.ready("ready")
    os.kill(terminal.child.pid, signal.SIGINT)
    wait_for(lambda: received(memguard.folder), "SIGINT")
    (memguard.folder / "end").touch()
    assert terminal.wait_for_end() == 5
    assert received(memguard.folder) == [signal.SIGINT]


def test_ctrl_c_ends_a_command_and_what_it_started(memguard: Memguard, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(*MEMGUARD_TEST, *program("tree.py", "--ready", "ready", "--sessions"))
    memguard.ready("ready")
    terminal.child.sendintr()
    assert terminal.wait_for_end() == 128 + signal.SIGINT
    assert not memguard.processes()


def test_a_closed_window_ends_the_tree(memguard: Memguard, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(
        *MEMGUARD_TEST, "--grace", 0.3, *program("stubborn.py", "--seconds", 100, "--ready", "ready")
    )
    pid = memguard.ready("ready")["pid"]
    terminal.close()
    wait_until_gone([pid, terminal.child.pid])


@needs_bash
def test_a_closed_window_of_a_shell_ends_the_tree(memguard: Memguard, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(*SHELL)
    terminal.type(quoted("--grace", 0.3, *program("stubborn.py", "--seconds", 100, "--ready", "ready")))
    pid = memguard.ready("ready")["pid"]
    terminal.close()
    wait_until_gone([pid])
    wait_for(lambda: not memguard.processes(), "the end of all")


@needs_bash
@pytest.mark.parametrize("options", [[], ["-v", "-i", 0.1]], ids=["quiet", "verbose"])
def test_ctrl_z_stops_the_command_and_fg_goes_on(
    memguard: Memguard, open_terminal: OpenTerminal, options: list[object]
) -> None:
    terminal = open_terminal(*SHELL)
    terminal.wait_for_text("ready> ")
    terminal.type(quoted(*options, *python(RECORDER)))
    memguard.ready("ready")
    command = next(pid for pid, words in memguard.processes().items() if words.endswith(RECORDER) and "-c" in words)
    for _ in range(3):
        prompts = terminal.seen.count(b"ready> ")
        terminal.press(STOP)
        terminal.wait_for(lambda count=prompts: terminal.seen.count(b"ready> ") > count, "the prompt")
        wait_for(lambda: state_of(command) == psutil.STATUS_STOPPED, "the stop")
        terminal.type("echo still $((20 + 3))")
        terminal.wait_for_text("still 23")
        terminal.seen = terminal.seen.replace(b"still 23", b"")
        terminal.type("fg")
        wait_for(lambda: state_of(command) != psutil.STATUS_STOPPED, "going on")
    terminal.child.sendintr()
    terminal.wait_for(lambda: received(memguard.folder), "SIGINT")
    prompts = terminal.seen.count(b"ready> ")
    (memguard.folder / "end").touch()
    terminal.wait_for(lambda: terminal.seen.count(b"ready> ") > prompts, "the prompt")
    assert received(memguard.folder) == [signal.SIGINT]
    terminal.type("exit")  # with the status of the last command
    assert terminal.wait_for_end() == 5


@needs_bash
def test_a_command_in_the_background_is_guarded(memguard: Memguard, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(*SHELL)
    terminal.wait_for_text("ready> ")
    hog = program("hog.py", "--mb", 40, "--rate", 100, "--forever-step", "--ready", "ready")
    terminal.type("stty tostop; " + quoted("-t", 150, *hog) + ' & wait $!; echo "status" $?')
    terminal.wait_for_text("status 137")
    terminal.type("exit")
    terminal.wait_for_end()


def test_the_status_line_keeps_to_the_last_row(memguard: Memguard, open_terminal: OpenTerminal) -> None:
    code = (
        "import os, time\n"
        "for number in range(100): print('line', number, flush=True); time.sleep(0.01)\n"
        "while not os.path.exists('end'): time.sleep(0.01)"
    )
    terminal = open_terminal(*MEMGUARD_TEST, "-v", "-i", 0.1, "-t", 300, *python(code))
    terminal.wait_for_text("line 99")
    terminal.wait_for(lambda: terminal.rows()[-1].startswith("memguard: "), "the status line")
    rows = terminal.rows()
    assert " MB of 300 MB [" in rows[-1]
    last = next(number for number, row in enumerate(rows) if row == "line 99")
    assert rows[:last] == [f"line {number}" for number in range(99 - last, 99)]
    assert last >= ROWS - 4
    drawn = terminal.seen.count(b" of 300 MB")
    terminal.wait_for(lambda: terminal.seen.count(b" of 300 MB") > drawn + 3, "more status lines")
    assert terminal.rows()[:last] == rows[:last]
    (memguard.folder / "end").touch()
    assert terminal.wait_for_end() == 0
    rows = terminal.rows()
    assert sum(row.startswith("memguard:") for row in rows) == 1  # the summary, which may take two rows
    assert "line 99" in rows
    assert terminal.screen.margins is None
    printed = re.sub(rb"\x1b7.*?\x1b8", b"", terminal.seen)  # what is drawn puts the cursor back where it was
    assert [number for number in range(99) if printed.count(b"line %d\r\n" % number) != 1] == []


def test_the_status_line_leaves_a_prompt_as_it_is(open_terminal: OpenTerminal) -> None:
    code = "print('hello', input('your name? '))"
    terminal = open_terminal(*MEMGUARD_TEST, "-v", "-i", 0.1, *python(code))
    terminal.wait_for_text("your name? ")
    terminal.wait_for(lambda: terminal.rows()[-1].startswith("memguard: "), "the status line")
    assert (terminal.screen.cursor.y, terminal.screen.cursor.x) == (0, len("your name? "))
    terminal.type("Ada")
    assert terminal.wait_for_end() == 0
    assert terminal.rows()[:2] == ["your name? Ada", "hello Ada"]


def test_the_screen_is_in_order_after_a_kill(open_terminal: OpenTerminal) -> None:
    hog = program("hog.py", "--mb", 40, "--rate", 100, "--forever-step")
    terminal = open_terminal(*MEMGUARD_TEST, "-v", "-i", 0.05, "-t", 70, *hog)
    assert terminal.wait_for_end() == 137
    rows = terminal.rows()
    assert rows[0].startswith("memguard: stopped `")
    assert terminal.screen.margins is None
    assert not any(" of 70 MB [" in row for row in rows)  # the status line has gone


def test_the_screen_is_in_order_after_the_guard_was_killed(memguard: Memguard, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(*MEMGUARD_TEST, "-v", "-i", 0.05, *program("hog.py", "--hold", "--ready", "ready"))
    memguard.ready("ready")
    terminal.wait_for(lambda: terminal.rows()[-1].startswith("memguard: "), "the status line")
    os.kill(psutil.Process(terminal.child.pid).children()[0].pid, signal.SIGKILL)
    assert terminal.wait_for_end() == 125
    assert terminal.screen.margins is None
    assert any("the guard process was killed" in row for row in terminal.rows())


FULL_SCREEN = """
import fcntl, os, sys, termios, time, tty
tty.setraw(0)
fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_NONBLOCK)
sys.stdout.write('\\033[?1049h\\033[?25l\\033[?1002h\\033[?1006h\\033[?2004h\\033[?1h\\033=\\033[5;10r\\033[7m')
sys.stdout.flush()
{rest}
"""
GROWS = "held = []\nwhile len(held) < 300: held.append(b'x' * (1 << 20)); time.sleep(0.005)"
SWITCHED_OFF = [b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1002l", b"\x1b[?1006l", b"\x1b[?2004l", b"\x1b[?1l", b"\x1b[0m"]
MODES = "import os, fcntl, termios; print('modes', termios.tcgetattr(0)[:6], fcntl.fcntl(0, fcntl.F_GETFL))"


def modes_in(seen: bytes) -> list[bytes]:
    return re.findall(rb"modes .*?\r?\n", seen)


@needs_bash
@pytest.mark.parametrize("how", ["memory", "grace", "guard"])
def test_the_terminal_is_given_back_as_it_was_found_when_the_command_was_stopped(
    memguard: Memguard, open_terminal: OpenTerminal, how: str
) -> None:
    rest = (
        GROWS
        if how == "memory"
        else "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    command = [*MEMGUARD_TEST, "-t", 100, "--grace", 0.2, *python(FULL_SCREEN.format(rest=rest))]
    show = shlex.join(python(MODES))
    # A shell that is no interactive one puts nothing back by itself.
    script = f"stty -ixon; {show}; {shlex.join(map(str, command))}; {show}"
    terminal = open_terminal("bash", "--norc", "-c", script)
    terminal.wait_for_text("\x1b[?1049h" if how == "memory" else "ready")
    if how != "memory":
        runner = psutil.Process(terminal.child.pid).children()[0]
        victim, number = (runner, signal.SIGTERM) if how == "grace" else (runner.children()[0], signal.SIGKILL)
        os.kill(victim.pid, number)
    assert terminal.wait_for_end() == 0
    before, after = modes_in(terminal.seen)
    assert before == after
    told = terminal.seen.rindex(b"memguard: ")
    given_back = terminal.seen[terminal.seen.index(b"\x1b[?1049h") : told]
    assert [code for code in SWITCHED_OFF if code not in given_back] == []
    assert terminal.screen.margins is None


@needs_bash
def test_a_command_that_ended_by_itself_leaves_the_terminal_as_it_likes(open_terminal: OpenTerminal) -> None:
    leaves = "import sys; sys.stdout.write('\\033[?25l'); import os; os.system('stty -echo'); sys.exit(3)"
    script = f"{quoted(*python(leaves))}; echo status $?; stty -a"
    terminal = open_terminal("bash", "--norc", "-c", script)
    assert terminal.wait_for_end() == 0
    assert b"status 3" in terminal.seen
    assert b" -echo " in terminal.seen
    assert b"\x1b[?25h" not in terminal.seen


@needs_bash
def test_a_pager_behind_the_command_keeps_the_terminal(memguard: Memguard, open_terminal: OpenTerminal) -> None:
    pager = "import sys, tty; tty.setraw(2); sys.stdin.read(); import termios; print('modes', termios.tcgetattr(2)[3])"
    hog = quoted("-t", 60, *program("hog.py", "--mb", 200, "--rate", 300))
    raw = shlex.join(python("import tty, termios; tty.setraw(0); print('modes', termios.tcgetattr(0)[3])"))
    terminal = open_terminal("bash", "--norc", "-c", f"{hog} | {shlex.join(python(pager))}; {raw}")
    terminal.wait_for_end()
    under_the_pager, raw_modes = modes_in(terminal.seen)
    assert under_the_pager == raw_modes
    assert b"\x1b[?1049l" not in terminal.seen


@needs_bash
def test_the_terminal_of_a_group_that_the_command_made_comes_back(open_terminal: OpenTerminal) -> None:
    takes = "import os, signal, time; os.setpgid(0, 0); signal.signal(signal.SIGTTOU, signal.SIG_IGN); "
    command = python(takes + "os.tcsetpgrp(0, os.getpid())\n" + GROWS)
    script = f"{quoted('-t', 60, *command)}; read -p 'again? ' answer; echo got $answer"
    terminal = open_terminal("bash", "--norc", "-c", script)
    terminal.wait_for_text("again? ")
    terminal.type("yes")
    assert terminal.wait_for_end() == 0
    assert "got yes" in terminal.rows()


@pytest.mark.bun
@pytest.mark.skipif(find_bun() is None, reason="needs bun")
def test_bun_test_watch_runs_again_on_change_and_ends_on_ctrl_c(
    memguard: Memguard, open_terminal: OpenTerminal
) -> None:
    test = memguard.folder / "sum.test.js"
    source = "import { expect, test } from 'bun:test';\ntest('sum', () => expect(1 + 1).toBe(%d));\n"
    test.write_text(source % 2)
    terminal = open_terminal(*MEMGUARD_TEST, "-t", 1000, find_bun(), "test", "--watch")
    terminal.wait_for_text("1 pass")
    test.write_text(source % 3)
    terminal.wait_for_text("1 fail")
    test.write_text(source % 2)
    terminal.wait_for_text("1 pass", times=2)
    terminal.child.sendintr()
    assert terminal.wait_for_end() == 128 + signal.SIGINT
    assert not memguard.processes()
