"""What becomes of an outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.senders.deliveries import CLAIMED_MS, claim
from worker.model import (
    ClaimState,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Sent,
    Settlement,
    StopReason,
    Uncertain,
)
from worker.retry import (
    RETRY_DELAY_MAX_MS,
    RETRY_DELAY_MIN_MS,
    TEMPORARY_ATTEMPTS_MAX,
    backoff_ms,
    settle,
)

NOW_MS = CLAIMED_MS + 700
ID = claim().send_id


def settled(outcome: Outcome, attempt: int = 1) -> Settlement:
    return settle(outcome, claim(attempt=attempt), NOW_MS)


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (Sent(send_id=ID, message_id="m-1"), ClaimState.SENT, None),
        (Uncertain(send_id=ID, detail="http_500"), ClaimState.UNCERTAIN, "http_500"),
        (Rejected(send_id=ID, detail="bad_request"), ClaimState.REJECTED, "bad_request"),
        (
            Rejected(send_id=ID, detail="OPT_OUT 400", stop=StopReason.OPTED_OUT),
            ClaimState.REJECTED,
            "opted_out",
        ),
    ],
)
def test_a_last_answer_is_final(outcome: Outcome, state: ClaimState, reason: str | None) -> None:
    assert settled(outcome) == Settlement(outcome=outcome, state=state, reason=reason)


@pytest.mark.parametrize("reason", [Reason.PROVIDER_THROTTLED, Reason.CHANNEL_PAUSED])
@pytest.mark.parametrize("attempt", [1, TEMPORARY_ATTEMPTS_MAX, 10_000])
def test_what_is_not_the_addresss_fault_is_repeated_without_a_limit(
    reason: Reason, attempt: int
) -> None:
    settlement = settled(Retry(send_id=ID, reason=reason, detail="x"), attempt)
    assert settlement.state is ClaimState.RETRY
    assert settlement.reason == reason.value
    assert settlement.retry_ms == NOW_MS + backoff_ms(ID, attempt)


def test_a_temporary_failure_is_repeated_until_its_attempts_are_used_up() -> None:
    failure = Retry(send_id=ID, reason=Reason.TEMPORARY_FAILURE, detail="x")
    states = [settled(failure, n).state for n in range(1, TEMPORARY_ATTEMPTS_MAX + 1)]
    assert states == [ClaimState.RETRY] * (TEMPORARY_ATTEMPTS_MAX - 1) + [ClaimState.REJECTED]
    last = settled(failure, TEMPORARY_ATTEMPTS_MAX)
    assert (last.reason, last.retry_ms) == (Reason.ATTEMPTS_EXHAUSTED, None)


def test_a_delay_the_provider_named_is_kept() -> None:
    outcome = Retry(send_id=ID, reason=Reason.PROVIDER_THROTTLED, detail="x", delay_ms=42_000)
    assert settled(outcome).retry_ms == NOW_MS + 42_000


@given(send_id=st.text("0123456789abcdef", min_size=16, max_size=16), attempt=st.integers(1, 10**6))
def test_the_wait_stays_within_its_bounds_and_repeats_exactly(send_id: str, attempt: int) -> None:
    wait = backoff_ms(send_id, attempt)
    assert RETRY_DELAY_MIN_MS <= wait <= RETRY_DELAY_MAX_MS
    assert wait == backoff_ms(send_id, attempt)


@given(send_id=st.text("0123456789abcdef", min_size=16, max_size=16))
def test_the_wait_never_shrinks_until_it_reaches_its_longest(send_id: str) -> None:
    waits = [backoff_ms(send_id, attempt) for attempt in range(1, 9)]
    assert waits == sorted(waits)
    assert min(backoff_ms(send_id, attempt) for attempt in (9, 60)) >= RETRY_DELAY_MAX_MS // 2


def test_sends_throttled_together_come_back_apart() -> None:
    waits = {backoff_ms(f"{number:016x}", 9) for number in range(1_000)}
    assert len(waits) > 990
    assert max(waits) - min(waits) > RETRY_DELAY_MAX_MS * 0.45


def test_an_outcome_of_another_claim_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="its own claim"):
        settled(Sent(send_id="0" * 16))


def test_an_answer_to_a_call_nobody_made_is_a_bug() -> None:
    sent = replace(claim(), state=ClaimState.SENT)
    with pytest.raises(AssertionError, match="has an outcome"):
        settle(Sent(send_id=ID), sent, NOW_MS)
