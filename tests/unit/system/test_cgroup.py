"""What the kernel can take back from a control group."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.system.cgroup import reclaimable


def test_of_version_1_the_figures_with_all_below_count():
    assert reclaimable(b"inactive_file 5\nactive_file 6\ntotal_inactive_file 50\ntotal_active_file 60\n") == 110
    assert reclaimable(b"anon 7\ninactive_file 5\nactive_file 6\nslab_reclaimable 100\n") == 111


@given(st.binary(max_size=300))
def test_any_text_gives_a_size(text):
    assert reclaimable(text) >= 0
