"""Being a subreaper, as the kernel has it, and knowing whether one is."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="macOS has no subreaper")

ALL_THREE = """
from pytest_memguard.processes.subreaper import become_subreaper, is_subreaper, resign_as_subreaper
states = [is_subreaper()]
assert become_subreaper()
states.append(is_subreaper())
resign_as_subreaper()
states.append(is_subreaper())
print(states)
"""

WITHOUT_C_HALF = """
import sys, ctypes, _ctypes
class Bare:  # `_ctypes` as an interpreter that is not CPython has it
    def __getattr__(self, name):
        raise AttributeError(name)
sys.modules["_ctypes"] = Bare()
"""


@pytest.mark.parametrize("preparation", ["", WITHOUT_C_HALF], ids=["_ctypes", "ctypes"])
def test_a_process_knows_whether_it_is_a_subreaper(preparation):
    ended = subprocess.run(
        [sys.executable, "-c", preparation + ALL_THREE], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "[False, True, False]\n"


SESSION = """
import sys
import pytest
from pytest_memguard.processes.subreaper import become_subreaper, is_subreaper
if sys.argv[1] == "before":
    become_subreaper()
status = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--mem-limit=300", "test_nothing.py"])
assert status == 0
print("subreaper:", is_subreaper())
"""


@pytest.mark.parametrize("before", ["before", "not before"])
def test_a_guarded_session_leaves_a_subreaper_what_it_was(tmp_path, before):
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    ended = subprocess.run(
        [sys.executable, "-c", SESSION, before], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.splitlines()[-1] == f"subreaper: {before == 'before'}", ended
