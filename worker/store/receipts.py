"""Receipts, and stops that name a message, find their claims; what they tell is written beside it.

What a claim becomes is decided in `worker/receipts.py`; here is how it is found: by our send id,
else by the provider's message id and, where the report names one, the address. A message id is
known once the answer of its call is written. A report that comes sooner is kept for as long as a
call is under way whose answer may name it. Works inside the transaction of its caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from worker.addresses import hash_of
from worker.model import Channel, Claim, ClaimState, Receipt, ReceiptStatus, Stop, StopReason
from worker.receipts import FAILURES, Told, is_about, state_after
from worker.store import statements
from worker.store.addressbook import suppress
from worker.store.connection import want
from worker.store.spends import add_spends
from worker.store.views import claim_of

EARLY_REPORTS_MAX = 1_000
"""Reports kept for the answers of calls under way; beyond it a report is taken for a stranger's."""

_CLAIM_COLUMNS = len(statements.CLAIM_COLUMNS.split(", "))


@dataclass(frozen=True, slots=True)
class _Found:
    """A claim with what is known of it; `on_ladder`: its episode is open."""

    claim: Claim
    told: Told
    on_ladder: bool


def tell_receipts(
    connection: sqlite3.Connection, receipts: Sequence[Receipt]
) -> tuple[int, set[str]]:
    """Returns how many claims were named, and the users whose ladder may go on otherwise now."""
    named = 0
    users: set[str] = set()
    for receipt in receipts:
        found = _named_by(connection, receipt)
        if not found:
            _keep_early(connection, receipt, receipt.status, receipt.detail)
        named += len(found)
        for one in found:
            users |= _tell(connection, one, receipt)
    return named, users


def stop_messages(connection: sqlite3.Connection, stops: Iterable[Stop]) -> set[str]:
    """Suppresses the addresses that the messages of these stops went to, where a stop names no
    address itself. Returns the users who have them."""
    rows: list[tuple[str, Channel, StopReason, int]] = []
    for stop in stops:
        if stop.address is not None:
            continue
        found = _named_by(connection, stop)
        if not found:
            _keep_early(connection, stop, stop.reason, "")
        rows += [(o.claim.address_hash, o.claim.channel, stop.reason, stop.at_ms) for o in found]
    if not rows:
        return set()
    suppress(connection, rows)
    want(connection, (row[0] for row in rows))
    return {owner for _, owner in connection.execute(statements.OWNERS_BY_ADDRESS)}


def tell_early(connection: sqlite3.Connection, message_ids: Iterable[str]) -> None:
    """The answers of calls are written, these message ids among them: what was told before is told
    again, and forgotten with whatever no call under way can be about."""
    if connection.execute(statements.ANY_EARLY).fetchone() is None:
        return
    receipts: list[Receipt] = []
    stops: list[tuple[str, Channel, StopReason, int]] = []
    for message_id in set(message_ids):
        for row in connection.execute(statements.TAKE_EARLY, (message_id,)).fetchall():
            channel, address_hash, kind, detail, at_ms = row
            claims = _claims_of(connection, statements.CLAIMS_BY_MESSAGE, message_id)
            told_of = [o for o in claims if address_hash in ("", o.claim.address_hash)]
            if kind in set(StopReason):
                reason = StopReason(kind)
                stops += [(o.claim.address_hash, o.claim.channel, reason, at_ms) for o in told_of]
                continue
            receipts += (
                Receipt(
                    at_ms=at_ms,
                    channel=Channel(channel),
                    status=ReceiptStatus(kind),
                    detail=detail,
                    send_id=o.claim.send_id,
                )
                for o in told_of
            )
    suppress(connection, stops)
    tell_receipts(connection, receipts)
    connection.execute(statements.FORGET_EARLY)


def senders_of(
    connection: sqlite3.Connection, message_ids: Iterable[str]
) -> dict[str, list[tuple[str, str]]]:
    """Message id to the users it went to, each with the digest of the address."""
    wanted = set(message_ids)
    found: dict[str, list[tuple[str, str]]] = {}
    if wanted:
        want(connection, wanted)
        for message_id, user_id, address_hash in connection.execute(statements.USERS_BY_MESSAGE):
            found.setdefault(message_id, []).append((user_id, address_hash))
    return found


def _named_by(connection: sqlite3.Connection, report: Receipt | Stop) -> list[_Found]:
    """The claims a report is about. Without an address it is about all its message went to."""
    if report.send_id is not None:
        found = _claims_of(connection, statements.CLAIM_BY_SEND, report.send_id)
        if found:
            return found
    if report.message_id is None:
        return []
    found = _claims_of(connection, statements.CLAIMS_BY_MESSAGE, report.message_id)
    address_hash = _address_hash(report)
    return [one for one in found if address_hash in ("", one.claim.address_hash)]


def _claims_of(connection: sqlite3.Connection, statement: str, key: str) -> list[_Found]:
    return [_found(row) for row in connection.execute(statement, (key,)).fetchall()]


def _found(row: Sequence[Any]) -> _Found:
    receipt, detail, at_ms, taken, soft_bounces, on_ladder = row[_CLAIM_COLUMNS:]
    told = Told(
        receipt=None if receipt is None else ReceiptStatus(receipt),
        detail=detail or "",
        at_ms=at_ms or 0,
        taken=bool(taken),
        soft_bounces=() if soft_bounces is None else tuple(msgspec.json.decode(soft_bounces)),
    )
    return _Found(claim_of(row), told, bool(on_ladder))


def _tell(connection: sqlite3.Connection, found: _Found, receipt: Receipt) -> set[str]:
    """Writes one receipt beside its claim. Returns the user when the ladder may go on otherwise."""
    claim, before = found.claim, found.told
    if not is_about(receipt, claim):
        return set()
    told = before.with_receipt(receipt)
    if told == before:
        return set()
    state = state_after(claim.state, told)
    soft_bounces = msgspec.json.encode(told.soft_bounces).decode() if told.soft_bounces else None
    connection.execute(
        statements.TELL_CLAIM,
        {
            "send_id": claim.send_id,
            "state": state,
            "receipt": told.receipt,
            "detail": told.detail,
            "at_ms": told.at_ms,
            "taken": told.taken,
            "soft_bounces": soft_bounces,
        },
    )
    if claim.state is ClaimState.RETRY and state is not claim.state and not claim.maybe_sent:
        add_spends(connection, (claim,))
    matters = state is not claim.state or told.receipt in FAILURES
    return {claim.user_id} if matters and found.on_ladder else set()


def _keep_early(
    connection: sqlite3.Connection, report: Receipt | Stop, kind: str, detail: str
) -> None:
    """Keeps a report nobody knows the message of, if a call is under way that it may be about."""
    if report.message_id is None:
        return
    row = {
        "message_id": report.message_id,
        "channel": report.channel,
        "address_hash": _address_hash(report),
        "kind": kind,
        "detail": detail,
        "at_ms": report.at_ms,
        "rows_max": EARLY_REPORTS_MAX,
    }
    connection.execute(statements.KEEP_EARLY, row)


def _address_hash(report: Receipt | Stop) -> str:
    """The digest of the address a report names; empty when it names none."""
    return "" if report.address is None else hash_of(report.channel, report.address)
