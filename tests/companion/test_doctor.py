"""`memguard doctor` on machines with something wrong: each circumstance is a real one, and each has its line."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from processes import PATIENCE, PROGRAMS, ROOT, Result, as_root, linux, wait_for
from runs import READERS

from memguard_runner.companion.doctor.findings import Check, CheckContext, ok
from memguard_runner.companion.doctor.isolated import examine

MEMGUARD = [sys.executable, "-m", "memguard_runner.companion"]
NOBODY = 65534
NOWHERE = CheckContext({}, "/")


@pytest.fixture
def programs(companion, tmp_path) -> Path:
    """A folder that is all of PATH, with the real `memguard-test` in it and what a script needs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    write_script(folder / "memguard-test", f'exec {shlex.quote(sys.executable)} {ROOT}/runner/memguard-test "$@"')
    for name in ("sh", "sleep", "kill", "cat"):
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    companion.environment["PATH"] = str(folder)
    companion.environment["TMPDIR"] = str(tmp_path)
    return folder


def write_script(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def lines_of(ended: Result) -> dict[str, tuple[str, str, str]]:
    """Return name -> (level, text, cure) of what `memguard doctor --json` printed."""
    assert "Traceback" not in ended.err
    assert ended.err == ""
    facts = json.loads(ended.out)
    found = {line["name"]: (line["level"], line["text"], line["cure"]) for line in facts["findings"]}
    assert facts["ok"] == (ended.status == 0) == all(level != "problem" for level, _, _ in found.values())
    return found


def looked(companion, *words: str, **environment: str) -> dict[str, tuple[str, str, str]]:
    return lines_of(companion("doctor", "--json", "--no-self-test", *words, **environment))


@pytest.mark.parametrize("reader", READERS)
def test_where_all_is_well_the_self_test_tells_figures_and_nothing_is_left(companion, programs, tmp_path, reader):
    ended = companion("doctor", MEMGUARD_READER=reader)
    assert ended.status == 0, ended
    last = " ".join(ended.out.partition("Self-test\n")[2].splitlines()[:2])
    assert "✓ ok      self-test: a root, its child and a detached daemon passed 64 MB and were gone" in last
    peak = float(last.partition("peak ")[2].partition(" MB")[0])
    assert 64 <= peak < 100
    assert last.endswith(f"3 processes, reader {reader}")
    assert ended.out.splitlines()[-2].startswith("everything that is needed works")
    assert list(tmp_path.glob("memguard-doctor-*")) == []
    assert list(companion.folder.iterdir()) == []


def test_every_line_with_something_to_say_has_a_cure(companion, programs):
    for name, (level, _, cure) in looked(companion, MEMGUARD_LIMIT="99T", MEMGUARD_READER="portable").items():
        assert cure or level == "ok", name


def test_a_wrong_key_in_the_file_is_a_problem_with_file_table_and_key(companion, programs):
    file = companion.folder / "pyproject.toml"
    file.write_text("[tool.memguard.profiles.ci]\nlimt = 500\n")
    ended = companion("doctor", "--no-self-test")
    assert ended.status == 1
    out = " ".join(ended.out.split())
    assert f"✗ problem config file: {file} [tool.memguard.profiles.ci] limt: unknown key (did you mean limit?)" in out
    assert "→ correct it: until then memguard-test starts no command here" in out
    assert "Traceback" not in ended.out + ended.err


def test_a_command_table_that_contradicts_the_base_table_is_found_before_it_is_used(companion, programs):
    (companion.folder / "pyproject.toml").write_text(
        '[tool.memguard]\nlimit = 500\n[tool.memguard.commands."bun test"]\nwarn = 700\n'
    )
    level, text, _ = looked(companion)["config file"]
    assert level == "problem"
    assert text.startswith("bun test: ")


def test_what_only_file_and_environment_together_get_wrong_is_a_problem(companion, programs):
    (companion.folder / "pyproject.toml").write_text("[tool.memguard]\nwarn = 700\n")
    found = looked(companion, MEMGUARD_LIMIT="500")
    assert (found["config file"][0], found["variables"][0], found["settings"][0]) == ("ok", "ok", "problem")
    assert "the warn level of 700 MB is above the limit of 500 MB" in found["settings"][1]


def test_tables_that_are_right_are_named(companion, programs):
    (companion.folder / "pyproject.toml").write_text(
        '[tool.memguard]\nlimit = 300\n[tool.memguard.commands."bun test"]\n[tool.memguard.profiles.ci]\n'
    )
    found = looked(companion)
    assert found["config file"][1].endswith("commands: bun test; profiles: ci")
    assert found["settings"][1].startswith("limit 300 MB (pyproject.toml [tool.memguard] limit), warn 270 MB")
    assert "memguard-test --show-config" in found["settings"][1]


def test_the_users_file_is_told_and_what_does_not_hold_of_a_projects(companion, programs):
    file = companion.state / "config" / "memguard" / "config.toml"
    place = {"XDG_CONFIG_HOME": str(companion.state / "config")}
    project = companion.folder / "memguard.toml"
    project.write_text('limit = 300\nnotify-command = "x"\n')
    found = looked(companion, **place)
    assert found["config file"] == ("ok", str(project), "")
    assert found["user's file"] == ("ok", f"none: {file} would hold for all projects", "")
    level, text, cure = found["without effect"]
    assert (level, text.startswith(f"notify-command in {project} does not hold")) == ("note", True)
    assert cure == f'trust it by `trusted = ["{companion.folder}"]` in {file}'
    file.parent.mkdir(parents=True)
    file.write_text(f'trusted = ["{companion.folder}"]\n[profiles.mine]\nwarn = 1\nlimit = 2\n')
    found = looked(companion, **place)
    assert found["user's file"] == ("ok", f"{file}; profiles: mine; trusted: {companion.folder}", "")
    assert "without effect" not in found


def test_a_misspelt_variable_is_a_problem(companion, programs):
    level, text, _ = looked(companion, MEMGUARD_LIMT="500")["variables"]
    assert level == "problem"
    assert "did you mean MEMGUARD_LIMIT?" in text


def test_a_wrong_setting_does_not_keep_the_self_test_from_its_own(companion, programs):
    Path(companion.environment["TMPDIR"], "pyproject.toml").write_text("[tool.memguard]\nlimt = 1\n")
    ended = companion("doctor", "--json", MEMGUARD_LIMIT="lots", VERBOSE="maybe")
    found = lines_of(ended)
    assert ended.status == 1
    assert found["variables"][0] == found["config file"][0] == "problem"
    assert found["self-test"][0] == "ok"


def test_a_log_that_cannot_be_written_is_a_problem_and_one_that_can_leaves_no_trace(companion, programs):
    (companion.folder / "in the way").write_text("")
    level, text, cure = looked(companion, MEMGUARD_LOG="in the way/memory.log")["log"]
    assert level == "problem"
    assert "(MEMGUARD_LOG) cannot be written: not a directory" in text
    assert "MEMGUARD_LOG" in cure
    level, text, _ = looked(companion, MEMGUARD_LOG=".")["log"]
    assert level == "problem"
    level, text, _ = looked(companion, MEMGUARD_LOG="new/folder/memory.log")["log"]
    assert level == "ok", text
    assert [path.name for path in companion.folder.iterdir()] == ["in the way"]


def test_a_log_that_is_a_pipe_nobody_reads_does_not_hang(companion, programs):
    os.mkfifo(companion.folder / "pipe")
    level, text, _ = looked(companion, MEMGUARD_LOG="pipe")["log"]
    assert level == "problem", text


def test_kept_logs_are_counted_and_a_folder_that_cannot_be_made_is_a_note(companion, programs):
    level, text, _ = looked(companion)["kept logs"]
    assert (level, text) == ("ok", f"0 runs in {companion.state}/memguard/runs")
    (companion.folder / "in the way").write_text("")
    level, text, cure = looked(companion, XDG_STATE_HOME=str(companion.folder / "in the way"))["kept logs"]
    assert level == "note"
    assert "cannot be written (not a directory" in text
    assert "XDG_STATE_HOME" in cure
    assert looked(companion, MEMGUARD_KEEP="0")["kept logs"][1].startswith("none (MEMGUARD_KEEP)")


def test_the_self_test_is_not_among_the_kept_runs(companion, programs):
    assert companion("doctor").status == 0
    assert list(companion.state.rglob("*.jsonl")) == []


@linux
def test_without_a_desktop_or_without_notify_send_notifications_are_a_note(companion, programs):
    level, text, _ = looked(companion)["notifications"]
    assert (level, "no desktop" in text) == ("note", True)
    level, text, cure = looked(companion, DISPLAY=":7")["notifications"]
    assert (level, text) == ("note", "notify-send is in no folder of PATH")
    assert "libnotify-bin" in cure
    write_script(programs / "notify-send", "exit 0")
    level, text, _ = looked(companion, DISPLAY=":7")["notifications"]
    assert level == "ok"
    assert str(programs / "notify-send") in text


def test_notifications_that_are_switched_off_are_told_with_the_source(companion, programs):
    level, text, _ = looked(companion, MEMGUARD_NOTIFY="no")["notifications"]
    assert (level, text) == ("ok", "switched off (MEMGUARD_NOTIFY)")


def test_a_limit_above_the_memory_of_the_machine_is_a_problem(companion, programs):
    level, text, cure = looked(companion, MEMGUARD_LIMIT="900T")["memory"]
    assert level == "problem"
    assert "(MEMGUARD_LIMIT): the system runs short before memguard acts" in text
    assert "-t 80%" in cure


@linux
def test_a_floor_and_a_limit_are_compared_with_what_is_available_now(companion, programs, tmp_path):
    (tmp_path / "machine" / "proc").mkdir(parents=True)
    (tmp_path / "machine" / "proc" / "meminfo").write_text("MemTotal: 4096000 kB\nMemAvailable: 1024000 kB\n")
    machine = {"MEMGUARD_MACHINE": str(tmp_path / "machine")}
    assert looked(companion, **machine)["memory"][0] == "ok"
    level, text, cure = looked(companion, MEMGUARD_LIMIT="2G", **machine)["memory"]
    assert (level, "the machine may run short before memguard acts" in text) == ("note", True)
    assert "(-t 800)" in cure
    level, text, _ = looked(companion, MEMGUARD_MIN_AVAILABLE="1.5G", **machine)["memory"]
    assert (level, "the floor 1536 MB (MEMGUARD_MIN_AVAILABLE)" in text) == ("note", True)
    level, _, _ = looked(companion, MEMGUARD_MIN_AVAILABLE="5G", **machine)["memory"]
    assert level == "problem"


@linux
@pytest.mark.parametrize(
    ("line", "folder", "limit"),
    [
        ("0::/user.slice/app", "sys/fs/cgroup/user.slice/app", "memory.max"),
        ("4:memory:/docker/1", "sys/fs/cgroup/memory/docker/1", "memory.limit_in_bytes"),
        ("0::/../other", "sys/fs/cgroup", "memory.max"),
    ],
    ids=["v2", "v1", "a container that sees the path outside"],
)
def test_a_limit_above_that_of_the_control_group_is_a_problem(companion, programs, tmp_path, line, folder, limit):
    machine = tmp_path / "machine"
    (machine / "proc" / "self").mkdir(parents=True)
    (machine / "proc" / "meminfo").write_text("MemTotal: 4096000 kB\nMemAvailable: 3024000 kB\n")
    (machine / "proc" / "self" / "cgroup").write_text(line + "\n")
    (machine / folder).mkdir(parents=True)
    (machine / folder / limit).write_text(f"{512 << 20}\n")
    level, text, _ = looked(companion, MEMGUARD_MACHINE=str(machine))["memory"]
    assert (level, "512 MB (the control group's limit)" in text) == ("problem", True), "the default limit is 800 MB"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_an_error_and_no_traceback(companion, programs):
    for redirection, status, said in (
        (">/dev/full", 125, "memguard: the output cannot be written: No space left on device\n"),
        (">&-", 0, ""),
    ):
        ended = subprocess.run(
            ["/bin/sh", "-c", f'exec "$0" "$@" {redirection}', *MEMGUARD, "doctor", "--no-self-test"],
            cwd=companion.folder,
            env=companion.environment,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (status, said)


def test_a_reader_that_does_not_exist_is_a_problem(companion, programs):
    found = lines_of(companion("doctor", "--json", MEMGUARD_READER="crystal-ball"))
    assert found["reader"][0] == "problem"
    assert "expected linux or portable" in found["reader"][1]


@linux
def test_without_psutil_the_linux_reader_works_and_the_portable_one_says_what_it_needs(companion, programs, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "psutil.py").write_text("raise ImportError('built for another Python')")
    path = os.pathsep.join([str(broken), companion.environment["PYTHONPATH"]])
    found = lines_of(companion("doctor", "--json", PYTHONPATH=path))
    assert found["reader"][0] == found["self-test"][0] == "ok"
    found = lines_of(companion("doctor", "--json", PYTHONPATH=path, MEMGUARD_READER="portable"))
    assert found["reader"][0] == "problem"
    assert "psutil cannot be imported (built for another Python)" in found["reader"][1]
    assert found["self-test"][0] == "problem"


@linux
def test_the_portable_reader_on_linux_is_told_with_what_it_can_miss(companion, programs):
    level, text, cure = looked(companion, MEMGUARD_READER="portable")["reader"]
    assert level == "note"
    assert "can be missed" in text
    assert cure.startswith("unset MEMGUARD_READER")


def test_a_program_that_hangs_costs_its_line_three_seconds(companion, programs):
    write_script(programs / "memguard-test", "exec sleep 60")
    level, text, _ = looked(companion)["memguard-test"]
    assert (level, "no answer within 3 s" in text) == ("problem", True)


def test_output_without_symbols_where_they_cannot_be_written(companion, programs):
    ended = companion("doctor", "--no-self-test", PYTHONIOENCODING="ascii")
    assert "  + ok      Python: " in ended.out
    assert "            -> " in ended.out
    assert ended.out_bytes.isascii()


def test_in_a_folder_that_was_deleted_it_says_so(companion, programs):
    folder = companion.folder / "gone"
    folder.mkdir()
    script = 'cd gone; /bin/rmdir "$PWD"; exec "$0" "$@"'
    ended = subprocess.run(
        ["/bin/sh", "-c", script, *MEMGUARD, "doctor", "--json", "--no-self-test"],
        cwd=companion.folder,
        env=companion.environment,
        capture_output=True,
        timeout=PATIENCE,
    )
    found = lines_of(Result(ended.returncode, ended.stdout, ended.stderr))
    assert found["config file"][0] == "problem"
    assert "does not exist any more" in found["config file"][1]


def test_the_plugin_that_pytest_is_told_not_to_load_is_a_note(companion, programs):
    level, _, cure = looked(companion, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")["plugin"]
    assert level == "note"
    assert "-p pytest_memguard.plugin" in cure


# -- memguard-test on PATH ------------------------------------------------------------------------------------------


def test_a_command_whose_python_is_in_a_folder_with_a_blank_is_a_problem_with_the_way_out(companion, programs):
    program = programs / "memguard-test"
    program.unlink()
    program.write_text(f"#!{programs}/my project/.venv/bin/python\nprint()\n")
    program.chmod(0o755)
    level, text, cure = looked(companion)["memguard-test"]
    assert level == "problem"
    assert f"its first line names {programs}/my, which does not exist" in text
    assert "-m memguard_runner` instead" in cure
    assert "a folder without a blank" in cure


def test_the_command_of_an_older_installation_is_told(companion, programs):
    write_script(programs / "memguard-test", "echo memguard-test 0.0.1")
    level, text, cure = looked(companion)["memguard-test"]
    assert level == "note"
    assert "is memguard-test 0.0.1, and not of this installation" in text
    assert cure.startswith("call ")


def test_the_command_of_another_installation_of_the_same_version_is_told(companion, programs, tmp_path):
    other = tmp_path / "other"
    venv.create(other, symlinks=True)
    packages = next(other.glob("lib/python*/site-packages"))
    shutil.copytree(ROOT / "runner" / "memguard_runner", packages / "memguard_runner")
    shutil.copytree(ROOT / "pytest_memguard", packages / "pytest_memguard")
    facts = packages / f"pytest_memguard-{version('pytest-memguard')}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Name: pytest-memguard\nVersion: {version('pytest-memguard')}\n")
    script = (ROOT / "runner" / "memguard-test").read_text().replace("#!python", f"#!{other}/bin/python")
    (programs / "memguard-test").write_text(script)
    level, text, cure = looked(companion, PYTHONPATH="")["memguard-test"]
    assert (level, f"is of another installation, {packages}" in text) == ("note", True), text
    assert "put its folder first on PATH" in cure


def test_without_the_command_on_path_the_way_to_call_it_is_told(companion, programs):
    (programs / "memguard-test").unlink()
    found = lines_of(companion("doctor", "--json"))
    assert found["memguard-test"][0] == "note"
    assert found["self-test"][0] == "ok"


# -- the self-test fails when the mechanism is taken out ------------------------------------------------------------

WITHOUT_OPTIONS = 'while [ "$1" != -- ]; do shift; done; shift'


def processes_of(companion) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if any(word.endswith("selftest_tree.py") for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    mine = str(Path(companion.environment["TMPDIR"]))
    return [process for process in found if any(mine in word for word in process.cmdline())]


def test_a_command_that_does_not_guard_fails_the_self_test_and_the_tree_is_ended(companion, programs):
    write_script(programs / "memguard-test", f'{WITHOUT_OPTIONS}; "$@"; exit 137')
    ended = companion("doctor", "--json")
    level, text, _ = lines_of(ended)["self-test"]
    assert (ended.status, level) == (1, "problem")
    assert text == "the tree was not stopped: with a limit of 64 MB, it took 240 MB"
    wait_for(lambda: not processes_of(companion), "the end of the tree")


def test_a_command_that_forgets_the_daemon_fails_the_self_test_by_its_name(companion, programs):
    ends_all_but_the_daemon = """
"$@" &
noted=0
while [ $noted -lt 3 ]; do
    sleep 0.01
    noted=$(cat "$6/members" | { n=0; while read -r _; do n=$((n + 1)); done; echo $n; })
done
while read -r role pid; do
    if [ "$role" = daemon ]; then kill -STOP "$pid"; else kill -KILL "$pid"; fi
done < "$6/members"
exit 137
"""
    write_script(programs / "memguard-test", WITHOUT_OPTIONS + ends_all_but_the_daemon)
    ended = companion("doctor", "--json")
    level, text, _ = lines_of(ended)["self-test"]
    assert (ended.status, level) == (1, "problem")
    assert "still running after memguard-test ended with status 137" in text
    assert "daemon (pid " in text
    wait_for(lambda: not processes_of(companion), "the end of the tree")


def test_a_command_that_does_not_start_fails_the_self_test_with_what_it_said(companion, programs):
    write_script(programs / "memguard-test", "echo no such module >&2; exit 1")
    ended = companion("doctor", "--json")
    found = lines_of(ended)
    assert ended.status == 1
    assert found["memguard-test"][0] == "problem"
    assert found["self-test"][0] == "problem"
    assert found["self-test"][1] == "the tree did not start: memguard-test ended with status 1: no such module"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_self_test_leaves_nothing_behind(companion, programs, tmp_path, number):
    write_script(programs / "memguard-test", f'{WITHOUT_OPTIONS}; exec "$@"')
    with subprocess.Popen(
        [*MEMGUARD, "doctor"],
        cwd=companion.folder,
        env=companion.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as doctor:
        wait_for(lambda: processes_of(companion), "the tree")
        doctor.send_signal(number)
        assert doctor.wait(PATIENCE) == 128 + number
    wait_for(lambda: not processes_of(companion), "the end of the tree")
    assert list(tmp_path.glob("memguard-doctor-*")) == []


# -- other users, other mounts --------------------------------------------------------------------------------------


def as_nobody(companion, *words: str, mounts: str = "") -> Result:
    """Run `memguard doctor WORDS` as nobody, perhaps with some mounts changed for it alone."""
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # Through a shell: setpriv itself still has the capabilities of root when it starts a program.
    nobody += ["/bin/sh", "-c", 'exec "$0" "$@"']
    python = next(
        (
            each
            for each in (sys.executable, "/usr/bin/python3")
            if not subprocess.run(
                [*nobody, each, str(PROGRAMS / "hog.py"), "--mb", "0"], stderr=subprocess.DEVNULL, check=False
            ).returncode
        ),
        None,
    )
    if python is None:
        pytest.skip("nobody may use no Python here, or may not read this checkout")
    prefix = nobody
    if mounts:
        prefix = ["unshare", "-m", "/bin/sh", "-c", f'mount --make-rprivate / && {mounts} && exec "$@"', "sh", *nobody]
    with tempfile.TemporaryDirectory() as home:
        os.chown(home, NOBODY, NOBODY)
        write_script(Path(home, "memguard-test"), f'exec {python} {ROOT}/runner/memguard-test "$@"')
        ended = subprocess.run(
            [*prefix, python, "-m", "memguard_runner.companion", "doctor", "--json", *words],
            cwd="/",
            env={**companion.environment, "PATH": f"{home}:/usr/bin:/bin", "TMPDIR": home, "HOME": home},
            capture_output=True,
            timeout=PATIENCE,
        )
    if mounts and b"mount:" in ended.stderr:
        pytest.skip(f"cannot mount here: {ended.stderr.decode().strip()}")
    return Result(ended.returncode, ended.stdout, ended.stderr)


needs_setpriv = pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")


@linux
@as_root
@needs_setpriv
def test_an_unprivileged_user_is_told_what_holds_for_others_and_the_self_test_works(companion):
    found = lines_of(as_nobody(companion))
    assert found["processes of others"][1].startswith("seen; counted by RSS, and not ended")
    assert found["footprint"][0] == found["self-test"][0] == "ok"


@linux
@as_root
@needs_setpriv
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_hidden_processes_are_a_note_and_the_self_test_works(companion):
    found = lines_of(as_nobody(companion, mounts="mount -t proc -o hidepid=2 proc /proc"))
    level, text, _ = found["processes of others"]
    assert (level, "hidepid=" in text) == ("note", True)
    assert found["self-test"][0] == "ok"


@linux
@as_root
@needs_setpriv
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_a_kernel_without_counters_is_a_note(companion):
    mounts = "mount --bind /dev/null /proc/vmstat && mount -t tmpfs none /sys/fs"
    found = lines_of(as_nobody(companion, "--no-self-test", mounts=mounts))
    assert found["kernel kills"][0] == "note"


# -- checks that misbehave ------------------------------------------------------------------------------------------


def test_a_check_that_raises_is_a_line():
    (found,) = examine(Check("odd", lambda _: [ok("odd", {}["missing"])]), NOWHERE)
    assert (found.level, found.name) == ("note", "odd")
    assert "KeyError" in found.text


def test_a_check_that_crashes_is_a_line():
    def crash(_):
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)

    (found,) = examine(Check("odd", crash), NOWHERE)
    assert found.text == "this check was ended by SIGSEGV"


def test_a_check_that_hangs_is_a_line_and_what_it_started_is_ended(tmp_path):
    def hang(_):
        child = subprocess.Popen(["sleep", "60"])
        (tmp_path / "child").write_text(str(child.pid))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        time.sleep(60)

    (found,) = examine(Check("odd", hang), NOWHERE, seconds=2)
    assert found.text == "no answer within 2 s"
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie", "the child's end")


def test_a_check_that_leaves_a_process_with_its_pipe_open_does_not_hold_up():
    def leave(_):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        return [ok("odd", "fine")]

    began = time.monotonic()
    assert [found.text for found in examine(Check("odd", leave), NOWHERE, seconds=50)] == ["fine"]
    assert time.monotonic() - began < 40
