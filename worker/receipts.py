"""What receipts make of a claim: a fold that no order and no repetition can change. Pure.

A stream tells a delivery report late, twice, before the answer of the very call, or never. So what
is kept of a claim is a maximum and two sets, and its state is worked out anew from the provider's
answer and from that. Both stores use this; how they find the claim is theirs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TypeAlias

from worker.addresses import hash_of
from worker.model import Activity, Channel, Claim, ClaimState, Receipt, ReceiptStatus

SOFT_BOUNCES_MAX = 10
"""Reports of soft bounces that are told apart for one claim; a rule can wait for no more."""

FAILURES = frozenset({ReceiptStatus.FAILED, ReceiptStatus.SOFT_BOUNCED})
"""The provider took the message, and it did not arrive."""

_WEIGHT = {
    ReceiptStatus.BUFFERED: 0,
    ReceiptStatus.DELIVERED: 1,
    ReceiptStatus.SOFT_BOUNCED: 2,
    ReceiptStatus.FAILED: 3,
}
"""Of two reports of one instant the heavier is kept. All but the lightest are final."""

_Rank: TypeAlias = tuple[bool, int, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What receipts told of one claim. `at_ms` and `detail` belong to `receipt`, the one that
    counts: a final one rather than "buffered", then the latest."""

    receipt: ReceiptStatus | None = None
    detail: str = ""
    at_ms: int = 0
    taken: bool = False
    """One of them was "delivered" or "buffered": the provider has certainly taken the message."""
    soft_bounces: tuple[int, ...] = ()
    """When soft bounces were told, each instant once, in order; the earliest `SOFT_BOUNCES_MAX`."""

    def with_receipt(self, receipt: Receipt) -> Told:
        """The same after one more receipt. Equal when it says nothing new."""
        status = receipt.status
        soft_bounces = self.soft_bounces
        if status is ReceiptStatus.SOFT_BOUNCED and receipt.at_ms not in soft_bounces:
            soft_bounces = tuple(sorted((*soft_bounces, receipt.at_ms)))[:SOFT_BOUNCES_MAX]
        told = replace(self, taken=self.taken or status not in FAILURES, soft_bounces=soft_bounces)
        if self.receipt is not None and _rank(receipt) <= self._rank:
            return told
        return replace(told, receipt=status, detail=receipt.detail, at_ms=receipt.at_ms)

    @property
    def _rank(self) -> _Rank:
        assert self.receipt is not None
        return _rank_of(self.receipt, self.at_ms, self.detail)


NOTHING_TOLD = Told()


def _rank(receipt: Receipt) -> _Rank:
    return _rank_of(receipt.status, receipt.at_ms, receipt.detail)


def _rank_of(status: ReceiptStatus, at_ms: int, detail: str) -> _Rank:
    return status is not ReceiptStatus.BUFFERED, at_ms, _WEIGHT[status], detail


def is_about(receipt: Receipt, claim: Claim) -> bool:
    """Can the receipt be of the claim's latest call? A failure that was told before a repeated call
    was made is that of an earlier one; what was delivered was, whichever call did it."""
    is_earlier = claim.attempt > 1 and receipt.at_ms < claim.sent_at_ms
    return not (is_earlier and receipt.status in FAILURES)


def state_after(state: ClaimState, told: Told) -> ClaimState:
    """The state of a claim whose answer alone would make it `state`.

    Nobody knows the end of an uncertain call; any receipt shows that it was accepted, also one of a
    failure. Of a call that the provider put off, only one that shows that it has the message: a
    throttled SMS may be told in the stream as failed. A refusal stays one.
    """
    if state is ClaimState.UNCERTAIN and told.receipt is not None:
        return ClaimState.SENT
    if state is ClaimState.RETRY and told.taken:
        return ClaimState.SENT
    return state


def whose_message(went_to: Collection[tuple[str, str]], activity: Activity) -> set[str]:
    """Who was active, of those a message went to (user, digest of the address): whose address the
    activity names, or all of them when it names none of these."""
    whose: set[str] = set()
    if activity.address is not None:
        named = hash_of(Channel.EMAIL, activity.address)
        whose = {user_id for user_id, address_hash in went_to if address_hash == named}
    return whose or {user_id for user_id, _ in went_to}


def did_not_arrive(claims: Collection[Claim], soft_bounces_min: int) -> bool:
    """Did everything fail that went out, or may have, by these claims of one stage? A mailbox has
    failed when its soft bounces in a row are that many. False when nothing went out."""
    gone = [claim for claim in claims if claim.may_have_gone_out]
    return bool(gone) and all(_failed(claim, soft_bounces_min) for claim in gone)


def _failed(claim: Claim, soft_bounces_min: int) -> bool:
    if claim.receipt is ReceiptStatus.SOFT_BOUNCED:
        return claim.soft_bounces >= soft_bounces_min
    return claim.receipt is ReceiptStatus.FAILED
