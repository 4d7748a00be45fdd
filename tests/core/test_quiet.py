"""Nobody is woken at night (P6), nobody waits longer than the night, and days are the user's own.

The clock changes are where such code goes wrong, so they are drawn from every zone of the IANA
database, and the answers are held against an oracle that walks minute by minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from worker.model import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Channel, Endpoint, UserView
from worker.openings import SEARCH_MS_MAX
from worker.quiet import (
    Held,
    Zone,
    ZoneSource,
    closes_ms,
    hold_until,
    local_day_end_ms,
    local_day_start_ms,
    zone_of,
)
from worker.rules.matchers import parse_matcher
from worker.rules.ruleset import OpenWeek, QuietHours, open_but
from worker.rules.weeks import open_week
from worker.rules.zones import (
    zone_named,
    zone_names,
    zones_of_country,
    zones_of_phone,
)

ZONES = sorted(zone_names())
DAY_MINUTES = 24 * 60


def ms(text: str) -> int:
    """`2026-03-29T00:30` is UTC; an offset may be given."""
    when = datetime.fromisoformat(text)
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()) * SECOND_MS


def user(**said: str) -> UserView:
    endpoint = Endpoint(endpoint_id="e", at_ms=1, **said)  # type: ignore[arg-type]
    return UserView(user_id="u", last_active_ms=None, endpoints=(endpoint,))


def window(begin: str, end: str, match: str = "", otherwise: str = "UTC") -> QuietHours:
    minutes = [int(text[:2]) * 60 + int(text[3:]) for text in (begin, end)]
    return QuietHours(
        name=f"{begin}-{end}",
        open_week=open_but(minutes[0], minutes[1]),
        matchers=(parse_matcher(match),) if match else (),
        otherwise=otherwise,
    )


NIGHT = window("21:00", "08:00")


def held(view: UserView, now: str, *windows: QuietHours, timezone: str | None = None) -> str | None:
    hold = hold_until(view, Channel.SMS, ms(now), windows or (NIGHT,), timezone=timezone)
    if hold is None:
        return None
    return datetime.fromtimestamp(hold.until_ms / SECOND_MS, UTC).strftime("%Y-%m-%dT%H:%M")


def opens_ms(view: UserView, now_ms: int, windows: Sequence[QuietHours]) -> int:
    """When a push may go out; `now_ms` itself when it may now."""
    hold = hold_until(view, Channel.PUSH, now_ms, windows)
    assert hold is None or hold.until_ms > now_ms
    return now_ms if hold is None else hold.until_ms


# --- the plain cases --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-09T19:59:59", None),
        ("2026-11-09T20:00", "2026-11-10T07:00"),
        ("2026-11-09T23:30", "2026-11-10T07:00"),
        ("2026-11-10T06:59:59", "2026-11-10T07:00"),
        ("2026-11-10T07:00", None),
    ],
)
def test_a_message_due_at_night_waits_for_the_morning(now: str, until: str | None) -> None:
    assert held(user(timezone="Europe/Paris"), now) == until


def test_a_window_within_a_day_holds_until_its_end() -> None:
    noon = window("12:00", "13:30")
    assert held(user(timezone="UTC"), "2026-11-09T12:00", noon) == "2026-11-09T13:30"
    assert held(user(timezone="UTC"), "2026-11-09T13:30", noon) is None


@pytest.mark.parametrize(
    ("zone", "now", "until"),
    [
        # New York, 2026-03-08: 02:00 becomes 03:00, so 08:00 is an hour earlier in UTC.
        ("America/New_York", "2026-03-08T06:30", "2026-03-08T12:00"),
        # New York, 2026-11-01: 02:00 becomes 01:00.
        ("America/New_York", "2026-11-01T05:30", "2026-11-01T13:00"),
    ],
)
def test_the_morning_comes_by_the_changed_clock(zone: str, now: str, until: str) -> None:
    assert held(user(timezone=zone), now) == until


def test_quiet_hours_that_end_in_a_skipped_hour_end_at_the_skip() -> None:
    # Berlin, 2026-03-29: there is no 02:30.
    early = window("01:00", "02:30")
    assert held(user(timezone="Europe/Berlin"), "2026-03-29T00:30", early) == "2026-03-29T01:00"


def test_quiet_hours_that_end_in_a_repeated_hour_end_twice() -> None:
    # Berlin, 2026-10-25: 02:00 to 03:00 comes twice, first from 00:00 UTC.
    early = window("01:00", "02:30")
    berlin = user(timezone="Europe/Berlin")
    assert held(berlin, "2026-10-25T00:10", early) == "2026-10-25T00:30"
    assert held(berlin, "2026-10-25T00:45", early) is None
    assert held(berlin, "2026-10-25T01:10", early) == "2026-10-25T01:30"


def test_every_window_that_matches_must_be_open() -> None:
    paris = user(timezone="Europe/Paris", country="FR")
    law = window("20:00", "10:00", match='country="FR"')
    assert held(paris, "2026-11-09T22:00", NIGHT, law) == "2026-11-10T09:00"
    assert held(user(timezone="Europe/Paris"), "2026-11-09T22:00", NIGHT, law) == (
        "2026-11-10T07:00"
    )
    # One ends where the next begins.
    siesta = window("08:00", "09:15")
    assert held(paris, "2026-11-09T22:00", NIGHT, siesta) == "2026-11-10T08:15"


def test_a_window_may_be_for_one_channel() -> None:
    view = user(timezone="UTC")
    sms_only = (window("21:00", "08:00", match='channel="sms"'),)
    now_ms = ms("2026-11-09T22:00")
    assert hold_until(view, Channel.SMS, now_ms, sms_only) == Held(
        ms("2026-11-10T08:00"), sms_only[0]
    )
    assert hold_until(view, Channel.EMAIL, now_ms, sms_only) is None


def test_without_quiet_hours_nothing_waits() -> None:
    assert hold_until(user(), Channel.SMS, 0, ()) is None


def test_windows_that_leave_no_minute_are_looked_at_again_after_the_search() -> None:
    always = (NIGHT, window("08:00", "21:00"))
    now_ms = ms("2026-11-09T12:00")
    assert opens_ms(user(timezone="UTC"), now_ms, always) == now_ms + SEARCH_MS_MAX


TEXAS = QuietHours(
    name="texas", open_week=open_week({"mon-sat": "09:00-21:00", "sun": "12:00-21:00"})
)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-07T20:59", None),
        ("2026-11-07T21:00", "2026-11-08T12:00"),  # a Saturday night
        ("2026-11-08T11:59", "2026-11-08T12:00"),
        ("2026-11-08T12:00", None),
        ("2026-11-08T21:00", "2026-11-09T09:00"),
    ],
)
def test_a_week_may_have_other_hours_on_some_days(now: str, until: str | None) -> None:
    assert held(user(timezone="UTC"), now, TEXAS) == until


def test_days_that_are_left_out_are_waited_through() -> None:
    monday = QuietHours(name="monday", open_week=open_week({"mon": "23:00-24:00"}))
    assert held(user(timezone="UTC"), "2026-11-10T00:00", monday) == "2026-11-16T23:00"
    # One hour before the clocks change, in the week in which they do: 168 hours and one more.
    sunday = QuietHours(name="sunday", open_week=open_week({"sun": "00:00-00:30"}))
    paris = user(timezone="Europe/Paris")
    assert held(paris, "2026-10-24T22:30", sunday) == "2026-10-31T23:00"


def test_an_opening_that_a_clock_change_skips_may_lie_beyond_the_search() -> None:
    # Berlin, 2026-03-29: there is no 02:00 to 03:00; the next Sunday is ten days off.
    sunday = QuietHours(name="sunday", open_week=open_week({"sun": "02:00-02:30"}))
    now_ms = ms("2026-03-26T12:00")
    assert opens_ms(user(timezone="Europe/Berlin"), now_ms, [sunday]) == now_ms + SEARCH_MS_MAX


def test_the_window_told_is_a_legal_one_if_any_is_closed() -> None:
    law = replace(window("22:00", "23:00"), is_law=True)
    night = ms("2026-11-09T22:30")
    hold = hold_until(user(timezone="UTC"), Channel.SMS, night, (NIGHT, law))
    assert hold == Held(ms("2026-11-10T08:00"), law)
    later = hold_until(user(timezone="UTC"), Channel.SMS, night + HOUR_MS, (NIGHT, law))
    assert later == Held(ms("2026-11-10T08:00"), NIGHT)


def test_windows_may_be_handed_over_in_any_sequence_and_change_between_calls() -> None:
    windows = [NIGHT]
    night = ms("2026-11-09T22:30")
    assert hold_until(user(timezone="UTC"), Channel.SMS, night, windows) is not None
    windows.clear()
    assert hold_until(user(timezone="UTC"), Channel.SMS, night, windows) is None


# --- where the user is ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "zone"),
    [
        (
            {"timezone": "Asia/Seoul", "country": "FR"},
            Zone(("Asia/Seoul",), ZoneSource.TIMEZONE),
        ),
        ({"timezone": "PST", "country": "FR"}, Zone(("Europe/Paris",), ZoneSource.COUNTRY)),
        (
            {"timezone": "../../etc/passwd", "country": "FR"},
            Zone(("Europe/Paris",), ZoneSource.COUNTRY),
        ),
        (
            {"channel_type": "SMS", "address": "+33612345678"},
            Zone(("Europe/Paris",), ZoneSource.PHONE_PREFIX),
        ),
        (
            {"country": "Narnia", "channel_type": "VOICE", "address": "+81312345678"},
            Zone(("Asia/Tokyo",), ZoneSource.PHONE_PREFIX),
        ),
        ({"channel_type": "GCM", "address": "+33612345678"}, Zone((), ZoneSource.OTHERWISE)),
        ({"channel_type": "SMS", "address": "0612345678"}, Zone((), ZoneSource.OTHERWISE)),
        ({"timezone": "Factory"}, Zone((), ZoneSource.OTHERWISE)),
        ({"timezone": ""}, Zone((), ZoneSource.OTHERWISE)),
        ({}, Zone((), ZoneSource.OTHERWISE)),
    ],
)
def test_a_zone_is_taken_from_the_best_that_is_known_and_says_from_what(
    said: dict[str, str], zone: Zone
) -> None:
    assert zone_of(user(**said)) == zone


def test_the_newest_endpoint_with_a_valid_zone_tells_it() -> None:
    endpoints = [
        Endpoint(endpoint_id=str(index), at_ms=index, timezone=name)
        for index, name in enumerate(["Asia/Seoul", "Europe/Paris", "CST", None])
    ]
    view = UserView(user_id="u", last_active_ms=None, endpoints=tuple(endpoints))
    assert zone_of(view).names == ("Europe/Paris",)


def test_a_rule_says_what_to_assume_and_in_which_order() -> None:
    view = user(country="FR", channel_type="SMS", address="+81312345678")
    assert zone_of(view, ("phone_prefix", "country")).names == ("Asia/Tokyo",)
    assert zone_of(view, (), "America/Lima") == Zone(("America/Lima",), ZoneSource.OTHERWISE)


def test_a_country_with_many_zones_is_quiet_while_it_is_night_in_any_of_them() -> None:
    # 08:00 in Honolulu is 18:00 UTC; New York falls silent at 21:00, which is 02:00 UTC.
    american = user(country="US")
    assert len(zone_of(american).names) > 20
    assert held(american, "2026-01-15T17:59") == "2026-01-15T18:00"
    assert held(american, "2026-01-15T18:00") is None
    assert held(american, "2026-01-16T02:00") == "2026-01-16T18:00"


@pytest.mark.parametrize(
    ("number", "some", "none"),
    [
        ("+12125550123", "America/New_York", "America/Toronto"),
        ("+16715551234", "Pacific/Guam", "America/New_York"),
        # No such area code, so every country of the calling code is possible.
        ("+15550000000", "America/Toronto", "Europe/Paris"),
    ],
)
def test_a_calling_code_shared_by_countries_is_told_apart_where_it_can_be(
    number: str, some: str, none: str
) -> None:
    zones = zones_of_phone(number)
    assert some in zones
    assert none not in zones


@pytest.mark.parametrize("number", ["", "+", "+999", "+80012345678", "abc", "12065550182", "+1"])
def test_a_number_of_no_country_has_no_zone(number: str) -> None:
    assert zones_of_phone(number) == ()


def test_a_country_has_the_zones_of_its_own_and_not_of_its_neighbours() -> None:
    assert zones_of_country("DE") == ("Europe/Berlin", "Europe/Busingen")
    assert zones_of_country("KR") == ("Asia/Seoul",)
    assert zones_of_country("XX") == ()


def test_when_nothing_is_known_the_message_goes_out_around_noon_in_utc() -> None:
    unknown = window("21:00", "08:00", otherwise="defer_to_utc_midday")
    assert held(user(), "2026-11-09T10:00", unknown) == "2026-11-09T12:00"
    assert held(user(), "2026-11-09T12:59:59", unknown) is None
    assert held(user(), "2026-11-09T13:00", unknown) == "2026-11-10T12:00"


def test_when_nothing_is_known_the_stated_zone_holds() -> None:
    lima = window("21:00", "08:00", otherwise="America/Lima")
    assert held(user(), "2026-11-09T10:00", lima) == "2026-11-09T13:00"


def test_when_nothing_is_known_the_default_zone_goes_before_the_windows_own() -> None:
    lima = window("21:00", "08:00", otherwise="America/Lima")
    assert held(user(), "2026-11-09T10:00", lima, timezone="UTC") is None
    assert held(user(), "2026-11-09T22:00", lima, timezone="UTC") == "2026-11-10T08:00"
    # Whoever tells a country or a number is not subject to it.
    for said in ({"country": "FR"}, {"channel_type": "SMS", "address": "+33612345678"}):
        assert held(user(**said), "2026-11-09T20:30", timezone="UTC") == "2026-11-10T07:00"


def test_when_nothing_is_known_a_day_that_is_closed_stays_closed() -> None:
    # 2026-11-08 is a Sunday.
    weekdays = QuietHours(name="weekdays", open_week=open_week({"mon-fri": "09:00-18:00"}))
    assert held(user(), "2026-11-07T12:30", weekdays) == "2026-11-09T12:00"
    assert held(user(), "2026-11-09T12:59", weekdays) is None


# --- all zones, all clock changes -------------------------------------------------------------


def offset_of(name: str, at_ms: int) -> float:
    offset = datetime.fromtimestamp(at_ms / SECOND_MS, zone_named(name)).utcoffset()
    assert offset is not None
    return offset.total_seconds()


@cache
def clock_changes(name: str) -> tuple[int, ...]:
    """The minutes of 2026 and 2027 at which the clock of a zone changes, or some noon."""
    first, changes = ms("2026-01-01T00:00"), []
    for day_ms in range(first, first + 730 * DAY_MS, DAY_MS):
        if offset_of(name, day_ms) != offset_of(name, day_ms + DAY_MS):
            low, high = day_ms, day_ms + DAY_MS
            while high - low > MINUTE_MS:
                middle = (low + high) // 2 // MINUTE_MS * MINUTE_MS
                same = offset_of(name, middle) == offset_of(name, low)
                low, high = (middle, high) if same else (low, middle)
            changes.append(high)
    return tuple(changes) or (ms("2026-06-01T12:00"),)


def is_quiet(names: Sequence[str], windows: Sequence[QuietHours], at_ms: int) -> bool:
    for name in names:
        wall = datetime.fromtimestamp(at_ms / SECOND_MS, zone_named(name))
        minute = wall.hour * 60 + wall.minute
        for span in windows:
            spans_open = span.open_week[wall.weekday()]
            if not any(begin <= minute < end for begin, end in spans_open):
                return True
    return False


minutes = st.integers(0, DAY_MINUTES - 1)
spans = st.tuples(minutes, minutes).filter(lambda span: span[0] != span[1])


@st.composite
def open_days(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """The open spans of one day: closed, or up to three of them, also from and to midnight."""
    edges = draw(st.lists(st.integers(0, DAY_MINUTES), unique=True, max_size=6).map(sorted))
    return tuple(zip(edges[::2], edges[1::2], strict=False))


daily = spans.map(lambda span: open_but(*span))
weekly = st.lists(open_days(), min_size=7, max_size=7).map(tuple)
windows_drawn = st.lists(
    st.one_of(daily, weekly).map(lambda week: QuietHours(name="q", open_week=week)),
    min_size=1,
    max_size=2,
).map(tuple)


def first_open_ms(
    names: Sequence[str], windows: Sequence[QuietHours], now_ms: int, step_ms: int = MINUTE_MS
) -> int:
    """The oracle: walks until no window is closed in any zone, by the wall clock alone."""
    end_ms = now_ms + SEARCH_MS_MAX
    walked = range(now_ms, end_ms, step_ms)
    return next((at for at in walked if not is_quiet(names, windows, at)), end_ms)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(ZONES),
    which=st.integers(0, 3),
    before_minutes=st.integers(-180, DAY_MINUTES),
    windows=windows_drawn,
)
@example(
    name="Australia/Lord_Howe", which=0, before_minutes=60, windows=(window("01:30", "01:45"),)
)
@example(name="Africa/Cairo", which=0, before_minutes=90, windows=(window("23:00", "00:30"),))
@example(
    name="Pacific/Apia",
    which=0,
    before_minutes=90,
    windows=(window("21:00", "08:00"), window("08:01", "08:02")),
)
def test_a_hold_ends_at_the_very_first_open_minute(
    name: str, which: int, before_minutes: int, windows: tuple[QuietHours, ...]
) -> None:
    changes = clock_changes(name)
    now_ms = changes[which % len(changes)] - before_minutes * MINUTE_MS
    expected = first_open_ms([name], windows, now_ms)
    assert opens_ms(user(timezone=name), now_ms, windows) == expected


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(ZONES),
    which=st.integers(0, 3),
    before_ms=st.integers(-DAY_MS, 7 * DAY_MS),
    windows=windows_drawn,
)
def test_a_hold_is_exact_to_the_millisecond(
    name: str, which: int, before_ms: int, windows: tuple[QuietHours, ...]
) -> None:
    changes = clock_changes(name)
    now_ms = changes[which % len(changes)] - before_ms
    until_ms = opens_ms(user(timezone=name), now_ms, windows)
    assert (until_ms == now_ms) is not is_quiet([name], windows, now_ms)
    if now_ms < until_ms < now_ms + SEARCH_MS_MAX:
        assert is_quiet([name], windows, until_ms - 1)
        assert not is_quiet([name], windows, until_ms)


def first_closed_ms(
    names: Sequence[str], windows: Sequence[QuietHours], now_ms: int, step_ms: int = MINUTE_MS
) -> int | None:
    """The oracle: walks until a window is closed in any zone."""
    walked = range(now_ms, now_ms + SEARCH_MS_MAX, step_ms)
    return next((at for at in walked if is_quiet(names, windows, at)), None)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(ZONES),
    which=st.integers(0, 3),
    before_minutes=st.integers(-180, 7 * DAY_MINUTES),
    windows=windows_drawn,
)
@example(name="Africa/Cairo", which=0, before_minutes=90, windows=(window("01:30", "01:45"),))
def test_a_message_has_time_until_the_very_first_closed_minute(
    name: str, which: int, before_minutes: int, windows: tuple[QuietHours, ...]
) -> None:
    changes = clock_changes(name)
    now_ms = changes[which % len(changes)] - before_minutes * MINUTE_MS
    now_ms = opens_ms(user(timezone=name), now_ms, windows)
    assume(not is_quiet([name], windows, now_ms))
    found = closes_ms(user(timezone=name), Channel.PUSH, now_ms, windows)
    assert found == first_closed_ms([name], windows, now_ms)


def test_of_several_zones_the_first_night_ends_the_time() -> None:
    night = window("21:00", "08:00")
    several = user(country="RU")
    now_ms = opens_ms(several, ms("2026-03-10 00:00"), (night,))
    names = zones_of_country("RU")
    closes = closes_ms(several, Channel.PUSH, now_ms, (night,))
    assert closes == first_closed_ms(names, (night,), now_ms)


def test_without_a_window_that_closes_there_is_all_the_time() -> None:
    always = QuietHours(name="always", open_week=(((0, 1440),),) * 7)
    for windows in ((), (always,)):
        assert (
            closes_ms(user(timezone="UTC"), Channel.PUSH, ms("2026-03-10 00:00"), windows) is None
        )


SHORT_SUNDAY = QuietHours(
    name="sunday", open_week=(*(((540, 1260),),) * 5, ((0, 120), (600, 1440)), ((720, 1260),))
)


@pytest.mark.parametrize("quiet", [NIGHT, SHORT_SUNDAY], ids=["daily", "weekly"])
def test_no_zone_is_woken_around_any_clock_change(quiet: QuietHours) -> None:
    for name in ZONES:
        for change_ms in clock_changes(name):
            for now_ms in range(change_ms - 12 * HOUR_MS, change_ms + 12 * HOUR_MS, 3 * HOUR_MS):
                until_ms = opens_ms(user(timezone=name), now_ms, (quiet,))
                assert (until_ms == now_ms) is not is_quiet([name], [quiet], now_ms)
                assert not is_quiet([name], [quiet], until_ms)
                assert until_ms == now_ms or is_quiet([name], [quiet], until_ms - 1)


@settings(max_examples=40, deadline=None)
@given(
    country=st.sampled_from(["US", "RU", "AU", "BR", "CL", "FR", "ID", "KI"]),
    at_hours=st.integers(0, 365 * 24),
    quiet=st.sampled_from([NIGHT, SHORT_SUNDAY]),
)
def test_a_country_is_never_woken_in_any_of_its_zones(
    country: str, at_hours: int, quiet: QuietHours
) -> None:
    now_ms = ms("2026-01-01T00:00") + at_hours * HOUR_MS
    expected = first_open_ms(zones_of_country(country), [quiet], now_ms, 15 * MINUTE_MS)
    assert opens_ms(user(country=country), now_ms, (quiet,)) == expected


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(ZONES),
    at_minutes=st.integers(0, 365 * DAY_MINUTES),
    drawn=st.lists(st.tuples(st.one_of(daily, weekly), st.booleans()), min_size=1, max_size=4),
)
def test_the_window_told_is_closed_now_a_legal_one_before_others_the_last_to_open(
    name: str, at_minutes: int, drawn: list[tuple[OpenWeek, bool]]
) -> None:
    now_ms = ms("2026-01-01T00:00") + at_minutes * MINUTE_MS
    windows = tuple(
        QuietHours(name=str(index), open_week=week, is_law=is_law)
        for index, (week, is_law) in enumerate(drawn)
    )
    closed = [window for window in windows if is_quiet([name], [window], now_ms)]
    hold = hold_until(user(timezone=name), Channel.PUSH, now_ms, windows)
    if hold is None:
        assert closed == []
        return
    assert hold.window in closed
    assert hold.window.is_law is any(window.is_law for window in closed)
    rivals = [window for window in closed if window.is_law is hold.window.is_law]
    latest_ms = max(opens_ms(user(timezone=name), now_ms, (window,)) for window in rivals)
    assert opens_ms(user(timezone=name), now_ms, (hold.window,)) == latest_ms


@settings(max_examples=100, deadline=None)
@given(
    said=st.sampled_from(
        [
            {"timezone": "Europe/Paris"},
            {"timezone": "Europe/Paris", "country": "US"},
            {"country": "KR"},
            {"channel_type": "SMS", "address": "+33612345678"},
            {},
        ]
    ),
    at_minutes=st.integers(0, 30 * DAY_MINUTES),
)
def test_what_was_kept_of_other_users_changes_no_answer(
    said: dict[str, str], at_minutes: int
) -> None:
    """The same windows are asked for every user here, and their equals that nobody has seen yet."""
    now_ms = ms("2026-03-15T00:00") + at_minutes * MINUTE_MS
    unseen = tuple(replace(window) for window in SHARED)
    view = user(**said)
    assert hold_until(view, Channel.SMS, now_ms, SHARED) == hold_until(
        view, Channel.SMS, now_ms, unseen
    )


SHARED = (
    NIGHT,
    replace(SHORT_SUNDAY, matchers=(parse_matcher('country="US"'),), is_law=True),
    window("12:00", "13:30", match='country=~"KR|FR"', otherwise="Asia/Tokyo"),
)


# --- calendar days ----------------------------------------------------------------------------


def zone(*names: str) -> Zone:
    return Zone(names, ZoneSource.TIMEZONE)


def test_a_day_is_the_users_own() -> None:
    now_ms = ms("2026-11-09T02:00")
    assert local_day_start_ms(zone("America/New_York"), now_ms) == ms("2026-11-08T05:00")
    assert local_day_start_ms(zone("Asia/Seoul"), now_ms) == ms("2026-11-08T15:00")
    assert local_day_start_ms(zone(), now_ms) == ms("2026-11-09T00:00")
    assert local_day_start_ms(zone("UTC"), now_ms, 7) == ms("2026-11-03T00:00")
    assert local_day_end_ms(zone("Asia/Seoul"), now_ms) == ms("2026-11-09T15:00")


def test_of_several_zones_the_day_that_counts_most_is_taken() -> None:
    both = zone("America/New_York", "Asia/Seoul")
    now_ms = ms("2026-11-09T02:00")
    assert local_day_start_ms(both, now_ms) == ms("2026-11-08T05:00")
    assert local_day_end_ms(both, now_ms) == ms("2026-11-09T15:00")


def test_a_day_may_have_23_or_25_hours() -> None:
    paris = zone("Europe/Paris")
    for noon, hours in (("2026-03-29T12:00", 23), ("2026-10-25T12:00", 25)):
        start_ms = local_day_start_ms(paris, ms(noon))
        assert local_day_end_ms(paris, ms(noon)) - start_ms == hours * HOUR_MS


@pytest.mark.parametrize(
    "name", ["Africa/Cairo", "America/Santiago", "Asia/Beirut", "America/Havana"]
)
def test_where_midnight_is_skipped_or_comes_twice_the_day_begins_with_its_first_instant(
    name: str,
) -> None:
    for change_ms in clock_changes(name):
        now_ms = change_ms + 6 * HOUR_MS
        start_ms = local_day_start_ms(zone(name), now_ms)
        today = datetime.fromtimestamp(now_ms / SECOND_MS, zone_named(name)).date()
        for at_ms, expected in ((start_ms, True), (start_ms - 1, False)):
            day = datetime.fromtimestamp(at_ms / SECOND_MS, zone_named(name)).date()
            assert (day == today) is expected


@settings(max_examples=200)
@given(
    names=st.lists(st.sampled_from(ZONES), min_size=1, max_size=3),
    days=st.integers(1, 7),
    sent_hours=st.integers(0, 400 * 24),
    later_hours=st.integers(0, 9 * 24),
)
def test_a_send_counts_from_its_day_until_its_days_are_over(
    names: list[str], days: int, sent_hours: int, later_hours: int
) -> None:
    sent_ms = ms("2026-01-01T00:30") + sent_hours * HOUR_MS
    now_ms = sent_ms + later_hours * HOUR_MS
    counts = sent_ms >= local_day_start_ms(zone(*names), now_ms, days)
    assert counts is (now_ms < local_day_end_ms(zone(*names), sent_ms, days))
