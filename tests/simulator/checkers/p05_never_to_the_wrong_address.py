"""P5, never to the wrong address.

Demanded: no call to an address for a user when the worker certainly knew that each endpoint with
that address is opted out, inactive or another user's; nor to an address that was stopped (a
complaint, an unsubscription, a hard bounce, STOP), of which a provider said that it had opted out
or is dead, or that no endpoint of the user ever had.

Forgiven: what the worker may not have known yet; tellings that a newer one takes back; answers
nobody lived to hear.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from tests.simulator.checkers.addressbook import AddressBook
from tests.simulator.checkers.ledger import Call, Ledger, Record
from tests.simulator.checkers.violation import Violation


def check(ledger: Ledger) -> Iterator[Violation]:
    """Calls to addresses that must get nothing."""
    book = AddressBook(ledger)
    closed_by: dict[str, list[Call]] = defaultdict(list)
    for call in ledger.calls:
        address = call.fact.address
        why = _why_not(ledger, book, call) or _told_before(ledger, closed_by[address], call)
        if why is not None:
            yield Violation(
                promise="P5",
                at_ms=call.at_ms,
                user=call.user,
                address=address,
                calls=(call.fact.call,),
                says=f"a message went to an address that {why}",
            )
        if call.fact.answer in ("opted_out", "rejected"):
            closed_by[address].append(call)


def _told_before(ledger: Ledger, closing: list[Call], call: Call) -> str | None:
    for earlier in closing:
        heard_ms = earlier.fact.answered_ms or earlier.at_ms
        if ledger.was_heard(earlier) and ledger.written_ms(heard_ms) < call.at_ms:
            return f"its provider had answered {earlier.fact.answer!r} for"
    return None


def _why_not(ledger: Ledger, book: AddressBook, call: Call) -> str | None:
    known, given = book.known_at(call), book.given_at(call)
    address = call.fact.address
    if any(known(stop) for stop in book.stops.get(address, ())):
        return "was stopped"
    endpoints = book.endpoints_of_address.get(address, set())
    reasons = [_closed(book, endpoint, call, known, given) for endpoint in sorted(endpoints)]
    if not reasons:
        return "no record ever named"
    return None if None in reasons else str(reasons[0])


def _closed(
    book: AddressBook,
    endpoint: str,
    call: Call,
    known: Callable[[Record], bool],
    given: Callable[[Record], bool],
) -> str | None:
    """Why the endpoint certainly was no good for this user; None when it may have been."""
    for name, bad, why in (("opted_out", True, "had opted out"), ("active", False, "was inactive")):
        told_ms, value = book.fact(endpoint, name, known)
        if value is bad and not _taken_back(book, endpoint, name, bad, told_ms, given):
            return why
    owner = book.owner(endpoint, known)
    if owner == call.user or book.owner(endpoint, given) == call.user:
        return None
    if not any(known(telling.record) for telling in book.tellings[endpoint]):
        return None
    return "belonged to another user"


def _taken_back(
    book: AddressBook,
    endpoint: str,
    name: str,
    bad: bool,
    told_ms: int,
    given: Callable[[Record], bool],
) -> bool:
    """May a telling that is as new or newer have said the opposite?"""
    return any(
        telling.told_ms >= told_ms and telling.facts.get(name) is (not bad)
        for telling in book.tellings[endpoint]
        if given(telling.record)
    )
