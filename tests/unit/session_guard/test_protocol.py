"""What pytest and its guard say to each other: every message comes back as it was, and nonsense is a ValueError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.events import ProcessFigure
from pytest_memguard.jsonline import decode, encode
from pytest_memguard.session_guard import protocol
from pytest_memguard.session_guard.protocol import OPERATIONS, PROTOCOL, parse

FIGURES = [ProcessFigure(4, "python", 5, 1.5, "test_a.py::test_b")]
SAID = (
    protocol.Hello(session="5e55", worker="gw1", pid=4, root="/r", cache="/c", junit="/j.xml", spool="/s"),
    protocol.Mark(),
    protocol.Began(),
    protocol.PhaseOver(),
    protocol.Finished(scoped=[(2.5, 1.0), (0.5, 0.25)]),
    protocol.AskUsage(),
    protocol.BeginBlock(limit=100),
    protocol.EndBlock(),
    protocol.AskDeath(worker="gw1"),
    protocol.AskLeftovers(),
    protocol.Kill(pids=[4, 5]),
    protocol.Goodbye(status=1),
)
ANSWERED = (
    protocol.GuardFacts(
        limit=800, source="-t", floor=5, floor_source="f", reader="linux", run="5e55", log="l", guard=4, usual=[-1, -1]
    ),
    protocol.Refusal(error="why", protocol=2, version="0.2.0", limit=800, source="-t"),
    protocol.Done(),
    protocol.Breaches(breaches=[]),
    protocol.FinishedFigures(added=1, peak=2, subprocesses=3, who="python", left=FIGURES),
    protocol.SessionUsage(total=1, limit=2, held=3, added=4, peak=5, elapsed=0.5, processes=FIGURES),
    protocol.Leftovers(left=FIGURES),
)

jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(sorted({"protocol", *(key for operation in OPERATIONS for key in operation.fields)}))
ops = st.sampled_from([operation.op for operation in OPERATIONS]) | st.text(max_size=5)


def type_name(value):
    return type(value).__name__


def test_each_operation_is_tried_here():
    assert [type(operation) for operation in SAID] == list(OPERATIONS)


@pytest.mark.parametrize("operation", SAID, ids=type_name)
def test_an_operation_comes_back_as_it_was_said(operation):
    heard = parse(encode(operation.to_json()))
    assert type(heard) is type(operation)
    assert heard.to_json() == operation.to_json()


@pytest.mark.parametrize("answer", ANSWERED, ids=type_name)
def test_an_answer_comes_back_as_it_was_given(answer):
    assert type(answer).from_json(decode(encode(answer.to_json()))).to_json() == answer.to_json()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", "expected a JSON object on one line"),
        (b"[]", "expected a JSON object on one line"),
        (b"{}", "op: expected a text"),
        (b'{"op": "dance"}', "op: expected one of hello, mark, began"),
        (b'{"op": "block"}', "'limit'"),
        (b'{"op": "block", "limit": "much"}', "limit: expected a whole number"),
        (b'{"op": "kill", "pids": [1, "all"]}', "pids: expected a whole number"),
        (b'{"op": "finished", "scoped": [[1]]}', "scoped: expected pairs of numbers"),
        (b'{"op": "finished", "scoped": [[1, "x"]]}', "scoped: expected a number"),
    ],
)
def test_what_was_expected_is_said(line, expected):
    with pytest.raises(ValueError, match=expected):
        parse(line)


@pytest.mark.parametrize("theirs", [None, 0, PROTOCOL + 1, "1", []])
def test_another_protocol_is_told_before_anything_else_is_read(theirs):
    hello = {"op": "hello", "protocol": theirs, "session": 5}  # another version may mean something else by it
    with pytest.raises(protocol.OtherProtocol, match=f"expected protocol {PROTOCOL}, got "):
        parse(encode(hello))
    with pytest.raises(protocol.OtherProtocol):
        protocol.GuardFacts.from_json({"protocol": theirs})


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_line_does_more_than_raise_a_value_error(line):
    with pytest.raises(ValueError):  # noqa: PT011 - the parser of JSON has words of its own
        parse(line)


@given(ops, st.dictionaries(keys, jsons, max_size=4))
def test_no_facts_do_more_than_raise_a_value_error(op, facts):
    try:
        operation = parse(encode({"protocol": PROTOCOL, **facts, "op": op}))
    except ValueError:
        return
    assert parse(encode(operation.to_json())).to_json() == operation.to_json()
