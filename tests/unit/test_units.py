"""Sizes and durations: everything a user may write, and everything that must be refused with a useful text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.units import GB, KB, MB, TB, format_seconds, format_size, megabytes, parse_seconds, parse_size


def outcome(parse):
    """Return the value and no message, or no value and the message of the ValueError."""
    try:
        return parse(), ""
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (800, 800 * MB),
        (0.5, MB // 2),
        ("800", 800 * MB),
        ("800M", 800 * MB),
        ("800MB", 800 * MB),
        ("800MiB", 800 * MB),
        ("800 mb", 800 * MB),
        ("  800\tMB\n", 800 * MB),
        ("1.5G", 3 * GB // 2),
        ("1.5gib", 3 * GB // 2),
        ("512K", 512 * KB),
        ("512kB", 512 * KB),
        ("1T", TB),
        ("1TiB", TB),
        (".5G", GB // 2),
        ("5.G", 5 * GB),
        ("0800", 800 * MB),
        ("1048576T", 1 << 60),
    ],
)
def test_a_size_is_understood_in_every_documented_form(text, size):
    assert parse_size(text) == size


def test_a_percentage_is_of_the_total():
    assert parse_size("50%", total=1000) == 500
    assert parse_size("12.5 %", total=1000) == 125
    assert parse_size("150%", total=1000) == 1500


def test_the_total_is_asked_for_only_when_there_is_a_percentage():
    asked = []

    def total():
        asked.append(1)
        return 1000

    assert parse_size("800", total=total) == 800 * MB
    assert not asked
    assert parse_size("10%", total=total) == 100
    assert asked == [1]


def test_a_percentage_without_a_total_is_refused():
    with pytest.raises(ValueError, match="a percentage has no meaning here"):
        parse_size("50%")


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        " ",
        "MB",
        "%",
        ".",
        "..5",
        "1.2.3",
        "1,5G",
        "1e3",
        "0x10",
        "1_000",
        "+5",
        "inf",
        "nan",
        "800 MB extra",
        "\u0663\u0660\u0660",  # Arabic-Indic digits, which int() would take
        "\u00b2",
        "8\u00a000",
        "8\0",
        "\udcff",
        "9" * 5000,
        "twelve",
        float("nan"),
        float("inf"),
        float("-inf"),
        True,
        False,
        None,
        [1],
        {},
        b"800",
    ],
)
def test_what_is_no_size_is_refused_with_an_example(wrong):
    with pytest.raises(ValueError, match=r"^expected a size such as 800, 800MB, 1\.5G or 50%"):
        parse_size(wrong, total=GB)


@pytest.mark.parametrize("unit", ["X", "mega", "MBB", "b", "iB", "P", "Mo", "s"])
def test_a_size_with_unknown_unit_names_the_units(unit):
    with pytest.raises(ValueError, match="units are K, M, G, T"):
        parse_size("800" + unit)


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, "0", "0.0", "0MB", "0%", -1, -0.5, -1e308, -(10**400), "0.0001K", 1e-9])
def test_a_size_of_nothing_says_that_a_limit_must_be_more_than_0(zero):
    with pytest.raises(ValueError, match="a limit must be more than 0"):
        parse_size(zero, total=GB)


def test_a_negative_size_in_text_is_refused():
    with pytest.raises(ValueError, match="not a negative number"):
        parse_size("-5")


@pytest.mark.parametrize("absurd", [1 << 60, 10**400, 1e300, "1048577T", "99999999999999999999", "1" + "0" * 35])
def test_an_absurd_size_is_refused(absurd):
    with pytest.raises(ValueError, match="at most 1048576T"):
        parse_size(absurd)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none()))
def test_any_input_gives_a_positive_number_of_bytes_or_a_value_error(value):
    size, message = outcome(lambda: parse_size(value, total=GB))
    if message:
        assert message.startswith("expected a size")
        assert message.isprintable()
    else:
        assert isinstance(size, int)
        assert 0 < size <= 1 << 60


@given(st.integers(1, 1 << 30), st.sampled_from(["K", "kb", "KiB", "M", "mB", "MiB", "G", "GB", "gIb"]))
def test_a_whole_number_with_a_unit_is_exact(number, unit):
    factor = {"k": KB, "m": MB, "g": GB}[unit[0].lower()]
    assert parse_size(f"{number}{unit}") == number * factor
    assert parse_size(f" {number}.000 {unit} ") == number * factor


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 MB"),
        (800 * MB, "800 MB"),
        (int(812.4 * MB), "812.4 MB"),
        (512 * KB, "0.5 MB"),
        (10239 * MB, "10239 MB"),
        (10240 * MB - 1, "10 GB"),
        (10240 * MB, "10 GB"),
        (int(10.5 * GB), "10.5 GB"),
        (2 * TB, "2048 GB"),
        (-3 * MB, "-3 MB"),
        (1.5 * MB, "1.5 MB"),
    ],
)
def test_a_size_is_printed_with_one_decimal_at_most_and_its_unit(size, text):
    assert format_size(size) == text


@given(st.integers(MB // 10, 1 << 50))
def test_a_printed_size_can_be_read_back(size):
    text = format_size(size)
    step = MB if text.endswith("MB") else GB
    assert abs(parse_size(text) - size) <= step // 20 + 1


def test_megabytes_are_rounded():
    assert [megabytes(size) for size in (0, MB // 2 - 1, MB // 2, 650 * MB + 1)] == [0, 0, 1, 650]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(3, 3.0), (0, 0.0), (0.5, 0.5), ("3", 3.0), ("0.5", 0.5), (".5", 0.5), ("500ms", 0.5), ("2 S", 2.0), ("1m", 60.0)],
)
def test_seconds_are_understood_in_every_documented_form(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "wrong", ["", "soon", "-1", -1, "1h", "1e3", "nan", float("nan"), float("inf"), float("-inf"), True, None, [], "٣"]
)
def test_what_is_no_duration_is_refused_with_an_example(wrong):
    with pytest.raises(ValueError, match=r"^expected a number of seconds such as 3, 0\.5, 500ms or 1m"):
        parse_seconds(wrong)


def test_a_duration_with_unknown_unit_names_the_units():
    with pytest.raises(ValueError, match="units are ms, s and m"):
        parse_seconds("2 hours")


@pytest.mark.parametrize("long", [86401, "1441m", 1e300, 10**400])
def test_a_duration_of_more_than_a_day_is_refused(long):
    with pytest.raises(ValueError, match="at most one day"):
        parse_seconds(long)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none()))
def test_any_input_gives_seconds_within_a_day_or_a_value_error(value):
    seconds, message = outcome(lambda: parse_seconds(value))
    if message:
        assert message.startswith("expected a number of seconds")
    else:
        assert math.isfinite(seconds)
        assert 0 <= seconds <= 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.05, "0.05 s"),
        (0.9999, "1 s"),
        (3, "3 s"),
        (4.24, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (3599.6, "1 h"),
        (7500, "2 h 5 min"),
        (-90, "-1 min 30 s"),
    ],
)
def test_a_duration_is_printed_for_people(seconds, text):
    assert format_seconds(seconds) == text


@given(st.floats(0, 10**7))
def test_a_printed_duration_never_shows_sixty(seconds):
    text = format_seconds(seconds)
    assert "60 s" not in text
    assert "60 min" not in text
