"""The address book and the users, read in pages beside a running worker, for `comeback export`.

A read that stays open keeps the worker's log from being written back, so each page is a read of its
own: a page is one moment, all pages are the time they took. What is written meanwhile is in the
pages that come after it, or in the next export.
"""

# ruff: noqa: S608  the parts of these statements are constants, never input

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from worker.errors import UsageError
from worker.store.addressbook import FACTS, Value
from worker.store.connection import check_current, require_file, require_sqlite, translated
from worker.store.reading import open_read_only, prepare

PAGE_ROWS: Final = 5_000

_FACTS: Final = ", ".join(f"endpoints.{name}" for name in FACTS)
ENTRIES_AFTER: Final = f"""
SELECT endpoints.rowid, endpoint_id, endpoints.at_ms, stamps, suppressions.reason,
  suppressions.at_ms, {_FACTS}
FROM endpoints LEFT JOIN suppressions USING (address_hash)
WHERE endpoints.rowid > ? ORDER BY endpoints.rowid LIMIT ?
"""
SEGMENT_AFTER: Final = """
SELECT u.user_id, u.last_active_ms, e.closed_ms IS NULL, e.outcome, e.hold, e.opened_ms,
  e.last_sent_ms, e.arm, CASE WHEN e.closed_ms IS NULL THEN e.stage ELSE e.last_stage END
FROM (SELECT user_id, last_active_ms FROM users
      WHERE user_id > :after ORDER BY user_id LIMIT :limit) AS u
LEFT JOIN episodes AS e ON e.user_id = u.user_id AND e.rule = :rule
ORDER BY u.user_id, e.closed_ms IS NOT NULL, e.silence_since_ms DESC
"""


@dataclass(frozen=True, slots=True)
class BookEntry:
    """One endpoint of the address book. `facts` are in the order of `addressbook.FACTS`, flags as 0
    and 1, attributes as JSON; `stamps` has the times of facts that are older than `at_ms`."""

    endpoint_id: str
    at_ms: int
    stamps: Mapping[str, int]
    facts: Mapping[str, Value]
    suppressed: str | None
    suppressed_ms: int | None


@dataclass(frozen=True, slots=True)
class SegmentUser:
    """One user, with the open or else the latest episode under the rule that was asked for."""

    user_id: str
    last_active_ms: int
    state: str | None
    """`open`, or how the episode ended; None: there is none."""
    stage: str | None
    """The stage an open episode stands before, or the last one of an ended one."""
    hold: str | None
    opened_ms: int | None
    last_sent_ms: int | None
    arm: str | None


class StateExport:
    """A context manager over a state file; never writes, waits for nobody."""

    def __init__(self, path: str) -> None:
        """Raises UsageError when there is no such file, TryLater, StateDamaged, StateTooNew."""
        require_sqlite()
        require_file(path)
        self._path = path
        with translated(path):
            self._connection = open_read_only(path)
            try:
                check_current(self._connection, path)
                prepare(self._connection)
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> StateExport:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def entries(self) -> Iterator[Sequence[BookEntry]]:
        """The address book, a page at a time, in the order in which endpoints became known."""
        after = 0
        while rows := self._page(ENTRIES_AFTER, (after, PAGE_ROWS)):
            yield [
                BookEntry(
                    row[1],
                    row[2],
                    {} if row[3] is None else msgspec.json.decode(row[3], type=dict[str, int]),
                    dict(zip(FACTS, row[6:], strict=True)),
                    row[4],
                    row[5],
                )
                for row in rows
            ]
            after = rows[-1][0]

    def users(self, rule: str | None) -> Iterator[Sequence[SegmentUser]]:
        """Every user with a recency, a page at a time, by user id. Raises UsageError when nobody
        ever was on a ladder of this rule."""
        if rule is not None:
            self._require_rule(rule)
        after = ""
        while rows := self._page(SEGMENT_AFTER, {"after": after, "limit": PAGE_ROWS, "rule": rule}):
            yield [_user(next(same)) for _, same in groupby(rows, key=itemgetter(0))]
            after = rows[-1][0]

    def _require_rule(self, rule: str) -> None:
        known = [row[0] for row in self._page("SELECT DISTINCT rule FROM episodes ORDER BY 1", ())]
        if rule not in known:
            raise UsageError(
                f"Nobody was ever on a ladder of rule {rule!r} in {self._path}. "
                + (f"Known are: {', '.join(known)}." if known else "No rule had anybody yet.")
            )

    def _page(self, statement: str, values: Any) -> list[Any]:
        with translated(self._path):
            return self._connection.execute(statement, values).fetchall()


def _user(row: Sequence[Any]) -> SegmentUser:
    user_id, last_active_ms, is_open, outcome, hold, opened_ms, last_sent_ms, arm, stage = row
    state = None if opened_ms is None else ("open" if is_open else outcome)
    return SegmentUser(user_id, last_active_ms, state, stage, hold, opened_ms, last_sent_ms, arm)
