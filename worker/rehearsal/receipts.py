"""Receipts, and stops that name a message, find their claims in the state of a rehearsal. Pure.

The same meaning as the store's (`worker/store/receipts.py`); what a claim becomes is decided in
`worker/receipts.py` for both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from worker.addresses import hash_of
from worker.model import ClaimState, Receipt, Stop
from worker.receipts import FAILURES, is_about, state_after
from worker.rehearsal.memory import Memory
from worker.rehearsal.person import Row

EARLY_REPORTS_MAX = 1_000
"""Reports kept for the answers of calls under way; beyond it a report is taken for a stranger's."""


def tell_receipts(memory: Memory, receipts: Sequence[Receipt]) -> tuple[int, set[str]]:
    """Returns how many claims were named, and the users whose ladder may go on otherwise now."""
    named = 0
    users: set[str] = set()
    for receipt in receipts:
        rows = rows_of(memory, receipt)
        if not rows:
            _keep_early(memory, receipt)
        named += len(rows)
        users.update(row.claim.user_id for row in rows if _tell(memory, row, receipt))
    return named, users


def stop_messages(memory: Memory, stops: Sequence[Stop]) -> set[str]:
    """Suppresses the addresses that the messages of these stops went to, where a stop names no
    address itself. Returns the users who have them."""
    users: set[str] = set()
    for stop in stops:
        if stop.address is not None:
            continue
        rows = rows_of(memory, stop)
        if not rows:
            _keep_early(memory, stop)
        for row in rows:
            users |= memory.suppress(row.claim.address_hash, stop.reason, stop.at_ms)
    return users


def tell_early(memory: Memory, message_ids: Collection[str]) -> None:
    """The answers of calls are known, these message ids among them: what was told before is told
    again, and forgotten with whatever no call under way can be about."""
    if not memory.early:
        return
    told = [report for report in memory.early if report.message_id in message_ids]
    for report in told:
        memory.early.remove(report)
    stop_messages(memory, [report for report in told if isinstance(report, Stop)])
    tell_receipts(memory, [report for report in told if isinstance(report, Receipt)])
    memory.early = [report for report in memory.early if _may_be_of_a_call(memory, report)]


def rows_of(memory: Memory, report: Receipt | Stop) -> Sequence[Row]:
    """The claims a report is about. Without an address it is about all its message went to."""
    row = memory.claims.get(report.send_id or "")
    if row is not None:
        return (row,)
    rows = memory.messages.get(report.message_id or "", ())
    if report.address is None:
        return rows
    address_hash = hash_of(report.channel, report.address)
    return [row for row in rows if row.claim.address_hash == address_hash]


def _tell(memory: Memory, row: Row, receipt: Receipt) -> bool:
    """Notes one receipt; True when the ladder may go on otherwise."""
    claim = row.claim
    if not is_about(receipt, claim):
        return False
    told = row.told.with_receipt(receipt)
    if told == row.told:
        return False
    row.told = told
    state = state_after(claim.state, told)
    row.claim = replace(claim, state=state, receipt=told.receipt)
    if claim.state is ClaimState.RETRY and state is not claim.state and not claim.maybe_sent:
        memory.spend(claim, claim.cost_micros)
    life = memory.people[claim.user_id].life
    on_ladder = life is not None and claim.episode_id in life.open
    return on_ladder and (state is not claim.state or told.receipt in FAILURES)


def _keep_early(memory: Memory, report: Receipt | Stop) -> None:
    """Keeps a report nobody knows the message of, if a call is under way that it may be about."""
    kept = report.message_id is not None and len(memory.early) < EARLY_REPORTS_MAX
    if kept and report not in memory.early and _may_be_of_a_call(memory, report):
        memory.early.append(report)


def _may_be_of_a_call(memory: Memory, report: Receipt | Stop) -> bool:
    address_hash = None if report.address is None else hash_of(report.channel, report.address)
    return any(
        row.claim.state is ClaimState.CLAIMED
        and row.claim.channel is report.channel
        and address_hash in (None, row.claim.address_hash)
        for row in memory.claims.values()
    )
