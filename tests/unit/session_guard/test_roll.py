"""Who a guard watches is written down for the one that takes its place, which believes none of it."""

from __future__ import annotations

import os

import pytest

from pytest_memguard.session_guard import roll
from pytest_memguard.session_guard.protocol import Hello
from pytest_memguard.session_guard.shared_page import CALL, SharedPage


@pytest.fixture
def page():
    made = SharedPage()
    made.show(3, CALL, 0, 0, 0, 0, b"test_a.py::test_b")
    yield made
    made.close()


def hello(pid):
    return Hello(session="s", worker="gw1", pid=pid, usual=[5, 6])


def test_who_entered_is_found_with_its_page_and_not_after_it_left(tmp_path, page):
    roll.enter(str(tmp_path), hello(os.getpid()), page)
    ((found, found_page),) = roll.read(str(tmp_path))
    assert (found.worker, found.usual, found.pid) == ("gw1", [5, 6], os.getpid())
    assert found_page.descriptor < 0
    if os.path.exists("/proc/self/fd"):
        assert found_page.test_state().name == "test_a.py::test_b"
    roll.leave(str(tmp_path), os.getpid())
    assert list(roll.read(str(tmp_path))) == []


def test_who_has_closed_the_descriptor_of_its_page_has_an_empty_one(tmp_path, page):
    roll.enter(str(tmp_path), hello(os.getpid()), page)
    number = page.descriptor
    with (tmp_path / "other").open("w") as other:
        os.dup2(other.fileno(), number)
        ((_, found_page),) = roll.read(str(tmp_path))
        assert found_page.test_state().name == ""
        page.close_descriptor()  # it is somebody else's by now
        os.fstat(number)
        os.close(number)


def test_what_is_no_entry_is_passed_over(tmp_path, page):
    (tmp_path / "member-1").write_bytes(b"nonsense")
    (tmp_path / "member-2").mkdir()
    (tmp_path / "member-3").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "member-4")
    (tmp_path / "member-5").write_bytes(b'{"op": "mark"}')
    roll.enter(str(tmp_path), hello(7), page)
    assert [found.pid for found, _ in roll.read(str(tmp_path))] == [7]
    roll.leave(str(tmp_path), 7)
    roll.enter(str(tmp_path / "missing"), hello(7), page)
    assert list(roll.read(str(tmp_path))) == []
