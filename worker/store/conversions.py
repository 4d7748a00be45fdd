"""Credits conversions: the user did what a rule hopes for, soon enough after its last send.

The episode credited is the one of that user and rule whose send came last before the conversion,
open or the latest closed one; a holdout's would-be sends count like sends, or there would be
nothing to compare with. An episode converts once, at its earliest conversion, so it does not matter
how often or in which order they are told. The stage that has it is the last one sent before it, and
keeps it when the ladder goes on. Whether a receipt says that the stage arrived, or nobody knows,
makes no difference: the arms of a rule compare only when all who were tried count. Works inside the
transaction of its caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from worker.model import Conversion
from worker.store import statements
from worker.store.addressbook import anonymous_user_of
from worker.store.connection import want
from worker.store.journal import CONVERTED, CREDIT, JournalEntry, tell


def credit_conversions(
    connection: sqlite3.Connection, conversions: Sequence[Conversion], *, now_ms: int
) -> int:
    """Returns how many episodes were credited for the first time."""
    if not conversions:
        return 0
    want(connection, {c.endpoint_id for c in conversions if c.user_id is None and c.endpoint_id})
    owners: dict[str, str] = dict(connection.execute(statements.OWNERS_BY_ENDPOINT).fetchall())
    entries: list[JournalEntry] = []
    for conversion in conversions:
        user_id = conversion.user_id
        if user_id is None and conversion.endpoint_id is not None:
            endpoint_id = conversion.endpoint_id
            user_id = owners.get(endpoint_id, anonymous_user_of(endpoint_id))
        if user_id is not None:
            entries += _credit(connection, conversion, user_id, now_ms)
    tell(connection, entries)
    return len(entries)


def _credit(
    connection: sqlite3.Connection, conversion: Conversion, user_id: str, now_ms: int
) -> Sequence[JournalEntry]:
    """What there is to tell of one conversion: one entry, or none."""
    found = connection.execute(
        statements.EPISODE_TO_CREDIT,
        {
            "user_id": user_id,
            "rule": conversion.rule,
            "at_ms": conversion.at_ms,
            "within_ms": conversion.within_ms,
        },
    ).fetchone()
    if found is None:
        return ()
    episode_id, last_stage, converted_ms = found
    if converted_ms is not None and converted_ms <= conversion.at_ms:
        return ()
    connection.execute(statements.CREDIT, (conversion.at_ms, last_stage, episode_id))
    if converted_ms is not None:
        return ()
    entry = JournalEntry(
        at_ms=now_ms,
        user_id=user_id,
        action=CREDIT,
        reason=CONVERTED,
        rule=conversion.rule,
        episode_id=episode_id,
        stage=last_stage,
    )
    return (entry,)
