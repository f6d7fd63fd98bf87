"""Texts of the kernel, and what is none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.system.procfs import meminfo_figures, read_again, read_file


@given(st.binary(max_size=300))
def test_any_text_of_meminfo_gives_sizes(text):
    figures = meminfo_figures(text, b"MemAvailable", b"MemTotal")
    assert all(size >= 0 for size in figures.values())


def test_what_is_not_there_is_empty(tmp_path):
    assert read_file(str(tmp_path / "missing")) == read_file("\0") == read_again(-1, 10) == b""
