"""The table of legal windows: every line has a source, and reaches exactly whom it is for."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from worker.model import DAY_MS, HOUR_MS, SECOND_MS, Channel, Endpoint, UserView
from worker.quiet import hold_until
from worker.rules.law import law_table, law_windows
from worker.rules.ruleset import QuietHours, open_but
from worker.rules.zones import country_names

NIGHT = QuietHours(name="night", open_week=open_but(21 * 60, 8 * 60))
# 2026-11-09 is a Monday.
MONDAY, SATURDAY, SUNDAY = "2026-11-09", "2026-11-14", "2026-11-15"


def user(**said: str) -> UserView:
    endpoint = Endpoint(endpoint_id="e", at_ms=1, **said)  # type: ignore[arg-type]
    return UserView(user_id="u", last_active_ms=None, endpoints=(endpoint,))


def told(
    view: UserView, channel: Channel, day: str, clock: str, *more: QuietHours
) -> tuple[str, str] | None:
    """The window that holds a message at that time in the user's zone, and until when."""
    zone = ZoneInfo(view.endpoints[0].timezone or "UTC")
    now = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=zone)
    hold = hold_until(view, channel, int(now.timestamp()) * SECOND_MS, (*more, *law_windows()))
    if hold is None:
        return None
    opens = datetime.fromtimestamp(hold.until_ms / SECOND_MS, zone)
    return hold.window.name, f"{opens:%a %H:%M}"


def american(region: str | None = None) -> UserView:
    said = {"timezone": "America/Chicago", "country": "US"}
    return user(**said, **({"region": region} if region else {}))


def test_every_line_has_a_source_and_is_law() -> None:
    for name, line in law_table().items():
        assert line.window.name == name
        assert line.window.is_law
        assert len(line.source) > 20, name
    assert law_windows() is law_windows()
    assert set(law_windows()) == {line.window for line in law_table().values()}


def test_every_line_is_about_a_country_and_channels_that_exist() -> None:
    for window in law_windows():
        by_name = {matcher.name: matcher for matcher in window.matchers}
        assert {"country", "channel"} <= by_name.keys() <= {"country", "channel", "region"}
        assert any(by_name["country"].matches({"country": (code,)}) for code in country_names())
        assert any(by_name["channel"].matches({"channel": (c.value,)}) for c in Channel)
        # A user of whom nothing is known is in no country.
        assert not all(matcher.matches({}) for matcher in window.matchers)


EVERY_DAY = (MONDAY, SATURDAY, SUNDAY)


@pytest.mark.parametrize(
    ("regions", "window", "days", "begin", "end"),
    [
        ((), "us-sms", EVERY_DAY, 8, 21),
        (("CT", "Connecticut"), "us-ct-sms", EVERY_DAY, 9, 20),
        (("FL", "Florida"), "us-fl-sms", EVERY_DAY, 8, 20),
        (("MD", "Maryland"), "us-md-sms", EVERY_DAY, 8, 20),
        (("MS", "Mississippi"), "us-ms-sms", EVERY_DAY, 8, 20),
        (("NJ", "New Jersey"), "us-nj-sms", EVERY_DAY, 8, 20),
        (("OK", "Oklahoma"), "us-ok-sms", EVERY_DAY, 8, 20),
        (("RI", "Rhode Island"), "us-ri-sms", (MONDAY,), 9, 18),
        (("RI", "Rhode Island"), "us-ri-sms", (SATURDAY, SUNDAY), 10, 17),
        (("TX", "Texas", "texas", "tx", "US-TX"), "us-tx-sms", (MONDAY, SATURDAY), 9, 21),
        (("TX", "TEXAS"), "us-tx-sms", (SUNDAY,), 12, 21),
        (("CA", "Ohio", "Texarkana", "Kansas"), "us-sms", EVERY_DAY, 8, 21),
    ],
)
def test_a_text_to_the_united_states_goes_out_in_the_hours_of_the_state(
    regions: tuple[str, ...], window: str, days: tuple[str, ...], begin: int, end: int
) -> None:
    for view in [american(region) for region in regions] or [american()]:
        for day in days:
            before = told(view, Channel.SMS, day, f"{begin - 1:02}:59")
            assert before is not None
            assert before[0] == window
            assert before[1].endswith(f"{begin:02}:00")
            assert told(view, Channel.SMS, day, f"{begin:02}:00") is None
            assert told(view, Channel.SMS, day, f"{end - 1:02}:59") is None
            after = told(view, Channel.SMS, day, f"{end:02}:00")
            assert after is not None
            assert after[0] == window


