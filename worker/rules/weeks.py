"""Open hours by day of the week, as rule files and the table of legal windows write them. Pure.

    allow: {mon-fri: "08:00-12:00, 14:00-20:00", sat: "10:00-24:00", sun: none}

A day that is left out is closed. "24:00" is the end of the day.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from worker.rules.problems import Refused, not_allowed, quoted
from worker.rules.ruleset import MINUTES_PER_DAY, OpenWeek

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SPANS_MAX = 24
"""Open spans of one day."""
CLOSED = "none"

_SPAN = re.compile(r"(\d{1,2}):([0-5]\d)\s*-\s*(\d{1,2}):([0-5]\d)")


def parse_days(text: str) -> tuple[int, ...]:
    """`mon-fri`, `sat,sun`, `sun` to days counted from Monday = 0. A range may pass the end of the
    week (`sat-mon`). Raises Refused."""
    days: list[int] = []
    for part in text.split(","):
        first, dash, last = (word.strip().lower() for word in part.partition("-"))
        begin, end = _day(first), _day(last if dash else first)
        days += [(begin + i) % 7 for i in range((end - begin) % 7 + 1)]
    if len(days) != len(set(days)):
        raise Refused(f"{quoted(text)} names a day twice; name it once")
    return tuple(days)


def parse_spans(text: str) -> tuple[tuple[int, int], ...]:
    """`08:00-12:00, 14:00-20:00` to [from, to) in minutes since midnight, in order, those that
    touch made one; `none` to nothing. Raises Refused."""
    if text.strip().lower() == CLOSED:
        return ()
    spans = sorted(_span(part.strip()) for part in text.split(","))
    if len(spans) > SPANS_MAX:
        raise Refused(f"more than {SPANS_MAX} spans a day; merge some")
    merged = spans[:1]
    for begin, end in spans[1:]:
        if begin < merged[-1][1]:
            raise Refused(f"{quoted(text)} has spans that overlap; make them one")
        if begin == merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return tuple(merged)


def open_week(allow: Mapping[str, str]) -> OpenWeek:
    """Days to their open spans, both as written. Raises Refused, also for a day stated twice and
    for a week without an open minute."""
    week: dict[int, tuple[tuple[int, int], ...]] = {}
    for days, spans in allow.items():
        for day in parse_days(days):
            if day in week:
                raise Refused(f"{DAYS[day]} is stated twice; state each day once")
            week[day] = parse_spans(spans)
    if not any(week.values()):
        raise Refused("no minute of the week is open; state one, such as mon-sat: 09:00-21:00")
    return tuple(week.get(day, ()) for day in range(7))


def _day(word: str) -> int:
    if word not in DAYS:
        raise Refused(not_allowed("unknown day", word, DAYS))
    return DAYS.index(word)


def _span(text: str) -> tuple[int, int]:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise Refused(f'{quoted(text)} is no span of a day; write "09:00-21:00", or {CLOSED}')
    begin = int(found[1]) * 60 + int(found[2])
    end = int(found[3]) * 60 + int(found[4])
    if not begin < end <= MINUTES_PER_DAY:
        raise Refused(
            f"{quoted(text)} must end after it begins, and by 24:00; a span over midnight is two, "
            'such as "00:00-02:00, 20:00-24:00"'
        )
    return begin, end
