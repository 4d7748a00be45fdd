"""Durations are read as Prometheus reads them, and a bare number is never guessed at."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from worker.rules.durations import DURATION_MAX_MS, parse_duration, written
from worker.rules.problems import Refused

UNITS = {
    "y": 365 * DAY_MS,
    "w": 7 * DAY_MS,
    "d": DAY_MS,
    "h": HOUR_MS,
    "m": MINUTE_MS,
    "s": SECOND_MS,
    "ms": 1,
}


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("7d", 7 * DAY_MS),
        ("2h30m", 2 * HOUR_MS + 30 * MINUTE_MS),
        ("1w", 7 * DAY_MS),
        ("500ms", 500),
        ("5s", 5_000),
        ("5s500ms", 5_500),
        (
            "1y2w3d4h5m6s7ms",
            sum(n * ms for n, ms in zip((1, 2, 3, 4, 5, 6, 7), UNITS.values(), strict=True)),
        ),
        ("90m", 90 * MINUTE_MS),
        ("0s", 0),
        ("10y", DURATION_MAX_MS),
    ],
)
def test_a_duration_is_the_sum_of_its_units(text: str, expected_ms: int) -> None:
    assert parse_duration(text) == expected_ms


@given(st.dictionaries(st.sampled_from(list(UNITS)), st.integers(0, 1), min_size=1))
def test_every_choice_of_units_in_descending_order_is_read(numbers: dict[str, int]) -> None:
    text = "".join(f"{numbers[unit]}{unit}" for unit in UNITS if unit in numbers)
    assert parse_duration(text) == sum(UNITS[unit] * number for unit, number in numbers.items())


@pytest.mark.parametrize("text", ["7", "0", "-7", "1.5", "30"])
def test_a_number_without_a_unit_is_asked_for_one(text: str) -> None:
    with pytest.raises(Refused, match="has no unit; write whole numbers with units"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "d",
        "7 d",
        "7days",
        "7D",
        "1.5h",
        "-7d",
        "5m2h",
        "1h1h",
        "P7D",
        "7d ",
        "٧d",
        "5ms5s",
    ],
)
def test_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not a duration; write whole numbers with units"):
        parse_duration(text)


def test_a_duration_beyond_ten_years_is_refused() -> None:
    for text in ("10y1ms", "999999999999999y"):
        with pytest.raises(Refused, match="the longest duration is 10y"):
            parse_duration(text)


@given(st.text(max_size=30))
def test_any_text_is_a_bounded_duration_or_refused(text: str) -> None:
    with suppress(Refused):
        assert 0 <= parse_duration(text) <= DURATION_MAX_MS


@pytest.mark.parametrize(
    ("duration_ms", "expected"),
    [(0, "0s"), (200, "200ms"), (1_000, "1s"), (150_000, "2m30s"), (DAY_MS, "1d")],
)
def test_a_duration_is_written_in_its_largest_units(duration_ms: int, expected: str) -> None:
    assert written(duration_ms) == expected


@given(st.integers(0, DURATION_MAX_MS))
def test_what_is_written_is_read_back_as_the_same(duration_ms: int) -> None:
    assert parse_duration(written(duration_ms)) == duration_ms
