"""Per-user limits: exact counting, exact release."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.caps import hold_by_limits
from worker.model import DAY_MS, HOUR_MS, Channel, PastSend, Reason
from worker.quiet import Zone, ZoneSource
from worker.rules.limits import Cap, Limits, Window

NOW_MS = 1_793_448_000_000
UTC = Zone(("UTC",), ZoneSource.TIMEZONE)


def midnight(days_back: int) -> int:
    return NOW_MS - NOW_MS % DAY_MS - days_back * DAY_MS


def sends_at(*times_ms: int) -> list[PastSend]:
    return [
        PastSend(at_ms=at, rule="r", stage=f"s{number}", episode_id="e", channel=Channel.PUSH)
        for number, at in enumerate(times_ms)
    ]


def rolling(maximum: int, per_ms: int) -> Limits:
    return Limits(caps=(Cap(max=maximum, per_ms=per_ms, window=Window.ROLLING),))


def test_without_past_sends_nothing_is_held() -> None:
    limits = Limits(caps=(Cap(max=1, per_ms=DAY_MS, window=Window.CALENDAR),), min_gap_ms=HOUR_MS)
    assert hold_by_limits(limits, [], NOW_MS, UTC) is None


def test_the_longest_of_several_limits_is_told() -> None:
    limits = Limits(
        caps=(Cap(max=1, per_ms=DAY_MS, window=Window.ROLLING),), min_gap_ms=4 * HOUR_MS
    )
    held = hold_by_limits(limits, sends_at(NOW_MS - HOUR_MS), NOW_MS, UTC)
    assert held == (Reason.CAP, NOW_MS - HOUR_MS + DAY_MS)


def test_a_calendar_cap_over_several_days_counts_whole_local_days() -> None:
    limits = Limits(caps=(Cap(max=1, per_ms=2 * DAY_MS, window=Window.CALENDAR),))
    yesterday = sends_at(midnight(1))
    before = sends_at(midnight(1) - 1)
    assert hold_by_limits(limits, yesterday, NOW_MS, UTC) == (Reason.CAP, midnight(-1))
    assert hold_by_limits(limits, before, NOW_MS, UTC) is None


@given(
    times=st.lists(st.integers(0, 40 * DAY_MS), max_size=12),
    maximum=st.integers(1, 4),
    per_ms=st.integers(1, 20 * DAY_MS),
)
def test_a_rolling_cap_is_never_exceeded_and_frees_at_the_first_possible_instant(
    times: list[int], maximum: int, per_ms: int
) -> None:
    sends = sends_at(*(NOW_MS - back for back in times))
    held = hold_by_limits(rolling(maximum, per_ms), sends, NOW_MS, UTC)

    def full(at_ms: int) -> bool:
        return sum(at_ms - per_ms < send.at_ms for send in sends) >= maximum

    assert (held is not None) == full(NOW_MS)
    if held is not None:
        assert not full(held[1])
        assert full(held[1] - 1)


@given(times=st.lists(st.integers(0, DAY_MS), min_size=1, max_size=5), gap=st.integers(1, DAY_MS))
def test_a_min_gap_counts_from_the_latest_send(times: list[int], gap: int) -> None:
    sends = sends_at(*(NOW_MS - back for back in times))
    held = hold_by_limits(Limits(min_gap_ms=gap), sends, NOW_MS, UTC)
    free_ms = NOW_MS - min(times) + gap
    assert held == ((Reason.MIN_GAP, free_ms) if free_ms > NOW_MS else None)
