"""Open hours by day of the week: what may be written, and what each mistake is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.rules.problems import Refused
from worker.rules.weeks import DAYS, open_week, parse_days, parse_spans


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon", (0,)),
        ("Sun", (6,)),
        ("mon-fri", (0, 1, 2, 3, 4)),
        ("sat , sun", (5, 6)),
        ("mon-sun", (0, 1, 2, 3, 4, 5, 6)),
        ("sat-mon", (5, 6, 0)),
        ("tue-tue", (1,)),
        ("mon-tue,thu", (0, 1, 3)),
    ],
)
def test_days_are_single_ranges_or_lists(text: str, days: tuple[int, ...]) -> None:
    assert parse_days(text) == days


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", 'unknown day ""'),
        ("monday", 'unknown day "monday"; did you mean "mon"?'),
        ("mon-", 'unknown day ""'),
        ("mon-wed-fri", 'unknown day "wed-fri"'),
        ("mon,", 'unknown day ""'),
        ("mon-wed,tue", "names a day twice"),
    ],
)
def test_a_mistake_in_the_days_is_told(text: str, told: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_days(text)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("09:00-21:00", ((540, 1260),)),
        ("9:00 - 21:00", ((540, 1260),)),
        ("00:00-24:00", ((0, 1440),)),
        ("14:00-20:00, 08:00-12:00", ((480, 720), (840, 1200))),
        ("08:00-12:00,12:00-20:00", ((480, 1200),)),
        ("none", ()),
        (" None ", ()),
    ],
)
def test_spans_of_a_day_are_ordered_and_do_not_touch(
    text: str, spans: tuple[tuple[int, int], ...]
) -> None:
    assert parse_spans(text) == spans


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", 'is no span of a day; write "09:00-21:00"'),
        ("9-21", "is no span of a day"),
        ("09:60-10:00", "is no span of a day"),
        ("21:00-09:00", "must end after it begins"),
        ("09:00-09:00", "must end after it begins"),
        ("09:00-24:01", "by 24:00"),
        ("08:00-12:00, 11:59-13:00", "spans that overlap"),
        (", ".join(f"{h:02}:00-{h:02}:10, {h:02}:20-{h:02}:30" for h in range(24)), "more than 24"),
    ],
)
def test_a_mistake_in_the_spans_is_told(text: str, told: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_spans(text)
    assert told in str(refused.value)


def test_days_that_are_left_out_are_closed() -> None:
    week = open_week({"mon-fri": "09:00-18:00", "sun": "none"})
    assert week == (((540, 1080),),) * 5 + ((), ())


@pytest.mark.parametrize(
    ("allow", "told"),
    [
        ({"mon-sat": "09:00-10:00", "sat": "none"}, "sat is stated twice"),
        ({"mon-sun": "none"}, "no minute of the week is open"),
        ({}, "no minute of the week is open"),
    ],
)
def test_a_week_has_each_day_once_and_an_open_minute(allow: dict[str, str], told: str) -> None:
    with pytest.raises(Refused) as refused:
        open_week(allow)
    assert told in str(refused.value)


@given(
    st.dictionaries(
        st.sampled_from(DAYS),
        st.lists(st.integers(0, 1440), unique=True, min_size=2, max_size=8).map(sorted),
        min_size=1,
    )
)
def test_what_is_written_is_what_is_open(drawn: dict[str, list[int]]) -> None:
    def clock(minute: int) -> str:
        return f"{minute // 60:02}:{minute % 60:02}"

    spans = {day: list(zip(edges[::2], edges[1::2], strict=False)) for day, edges in drawn.items()}
    written = {
        day: ", ".join(f"{clock(begin)}-{clock(end)}" for begin, end in pairs)
        for day, pairs in spans.items()
    }
    assert open_week(written) == tuple(tuple(spans.get(day, ())) for day in DAYS)
