"""Pace: never more than `max` in any span, and nobody waits for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.model import SECOND_MS, Channel
from worker.pace import Pace
from worker.rules.limits import SendRate

EACH_SECOND = SendRate(max=5, per_ms=SECOND_MS)
SMS_ONLY = SendRate(max=2, per_ms=SECOND_MS, channel=Channel.SMS)


def test_a_span_that_is_full_opens_when_its_sends_are_older_than_it() -> None:
    pace = Pace([EACH_SECOND])
    for _ in range(5):
        assert pace.free_ms(Channel.PUSH, 1, 0) == 0
        pace.take(Channel.PUSH, 1, 0)
    assert pace.free_ms(Channel.PUSH, 1, 999) > 999
    assert pace.free_ms(Channel.PUSH, 5, 1_000) == 1_000


def test_a_channel_may_be_slower_than_the_whole() -> None:
    pace = Pace([EACH_SECOND, SMS_ONLY])
    pace.take(Channel.SMS, 2, 0)
    assert pace.free_ms(Channel.SMS, 1, 0) > 0
    assert pace.free_ms(Channel.PUSH, 3, 0) == 0
    assert pace.free_ms(Channel.PUSH, 4, 0) > 0


def test_a_crowd_gets_slots_one_span_after_the_other() -> None:
    pace = Pace([EACH_SECOND])
    pace.take(Channel.PUSH, 5, 0)
    slots = []
    for _ in range(12):
        slots.append(pace.free_ms(Channel.PUSH, 1, 0))
        pace.reserve(Channel.PUSH, 1, 0)
    assert slots == [1_000] * 5 + [2_000] * 5 + [3_000] * 2


def test_more_addresses_than_fit_a_span_go_out_alone() -> None:
    pace = Pace([SMS_ONLY])
    assert pace.free_ms(Channel.SMS, 7, 0) == 0
    pace.take(Channel.SMS, 7, 0)
    assert pace.free_ms(Channel.SMS, 1, 999) > 999
    assert pace.free_ms(Channel.SMS, 7, 1_000) == 1_000


def test_a_restart_begins_full() -> None:
    pace = Pace([EACH_SECOND], full_at_ms=10_000)
    assert pace.free_ms(Channel.PUSH, 1, 10_000) > 10_000
    assert pace.free_ms(Channel.PUSH, 1, 11_000) == 11_000


def test_a_rate_of_minutes_is_reached() -> None:
    """A slot must lie where the sends before it no longer count."""
    pace = Pace([SendRate(max=20, per_ms=60 * SECOND_MS)])
    waiting, now_ms = [(0, False)] * 100, 7_003
    while waiting:
        due_ms, had_slot = min(waiting)
        waiting.remove((due_ms, had_slot))
        now_ms = max(now_ms, due_ms) + 80
        free_ms = pace.free_ms(Channel.PUSH, 1, now_ms, had_slot=had_slot)
        if free_ms == now_ms:
            pace.take(Channel.PUSH, 1, now_ms)
        else:
            pace.reserve(Channel.PUSH, 1, now_ms, had_slot=had_slot)
            waiting.append((free_ms, True))
    assert now_ms < 5 * 60 * SECOND_MS


def test_slots_that_nobody_comes_to_are_given_anew() -> None:
    pace = Pace([EACH_SECOND])
    pace.take(Channel.PUSH, 5, 0)
    for _ in range(500):
        pace.reserve(Channel.PUSH, 1, 0)
    again = Pace([EACH_SECOND]).following(pace, now_ms=0)
    assert again.free_ms(Channel.PUSH, 1, 0) == 1_000


def test_an_edit_of_other_rates_forgets_nothing() -> None:
    before = Pace([EACH_SECOND])
    before.take(Channel.PUSH, 5, 0)
    after = Pace([EACH_SECOND, SMS_ONLY]).following(before, now_ms=500)
    assert after.free_ms(Channel.PUSH, 1, 600) > 600
    assert after.free_ms(Channel.PUSH, 1, 1_000) == 1_000
    assert after.free_ms(Channel.SMS, 1, 1_000) > 1_000  # new, so nobody counted for it before


@given(
    most=st.integers(1, 7),
    per_ms=st.integers(50, 5_000),
    tries=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 9)), max_size=120),
)
def test_no_span_ever_holds_more(most: int, per_ms: int, tries: list[tuple[int, int]]) -> None:
    pace = Pace([SendRate(max=most, per_ms=per_ms)])
    now_ms, sent = 0, []
    for pause_ms, sends in tries:
        now_ms += pause_ms
        if pace.free_ms(Channel.PUSH, sends, now_ms) == now_ms:
            pace.take(Channel.PUSH, sends, now_ms)
            sent.append((now_ms, sends))
        else:
            pace.reserve(Channel.PUSH, sends, now_ms)
    for at_ms, _ in sent:
        span = [sends for then, sends in sent if at_ms - per_ms < then <= at_ms]
        assert sum(span) <= most or len(span) == 1


@given(
    sends=st.lists(st.integers(1, 4), min_size=1, max_size=60),
    sweep_ms=st.integers(20, 1_500),
)
def test_everybody_gets_out_in_the_time_the_rate_needs(sends: list[int], sweep_ms: int) -> None:
    pace, waiting, now_ms = Pace([EACH_SECOND]), list(enumerate(sends)), 0
    due = dict.fromkeys(range(len(sends)), 0)
    while waiting:
        left = []
        for number, count in waiting:
            if due[number] > now_ms:
                left.append((number, count))
                continue
            free_ms = pace.free_ms(Channel.PUSH, count, now_ms)
            if free_ms == now_ms:
                pace.take(Channel.PUSH, count, now_ms)
            else:
                pace.reserve(Channel.PUSH, count, now_ms)
                due[number] = free_ms
                left.append((number, count))
        waiting = left
        now_ms += sweep_ms
        assert now_ms < (len(sends) + 2) * 2 * (SECOND_MS + 2 * sweep_ms), "somebody starves"


def test_what_one_look_starts_counts_for_the_rest_of_it() -> None:
    pace = Pace([EACH_SECOND, SMS_ONLY])
    beside = {Channel.SMS: 2, Channel.PUSH: 1}
    assert pace.free_ms(Channel.SMS, 1, 0, beside=beside) > 0
    assert pace.free_ms(Channel.PUSH, 2, 0, beside=beside) == 0
    assert pace.free_ms(Channel.PUSH, 3, 0, beside=beside) > 0
