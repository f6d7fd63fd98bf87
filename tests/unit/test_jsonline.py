"""One JSON object a line: what is written is read back, by us and by `json`; what is none is a ValueError."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.jsonline import decode, encode

# Lone surrogates included: undecodable bytes of command lines and paths (os.fsdecode).
text = st.text(st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 64), 1 << 64), st.floats(allow_nan=False, allow_infinity=False), text
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5), max_leaves=20
)
objects = st.dictionaries(text, values, max_size=8)


@given(objects)
def test_what_is_written_is_read_back(value):
    assert decode(encode(value)) == value


@given(objects)
def test_json_reads_it_too(value):
    line = encode(value)
    assert json.loads(line) == value
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


@given(objects)
def test_what_json_writes_is_read(value):
    assert decode(json.dumps(value).encode()) == value
    assert decode(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")) == value


def test_a_tuple_is_a_list():
    assert decode(encode({"a": (1, 2)})) == {"a": [1, 2]}


@pytest.mark.parametrize("value", [{"a": b"x"}, {"a": {1}}, {"a": object()}, {1: 2}, {None: 1}])
def test_what_json_has_no_place_for_is_a_type_error(value):
    with pytest.raises(TypeError):
        encode(value)


GARBAGE = {
    "nothing": b"",
    "a line feed": b"\n",
    "half a line": b'{"a": [1, 2',
    "half a word": b'{"a": tru',
    "half a text": b'{"a": "b',
    "no object": b"[1]",
    "a number": b"3",
    "a text": b'"a"',
    "two objects": b'{"a": 1}{"b": 2}',
    "something after it": b'{"a": 1} x',
    "a control character in a text": b'{"a": "\x01"}',
    "no quotes": b"{a: 1}",
    "a comma too many": b'{"a": 1,}',
    "NUL": b"\0",
    "bytes that are no text": b"\xff\xfe{}",
    "a number without end": b'{"a": ' + b"1" * 5000 + b"}",
    "brackets without end": b'{"a": ' + b"[" * 100_000,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_a_value_error(name):
    with pytest.raises(ValueError):  # noqa: PT011 - whoever calls it says what was expected
        decode(GARBAGE[name])


@given(st.one_of(st.binary(max_size=60), st.text(alphabet='{}[]":,0aeE+-. \\u', max_size=40).map(str.encode)))
def test_any_bytes_are_an_object_or_a_value_error(line):
    try:
        value = decode(line)
    except ValueError:
        return
    assert isinstance(value, dict)


@given(objects, st.data())
def test_half_a_line_is_never_taken_for_a_whole_one(value, data):
    line = encode(value).rstrip(b"\n")
    half = line[: data.draw(st.integers(0, len(line) - 1))]
    with pytest.raises(ValueError):  # noqa: PT011
        decode(half)
