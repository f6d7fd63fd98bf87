"""Notifications of real runs: they arrive, and nothing about them delays a kill, the end, or counts as the command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from desktops import desktop  # noqa: F401 - a fixture
from processes import (
    MEMGUARD_TEST,
    PATIENCE,
    Result,
    Started,
    in_pid_namespace,
    is_alive,
    linux,
    program,
    python,
    wait_for,
    wait_until_gone,
)
from runs import Memguard, both_readers

if TYPE_CHECKING:
    from http.server import HTTPServer

    from desktops import Desktop

HOG = program("hog.py", "--mb", 300, "--rate", 300)
NO_DESKTOP = dict.fromkeys(("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"))
SLOW_END = 8.0  # seconds: less than a sender may take, more than a busy machine needs to print a report

# Grows past the warn level, waits until there is a file "hanging", grows past the limit.
TWO_STEPS = """
import os, time
first = bytearray(b'x') * (60 << 20)
end = time.monotonic() + 60
while not os.path.exists('hanging') and time.monotonic() < end:
    time.sleep(0.01)
second = [bytearray(b'x') * (1 << 20) for _ in range(100) if not time.sleep(0.005)]
time.sleep(60)
"""
# Holds 60 MB until there is a file "hanging", and for some looks and a scan of all processes more.
ONE_STEP = """
import os, time
held = bytearray(b'x') * (60 << 20)
end = time.monotonic() + 60
while not os.path.exists('hanging') and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.7)
"""
WARN = {"MEMGUARD_WARN": "50%", "MEMGUARD_NOTIFY_ON": "warning"}


class Notified:
    """Starts runs that notify by `command`, and waits for the senders."""

    def __init__(self, memguard: Memguard) -> None:
        self.memguard = memguard
        self.folder = memguard.folder
        self.environ: dict[str, str | None] = {
            **NO_DESKTOP,
            "MEMGUARD_NOTIFY": None,
            "XDG_STATE_HOME": str(memguard.folder / "state"),
        }

    def start(self, *words: object, command: str | None = None, env: dict[str, str] | None = None) -> Started:
        options = ["--notify-command", command] if command is not None else []
        return self.memguard.start(*options, *words, env={**self.environ, **(env or {})})

    def run(self, *words: object, command: str | None = None, env: dict[str, str] | None = None) -> Result:
        """Run to the end; who notifies may live on, and is waited for."""
        result = self.end(self.start(*words, command=command, env=env))
        self.wait()
        return result

    def end(self, run: Started) -> Result:
        """Wait for the end of the run alone."""
        status = run.process.wait(PATIENCE)
        return Result(status, run.out.encode(), run.err.encode())

    def wait(self) -> None:
        """Wait for the end of the senders."""
        wait_for(lambda: not self.memguard.processes(), "the end of the senders")

    def told(self, name: str = "told") -> list[dict[str, Any]]:
        """Return what a command `cat >> NAME` was given."""
        file = self.folder / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def number(self, name: str) -> int:
        """Wait for a file with a number and a line feed in it."""
        file = self.folder / name
        wait_for(lambda: file.exists() and file.read_text().endswith("\n"), name)
        return int(file.read_text())


@pytest.fixture
def notified(memguard: Memguard) -> Notified:
    return Notified(memguard)


def test_a_kill_is_shown_on_the_desktop(desktop: Desktop, notified: Notified) -> None:  # noqa: F811
    assert notified.run("-t", 60, *HOG, env=desktop.environment).status == 137
    (shown,) = desktop.told()
    assert (shown["application"], shown["title"]) == ("memguard", "memguard stopped a command")
    assert "hog.py" in shown["text"]
    assert "limit 60 MB" in shown["text"]
    assert shown["urgency"] == 2  # critical


def test_markup_in_a_command_is_shown_as_it_stands(desktop: Desktop, notified: Notified) -> None:  # noqa: F811
    script = f"true '<b>&' && {' '.join(HOG)}"
    assert notified.run("-t", 60, "sh", "-c", script, env=desktop.environment).status == 137
    assert "&lt;b>&amp;" in desktop.told()[0]["text"]


def test_nothing_is_shown_when_nothing_happened_or_nobody_wants_to_know(desktop: Desktop, notified: Notified) -> None:  # noqa: F811
    assert notified.run("true", env=desktop.environment).status == 0
    assert notified.run("false", env=desktop.environment).status == 1
    assert notified.run("--no-notify", "-t", 60, *HOG, env=desktop.environment).status == 137
    off = {**desktop.environment, "MEMGUARD_NOTIFY": "off"}
    assert notified.run("-t", 60, *HOG, env=off).status == 137
    assert notified.run("--notify-on", "finish", "--no-notify", "true", env=desktop.environment).status == 0
    assert desktop.told() == []


def test_warning_and_end_are_shown_when_asked_for(desktop: Desktop, notified: Notified) -> None:  # noqa: F811
    env = {**desktop.environment, "MEMGUARD_WARN": "50%"}
    hog = program("hog.py", "--mb", 80, "--rate", 100)
    assert notified.run("-t", 120, "--notify-on", "warning,finish", *hog, env=env).status == 0
    wait_for(lambda: len(desktop.told()) == 2, "both notifications")
    by_title = {shown["title"]: shown for shown in desktop.told()}
    assert by_title["memguard: memory is running short"]["urgency"] == 1
    assert by_title["memguard: a command is finished"]["urgency"] == 0
    assert "exit status 0" in by_title["memguard: a command is finished"]["text"]


@both_readers
def test_a_command_gets_the_facts_as_json_and_in_its_environment(notified: Notified) -> None:
    command = "cat > told; env > environ; pwd > place"
    result = notified.run("-t", 60, *HOG, command=command, env={"MEMGUARD_RUN": "outer"})
    assert (result.status, "warning" in result.err) == (137, False)
    (facts,) = notified.told()
    assert (facts["event"], facts["verdict"], facts["exitStatus"]) == ("kill", "memory", 137)
    assert facts["thresholdMB"] == 60
    assert facts["memoryMB"] >= 60
    assert "hog.py" in facts["processes"][0]["command"]
    environ = dict(line.split("=", 1) for line in (notified.folder / "environ").read_text().splitlines() if "=" in line)
    assert environ["NOTICE_TITLE"] == "memguard stopped a command"
    assert environ["NOTICE_TEXT"] == facts["text"]
    assert environ["NOTICE_DIRECTORY"] == str(notified.folder) == (notified.folder / "place").read_text().strip()
    # What the sender starts is no part of the run, and a run inside it does not notify again.
    assert environ["MEMGUARD_RUN"] == "outer"
    assert environ["MEMGUARD_NOTIFY"] == "false"
    assert not {"MEMGUARD_SOCKET", "NOTICE_JOB"} & environ.keys()


def test_words_in_any_script_are_sent_in_any_locale(notified: Notified) -> None:
    folder = notified.folder / "日本"
    folder.mkdir()
    hog = [sys.executable, "-c", "import sys\nheld = [bytearray(b'x') * (1 << 20) for _ in range(300)]", "日本é"]
    for locale in ("C", "C.UTF-8", "en_US.ISO-8859-1"):
        env = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        result = notified.run(
            "-t", 60, *hog, command='cat > 日本/told; printf %s "$NOTICE_COMMAND" > 日本/text', env=env
        )
        assert (result.status, "warning" in result.err) == (137, False), result
        (facts,) = notified.told("日本/told")
        assert facts["command"] == (folder / "text").read_text()
        (folder / "told").unlink()


def test_a_command_that_ends_with_125_is_notified_of_as_well(notified: Notified) -> None:
    result = notified.run("--notify-on", "finish", "sh", "-c", "exit 125", command="sleep 0.5; cat > told")
    assert result.status == 125
    assert notified.told()[0]["exitStatus"] == 125


@linux
@both_readers
def test_a_sender_that_hangs_delays_neither_kill_nor_end_and_is_ended_with_all_it_started(notified: Notified) -> None:
    hanging = (
        "setsid -f sh -c 'trap \"\" TERM; echo $$ > daemon; exec sleep 90'; "
        "trap '' TERM; echo $$ > hanging.new; mv hanging.new hanging; exec sleep 90"
    )
    run = notified.start("-t", 100, *python(TWO_STEPS), command=hanging, env={**WARN, "MEMGUARD_NOTIFY_ON": "warning"})
    hangs = notified.number("hanging")
    daemon = notified.number("daemon")
    started = time.monotonic()
    result = notified.end(run)
    # The tree was killed and the run has ended: both still hang.
    assert is_alive(hangs)
    assert is_alive(daemon)
    assert result.status == 137
    assert time.monotonic() - started < SLOW_END
    assert "1 process ended" in result.err
    assert "left" not in result.err
    if notified.memguard.reader == "portable":  # the sender is the same: 10 s once are enough
        for pid in (hangs, daemon):
            os.kill(pid, signal.SIGKILL)
        notified.wait()
        return
    wait_until_gone([hangs, daemon])
    notified.wait()


def test_a_command_that_hangs_is_no_leftover_of_a_healthy_run(notified: Notified) -> None:
    run = notified.start("-t", 100, *python(ONE_STEP), command="echo $$ > hanging; exec sleep 90", env=WARN)
    result = notified.end(run)
    hangs = notified.number("hanging")
    assert is_alive(hangs)
    assert (result.status, result.err) == (0, "")
    os.kill(hangs, signal.SIGKILL)
    notified.wait()


@linux
def test_what_a_sender_holds_does_not_count(notified: Notified) -> None:
    hog = " ".join(program("hog.py", "--mb", 200, "--hold", "--ready", "hanging"))
    run = notified.start("-v", "-t", 100, *python(ONE_STEP), command=f"exec {hog}", env=WARN)
    hangs = notified.memguard.ready("hanging")["pid"]
    result = notified.end(run)
    assert is_alive(hangs)
    os.kill(hangs, signal.SIGKILL)
    notified.wait()
    assert result.status == 0
    peak = re.search(r"ok, exit status 0; peak ([\d.]+) MB of 100 MB", result.err)
    assert peak is not None, result
    assert 60 <= float(peak[1]) < 100


@linux
def test_what_a_sender_has_held_is_not_the_peak_of_the_run(notified: Notified) -> None:
    hog = " ".join(program("hog.py", "--mb", 300, "--ready", "hanging"))
    result = notified.run("-v", "-t", 100, *python(ONE_STEP), command=hog, env=WARN)  # collected during the run
    peak = re.search(r"ok, exit status 0; peak ([\d.]+) MB of 100 MB", result.err)
    assert peak is not None, result
    assert float(peak[1]) < 100


def test_a_command_that_fails_disturbs_nobody(notified: Notified) -> None:
    result = notified.run("--notify-on", "finish", "true", command="touch failing; echo 'no route' >&2; exit 3")
    assert (result.status, result.err) == (0, "")
    assert (notified.folder / "failing").exists()


def test_secrets_of_a_command_are_not_shown(notified: Notified) -> None:
    command = "exit 1; # https://hooks.example/services/T0/xyzzyxyzzy"
    shown = notified.memguard.run("--show-config", env={"MEMGUARD_NOTIFY_COMMAND": command})
    assert "https://hooks.example/***" in shown.out
    assert "xyzzy" not in shown.out


def test_one_that_says_more_than_anybody_can_keep_is_not_stopped_by_it(notified: Notified) -> None:
    command = "head -c 100000000 /dev/zero | tr '\\0' x >&2; touch said"
    assert notified.run("-t", 60, *HOG, command=command).status == 137
    assert (notified.folder / "said").exists()


def test_what_a_command_leaves_in_the_background_may_finish(notified: Notified) -> None:
    result = notified.run("-t", 60, *HOG, command="(sleep 0.5; echo played > sound) & ")
    assert result.status == 137
    assert (notified.folder / "sound").read_text() == "played\n"


def test_a_guarded_command_inside_the_sender_that_is_killed_does_not_notify_for_ever(notified: Notified) -> None:
    inner = " ".join([*MEMGUARD_TEST, "-t", "60", *HOG])
    env = {"MEMGUARD_NOTIFY_COMMAND": f"echo {{}} >> told; {inner} 2> inner"}
    assert notified.run("-t", 60, *HOG, env=env).status == 137
    assert len(notified.told()) == 1
    assert "stopped" in (notified.folder / "inner").read_text()


def test_a_run_inside_a_run_waits_for_its_sender_which_is_no_leftover_of_the_outer(notified: Notified) -> None:
    inner = [*MEMGUARD_TEST, "--notify-command", "sleep 0.6; echo {} > told", "-t", "60", *HOG]
    result = notified.run("--no-notify", *inner)
    assert result.status == 137
    assert len(notified.told()) == 1
    assert "left" not in result.err


@linux
def test_as_the_first_process_of_a_container_it_waits_for_its_sender(notified: Notified) -> None:
    words = [*MEMGUARD_TEST, "--notify-command", "sleep 0.6; echo {} > told", "-t", "60", *HOG]
    run = notified.memguard.start_as(in_pid_namespace(*words), env=notified.environ)
    assert run.process.wait(PATIENCE) == 137
    assert len(notified.told()) == 1


def test_with_few_descriptors_it_is_sent_all_the_same(notified: Notified) -> None:
    words = [*MEMGUARD_TEST, "--notify-command", "cat > told", "-t", "60", *HOG]
    run = notified.memguard.start_as(["sh", "-c", 'ulimit -n 20; exec "$@"', "sh", *words], env=notified.environ)
    assert run.process.wait(PATIENCE) == 137
    notified.wait()
    assert notified.told()[0]["event"] == "kill"


def test_nothing_that_memguard_was_given_stays_open_in_a_sender(notified: Notified) -> None:
    reading, writing = os.pipe()
    environ = notified.memguard.environment({**notified.environ, **WARN})
    words = [*MEMGUARD_TEST, "--notify-command", "echo $$ > hanging; exec sleep 90", "-t", "100", *python(TWO_STEPS)]
    process = subprocess.Popen(
        words,
        env=environ,
        cwd=notified.folder,
        pass_fds=[writing],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    _, err = process.communicate(timeout=PATIENCE)  # to the end of stderr: the sender does not hold that either
    assert process.returncode == 137, err
    with open(reading, "rb") as file:
        assert file.read() == b""
    hangs = notified.number("hanging")
    assert is_alive(hangs)
    os.kill(hangs, signal.SIGKILL)
    notified.wait()


@linux
def test_when_the_guard_is_killed_the_senders_end_with_the_tree(notified: Notified) -> None:
    run = notified.start(
        "-t",
        100,
        *python(TWO_STEPS.replace("'hanging'", "'never'")),
        command="echo $$ > hanging; exec sleep 90",
        env=WARN,
    )
    hangs = notified.number("hanging")
    guard = run.guard()
    below = [process.pid for process in psutil.Process(guard).children(recursive=True)]
    assert hangs in below
    os.kill(guard, signal.SIGKILL)
    result = notified.end(run)
    assert result.status == 125
    wait_until_gone(below)


def test_addresses_are_notified_through_apprise_and_one_that_refuses_holds_up_no_other(
    notified: Notified, server: HTTPServer
) -> None:
    pytest.importorskip("apprise")
    port = server.server_address[1]
    urls = f"json://localhost:{port}/right json://localhost:{port}/wrong"
    result = notified.run("-t", 60, *HOG, env={"MEMGUARD_NOTIFY_URLS": urls})
    assert result.status == 137
    ((_, body),) = server.heard  # type: ignore[attr-defined]
    heard = json.loads(body)
    assert heard["title"] == "memguard stopped a command"
    assert "limit 60 MB" in heard["message"]


def test_neither_arguments_nor_log_tell_an_address(notified: Notified) -> None:
    urls = "json://localhost:9/s3cr3ts3cr3t"
    env = {**WARN, "MEMGUARD_NOTIFY_URLS": urls}
    run = notified.start(
        "-t", 100, "-l", "memory.log", *python(TWO_STEPS), command="echo $$ > hanging; exec sleep 90", env=env
    )
    hangs = notified.number("hanging")
    arguments = Path(f"/proc/{psutil.Process(hangs).ppid()}/cmdline") if sys.platform == "linux" else None
    if arguments is not None:
        assert b"s3cr3t" not in arguments.read_bytes()
    for words in notified.memguard.processes().values():
        assert "s3cr3t" not in words
    assert notified.end(run).status == 137
    assert "s3cr3t" not in (notified.folder / "memory.log").read_text()
    os.kill(hangs, signal.SIGKILL)
    notified.wait()
