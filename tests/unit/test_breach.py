"""A passed limit and the end of a pytest process: to JSON and back, and what comes of JSON that is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.breach import BY_KERNEL, BY_MEMGUARD, KILLED, SESSION, Breach, Death
from pytest_memguard.events import ProcessFigure, Shortage
from pytest_memguard.jsonline import decode, encode

MB = 1 << 20

jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def a_breach() -> Breach:
    return Breach(
        kind=SESSION,
        limit=700 * MB,
        source="--mem-limit",
        amount=702 * MB,
        action=KILLED,
        test="test_a.py::test_hog[\ud800]",
        line=12,
        number=3,
        phase="call",
        worker="gw1",
        total=702 * MB,
        total_limit=700 * MB,
        added=612 * MB,
        before=90 * MB,
        elsewhere=MB,
        shortage=Shortage(180 * MB, 500 * MB, 7000 * MB, "--min-available", group="/sys/fs/cgroup/ci"),
        grown=250 * MB,
        grown_in=1.5,
        time=1.7e9,
        elapsed=12.25,
        processes=[ProcessFigure(4711, "python hog.py", 612 * MB, 1.5)],
        other_count=3,
        other_size=4 * MB,
        killed=[ProcessFigure(4711, "python hog.py", 612 * MB, 1.5, "test_a.py::test_hog")],
        fixtures={"data (session)": 9 * MB},
        files="7 MB of it in memory files",
        left_behind={"test_a.py::test_before": 7 * MB},
    )


def a_death() -> Death:
    return Death(
        by=BY_MEMGUARD,
        pid=7,
        worker="gw0",
        test="test_a.py::test_b",
        line=4,
        phase="setup",
        held=5,
        peak=9,
        breach=a_breach(),
        evidence="",
    )


@pytest.mark.parametrize("value", [a_breach(), a_death(), Death(by=BY_KERNEL, evidence="memory.events")])
def test_what_is_written_comes_back(value):
    facts = decode(encode(value.to_json()))
    assert type(value).from_json(facts).to_json() == facts


def test_every_fact_of_a_breach_is_written_and_none_is_lost_on_the_way():
    facts = a_breach().to_json()
    assert all(value not in (0, "", None, [], {}) for value in facts.values())
    assert Breach.from_json(facts).to_json() == facts
    assert Breach.from_json(facts).shortage.place == "the control group"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("limit", "much", "limit: expected a whole number"),
        ("limit", True, "limit: expected a whole number"),
        ("limit", 1 << 64, "limit: expected a whole number"),
        ("grownIn", [], "grownIn: expected a number"),
        ("test", 5, "test: expected a text"),
        ("processes", {}, "processes: expected a list"),
        ("processes", [5], "processes: expected a list of objects"),
        ("processes", [{"pid": 5}], "command: expected a text"),
        ("shortage", 1, "shortage: expected an object"),
        ("leftBehind", {"test_a": "much"}, "test_a: expected a whole number"),
    ],
)
def test_what_is_of_another_kind_is_named(key, value, expected):
    with pytest.raises(ValueError, match=f"^{expected}$"):
        Breach.from_json(a_breach().to_json() | {key: value})


def test_what_is_missing_is_named():
    facts = a_breach().to_json()
    del facts["amount"], facts["source"]  # the one is needed, the other is not
    with pytest.raises(ValueError, match="'amount'"):
        Breach.from_json(facts)


@given(
    st.dictionaries(
        st.sampled_from([*Breach.fields, *(each.key or name for name, each in Breach.fields.items())]), jsons
    )
)
def test_nonsense_is_refused_in_words(changes):
    for facts in (a_breach().to_json() | changes, changes):
        try:
            breach = Breach.from_json(facts)
        except ValueError:
            continue
        assert Breach.from_json(breach.to_json()).to_json() == breach.to_json()
