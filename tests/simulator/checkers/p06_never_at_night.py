"""P6, never at night.

Demanded: no call in hours that are quiet where the user is, by what the worker's own clock shows.

Forgiven: a worker's clock that is wrong (the hours go by it); zones the worker may not have known
yet, or may have heard of already; a call that was decided on in the last seconds before the hours
began; an edit, as long as one of the books that may be in force has those hours open.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulator.checkers.addressbook import AddressBook
from tests.simulator.checkers.ledger import Ledger
from tests.simulator.checkers.night import is_quiet, zones_of
from tests.simulator.checkers.violation import SLACK_MS, Violation


def check(ledger: Ledger) -> Iterator[Violation]:
    """Calls in quiet hours."""
    addresses = AddressBook(ledger)
    for call in ledger.calls:
        books = ledger.books_at(call.at_ms)
        if not books or not all(book.quiet for book in books):
            continue
        places = [
            zones_of(addresses, call.user, seen)
            for seen in (addresses.known_at(call), addresses.given_at(call))
        ]
        found = [
            is_quiet(book.quiet, call.fact.channel, zones, wall_ms)
            for book in books
            for zones in places
            for wall_ms in (call.decided_wall_ms, call.decided_wall_ms - SLACK_MS)
        ]
        window = found[0]
        if window is not None and None not in found:
            where = ", ".join(places[0][:3]) or window.otherwise
            yield Violation(
                promise="P6",
                at_ms=call.at_ms,
                user=call.user,
                address=call.fact.address,
                calls=(call.fact.call,),
                says=f"sent in the quiet hours {window.start}-{window.end} ({where})",
            )
