"""P7, never too much: what the limits of the rules allow.

Demanded, by the worker's own clock and over all its lives:
- caps: before a stage is sent to a user, fewer others than `most` went out, or may have, in the
  window that ends now; of a calendar window on those days of the user's zone;
- the gap since the last other stage is `min_gap` at least;
- pace: no more messages than `most` in any span that ends with a call, of all that were sent,
  whatever was answered;
- budget: what went out, or may have, on one day of its zone costs no more than it has.

Forgiven: a stage that was certainly refused; several addresses of one stage, which count as one
stage (but each as a message); more messages than a span takes where they are one stage of one user;
sends before an anonymous user got a name; one of two books, as long as either may be in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

from tests.simulator.checkers.addressbook import AddressBook
from tests.simulator.checkers.ledger import Call, Ledger
from tests.simulator.checkers.night import same_days, zones_of
from tests.simulator.checkers.violation import Violation
from tests.simulator.rulebook import Book

Excess: TypeAlias = tuple[str, tuple[int, ...]]
"""What is too much, and the calls it is about."""


def check(ledger: Ledger) -> Iterator[Violation]:
    """Calls that a limit forbade."""
    addresses = AddressBook(ledger)
    before: list[Call] = []
    for call in ledger.calls:
        for law in (_over_cap, _over_pace, _over_budget):
            excess = _in_every_book(ledger, call, before, law, addresses)
            if excess is not None:
                yield Violation(
                    promise="P7",
                    at_ms=call.at_ms,
                    user=call.user if law is _over_cap else None,
                    address=call.fact.address,
                    says=excess[0],
                    calls=(*excess[1], call.fact.call),
                )
        before.append(call)


def _in_every_book(
    ledger: Ledger,
    call: Call,
    before: Sequence[Call],
    law: Callable[[Ledger, Book, Call, Sequence[Call], AddressBook], Excess | None],
    addresses: AddressBook,
) -> Excess | None:
    """What a law finds, when it finds something by each book that may be in force."""
    found = None
    for book in ledger.books_at(call.at_ms):
        found = law(ledger, book, call, before, addresses)
        if found is None:
            return None
    return found


def _over_cap(
    ledger: Ledger, book: Book, call: Call, before: Sequence[Call], addresses: AddressBook
) -> Excess | None:
    if not book.caps and book.min_gap_ms is None:
        return None
    others = _other_stages(ledger, call, before)
    now_ms = call.decided_wall_ms
    if book.min_gap_ms is not None:
        for other in others:
            if other.decided_wall_ms + book.min_gap_ms > now_ms:
                said = f"{_hours(now_ms - other.decided_wall_ms)} after another stage;"
                return f"{said} {_hours(book.min_gap_ms)} are to lie between", (other.fact.call,)
    for cap in book.caps:
        counted = [o for o in others if o.decided_wall_ms > now_ms - cap.per_ms]
        if cap.window == "calendar":
            days = cap.per_ms // 86_400_000
            places = [
                zones_of(addresses, call.user, seen)
                for seen in (addresses.known_at(call), addresses.given_at(call))
            ]
            counted = [
                other
                for other in others
                if all(same_days(other.decided_wall_ms, now_ms, zones, days) for zones in places)
            ]
        if len(counted) >= cap.most:
            said = f"{len(counted) + 1} stages in {_hours(cap.per_ms)} ({cap.window});"
            return f"{said} {cap.most} are allowed", tuple(o.fact.call for o in counted)
    return None


def _other_stages(ledger: Ledger, call: Call, before: Sequence[Call]) -> list[Call]:
    """The last call that went out, or may have, of every other stage to that user."""
    own = (ledger.silence_of(call), call.rule, call.stage)
    latest: dict[tuple[int, str, str], Call] = {}
    for other in before:
        key = (ledger.silence_of(other), other.rule, other.stage)
        if other.user == call.user and other.may_arrive and key != own:
            latest[key] = other
    return list(latest.values())


def _over_pace(
    _ledger: Ledger, book: Book, call: Call, before: Sequence[Call], _: AddressBook
) -> Excess | None:
    if call.fact.answer == "bad_request":
        return None  # of its parts those count that are taken for themselves
    for rate in book.rates:
        if rate.channel not in (None, call.fact.channel):
            continue
        since_ms = call.decided_wall_ms - rate.per_ms
        counted = [
            other
            for other in (*before, call)
            if other.fact.answer != "bad_request"
            and rate.channel in (None, other.fact.channel)
            and since_ms < other.decided_wall_ms <= call.decided_wall_ms
        ]
        stages = {(other.user, other.rule, other.stage) for other in counted}
        if len(counted) > rate.most and len(stages) > 1:
            said = f"{len(counted)} messages in {rate.per_ms / 1_000:g} s;"
            return f"{said} {rate.most} are allowed", tuple(o.fact.call for o in counted[:-1])
    return None


def _over_budget(
    _ledger: Ledger, book: Book, call: Call, before: Sequence[Call], _: AddressBook
) -> Excess | None:
    prices: Mapping[str, int] = book.prices or {}
    if not call.may_arrive or not prices.get(call.fact.channel):
        return None
    for budget in book.budgets:
        if budget.channel != call.fact.channel:
            continue
        day = _day(call, budget.timezone)
        counted = [
            other
            for other in (*before, call)
            if other.may_arrive
            and other.fact.channel == budget.channel
            and _day(other, budget.timezone) == day
        ]
        spent = len(counted) * prices[budget.channel]
        if spent > budget.micros:
            said = f"{spent / 1e6:g} spent on {budget.channel} on {day};"
            return f"{said} {budget.micros / 1e6:g} were allowed", tuple(
                other.fact.call for other in counted[:-1]
            )
    return None


def _day(call: Call, zone: str) -> str:
    return str(datetime.fromtimestamp(call.decided_wall_ms / 1_000, ZoneInfo(zone)).date())


def _hours(ms: float) -> str:
    return f"{ms / 3_600_000:g} h"
