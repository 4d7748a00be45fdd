"""What becomes of an outcome: the claim's next state, and when to try again. Pure.

It must not decide what a provider's answer means (that is the sender's part); it only knows which
outcomes may be repeated, how often and how soon. Outcomes come from a Sender, settlements go to
`Store.settle`.
"""

from __future__ import annotations

import hashlib
from typing import assert_never

from worker.drafts import changed
from worker.model import (
    MINUTE_MS,
    SECOND_MS,
    Claim,
    ClaimState,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Sent,
    Settlement,
    Uncertain,
)

RETRY_DELAY_MIN_MS = SECOND_MS
RETRY_DELAY_MAX_MS = 5 * MINUTE_MS

TEMPORARY_ATTEMPTS_MAX = 5
"""Calls for one send after which a temporary failure is taken for a lasting one."""

PATIENT = frozenset({Reason.PROVIDER_THROTTLED, Reason.CHANNEL_PAUSED})
"""Not about the address, so the address must not pay: repeated until the ladder loses interest."""


def settle(outcome: Outcome, claim: Claim, now_ms: int) -> Settlement:
    """Turns the answer for one claim into what the store writes.

    `reason` is a value of `Reason` for a retry and for exhausted attempts, of `StopReason` for an
    address that is no good any more, else the sender's short code; None when it was sent.
    """
    assert outcome.send_id == claim.send_id, "an outcome settles its own claim"
    assert claim.state is ClaimState.CLAIMED, "only a call that was made has an outcome"
    match outcome:
        case Sent():
            return Settlement(outcome=outcome, state=ClaimState.SENT, reason=None)
        case Uncertain():
            return _settle_uncertain(outcome, claim, now_ms)
        case Rejected():
            reason = outcome.detail if outcome.stop is None else outcome.stop.value
            return Settlement(outcome=outcome, state=ClaimState.REJECTED, reason=reason)
        case Retry():
            return _settle_retry(outcome, claim, now_ms)
        case _:
            assert_never(outcome)


def _settle_uncertain(outcome: Uncertain, claim: Claim, now_ms: int) -> Settlement:
    """Never repeated (P1), but where the rule says `on_uncertain: resend`."""
    if not claim.resend or claim.attempt >= TEMPORARY_ATTEMPTS_MAX:
        return Settlement(outcome=outcome, state=ClaimState.UNCERTAIN, reason=outcome.detail)
    return Settlement(
        outcome=outcome,
        state=ClaimState.RETRY,
        reason=Reason.UNCERTAIN.value,
        retry_ms=now_ms + backoff_ms(claim.send_id, claim.attempt),
    )


def _settle_retry(outcome: Retry, claim: Claim, now_ms: int) -> Settlement:
    if outcome.reason not in PATIENT:
        assert outcome.reason is Reason.TEMPORARY_FAILURE, f"not a reason to retry: {outcome}"
        if claim.attempt >= TEMPORARY_ATTEMPTS_MAX:
            exhausted = Reason.ATTEMPTS_EXHAUSTED.value
            return Settlement(outcome=outcome, state=ClaimState.REJECTED, reason=exhausted)
    delay_ms = outcome.delay_ms
    if delay_ms is None:
        delay_ms = backoff_ms(claim.send_id, claim.attempt)
    return Settlement(
        outcome=outcome,
        state=ClaimState.RETRY,
        reason=outcome.reason.value,
        retry_ms=now_ms + delay_ms,
    )


def answered(claim: Claim, settlement: Settlement) -> Claim:
    """The claim with its answer."""
    return changed(
        claim,
        state=settlement.state,
        reason=settlement.reason,
        retry_ms=settlement.retry_ms,
        maybe_sent=claim.maybe_sent or isinstance(settlement.outcome, Uncertain),
    )


def backoff_ms(send_id: str, attempt: int) -> int:
    """The wait after the `attempt`-th call (1 is the first): doubling from 1–2 s to 2.5–5 min.

    The upper half of each span is spread by a digest of the send and the attempt, so that sends
    that were throttled together do not come back together, and a replay waits exactly as long.
    """
    assert attempt >= 1, attempt
    doublings = min(attempt, RETRY_DELAY_MAX_MS.bit_length())
    ceiling = min(RETRY_DELAY_MIN_MS << doublings, RETRY_DELAY_MAX_MS)
    digest = hashlib.blake2b(f"{send_id}\x00{attempt}".encode(), digest_size=8).digest()
    half = ceiling // 2
    return half + int.from_bytes(digest, "big") % (ceiling - half + 1)