def test_the_american_windows_are_about_texts_alone() -> None:
    for channel in (Channel.PUSH, Channel.EMAIL):
        assert told(american("TX"), channel, SUNDAY, "03:00") is None


@pytest.mark.parametrize(
    ("channel", "window"),
    [(Channel.SMS, "kr-night"), (Channel.PUSH, "kr-night"), (Channel.EMAIL, None)],
)
def test_in_korea_the_night_is_for_texts_and_pushes(channel: Channel, window: str | None) -> None:
    korean = user(timezone="Asia/Seoul", country="KR")
    hold = told(korean, channel, MONDAY, "21:00")
    assert hold == ((window, "Tue 08:00") if window else None)
    assert told(korean, channel, MONDAY, "20:59") is None


def test_in_india_texts_go_out_from_ten() -> None:
    indian = user(timezone="Asia/Kolkata", country="IN")
    assert told(indian, Channel.SMS, MONDAY, "09:59") == ("in-sms", "Mon 10:00")
    assert told(indian, Channel.SMS, MONDAY, "21:00") == ("in-sms", "Tue 10:00")
    assert told(indian, Channel.PUSH, MONDAY, "21:00") is None


def test_in_france_no_text_goes_out_on_a_sunday() -> None:
    french = user(timezone="Europe/Paris", country="FR")
    assert told(french, Channel.SMS, SATURDAY, "20:00") == ("fr-sms", "Mon 08:00")
    assert told(french, Channel.SMS, SATURDAY, "19:59") is None


def test_a_user_whose_country_only_the_phone_number_tells_has_its_windows() -> None:
    for number, window in (("+12125550123", "us-sms"), ("+919812345678", "in-sms")):
        view = user(channel_type="SMS", address=number, timezone="UTC")
        assert told(view, Channel.SMS, MONDAY, "22:00") == (
            window,
            "Tue 08:00" if window == "us-sms" else "Tue 10:00",
        )
    # What an endpoint says of the country goes before its number.
    view = user(channel_type="SMS", address="+12125550123", timezone="UTC", country="DE")
    assert told(view, Channel.SMS, MONDAY, "22:00") is None


def test_the_strictest_window_holds_and_the_law_is_named_first() -> None:
    assert told(american("TX"), Channel.SMS, SUNDAY, "08:30", NIGHT) == ("us-tx-sms", "Sun 12:00")
    assert told(american("FL"), Channel.SMS, MONDAY, "20:30", NIGHT) == ("us-fl-sms", "Tue 08:00")
    late = QuietHours(name="late", open_week=open_but(12 * 60, 14 * 60))
    assert told(american(), Channel.SMS, MONDAY, "12:30", NIGHT, late) == ("late", "Mon 14:00")


def test_every_window_opens_within_the_search_whenever_it_is_asked() -> None:
    start_ms = int(datetime.fromisoformat("2026-10-24T00:00+00:00").timestamp()) * SECOND_MS
    views = [american(r) for r in ("RI", "TX", None)] + [
        user(timezone="Europe/Paris", country="FR")
    ]
    for view in views:
        for now_ms in range(start_ms, start_ms + 9 * DAY_MS, HOUR_MS):
            hold = hold_until(view, Channel.SMS, now_ms, law_windows())
            if hold is not None:
                assert now_ms < hold.until_ms < now_ms + 2 * DAY_MS
                assert hold_until(view, Channel.SMS, hold.until_ms, law_windows()) is None
