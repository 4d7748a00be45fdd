"""What known faces said: written down as it comes, and into the tables in large pieces.

An event that shows a known face (`worker/faces.py`) moves two times: its user's recency, and when
its endpoint was last seen as it is. Of each batch they are one row of the table `touches`, in the
transaction of the batch's position. Here they are held by endpoint, until they are folded into the
tables in the order of their keys, some hundred thousand at a time.

Whoever reads or changes an endpoint or its user asks `catch_up` first, so nobody decides by what is
still to be folded. A face is learnt of an endpoint that

- looks exactly as the event showed it, and was told nothing newer,
- has an address no other endpoint has,
- belongs to a user the state knows, who is on no ladder and is due no later than after the shortest
  silence of any rule;

and forgotten by `catch_up` before any of this can change; all of them when another process writes
to the file, and when the rules change.

Works inside the transactions of its caller; one that is rolled back is followed by `distrust`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from worker.faces import Faces, StaleFaces, Touch
from worker.model import MINUTE_MS
from worker.store import touch_statements as statements
from worker.store.connection import want

PENDING_MAX: Final = 250_000
"""Endpoints held until they are folded; as many again while that is done. Some 300 bytes each."""

LOG_BYTES_MAX: Final = 64 * 1024 * 1024
FOLD_AFTER_MS: Final = MINUTE_MS
"""So much written, or so long since the last fold began, and the next one begins."""

FOLD_CHUNK: Final = 1_000
"""Endpoints folded with each batch, at least; twice as many as it touched when those are more."""

FOLD_CHUNK_MAX: Final = 4_000
"""At most; some tens of milliseconds."""

FORGET_ROWS: Final = 20
"""Rows deleted with each batch once they are folded."""

Block: TypeAlias = dict[str, Touch]
"""Endpoint to what was said of it; `SETTLED` takes back what was said before."""

SETTLED: Final = (-1, -1)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Block).decode


class Touches:
    """The touches of one state file as one process holds them."""

    def __init__(self) -> None:
        self.faces = Faces()
        self._pending: Block = {}
        self._folding: Block = {}
        """What was pending when the fold began, and is not in the tables yet."""
        self._queue: list[str] = []
        """Their keys, the last ones next."""
        self._folds_upto = 0
        """The last row of what is being folded."""
        self._reads_from = self._read_upto = 0
        """The first and the last row that was read or written."""
        self._bytes = 0
        self._fold_began_ms: int | None = None
        self._version: int | None = None
        """Changes when another process has written."""

    def __len__(self) -> int:
        """How many endpoints have touches that are not in the tables."""
        return len(self._pending) + len(self._folding)

    @property
    def _holds(self) -> bool:
        return bool(self._pending or self._folding or len(self.faces))

    def begin(self, connection: sqlite3.Connection, touches: Mapping[str, Touch] = {}) -> None:
        """To be called first in a transaction. `touches`: of the effect it is about to apply.

        Raises StaleFaces when those rest on faces that may not hold any more.
        """
        version: int = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._read_anew(connection, version)
        if touches and self.faces.lost(touches):
            raise StaleFaces

    def _read_anew(self, connection: sqlite3.Connection, version: int) -> None:
        """Reads what another process wrote down, or everything."""
        (first,) = connection.execute(statements.FIRST_TOUCHES).fetchone()
        if self._version is None or (first is not None and first > self._reads_from):
            # What another process has folded may be of users who have changed since.
            self._pending, self._folding, self._queue = {}, {}, []
            self._folds_upto = self._read_upto = self._bytes = 0
            self._reads_from = first or 0
        self.faces.clear()
        self.faces.expect(connection.execute(statements.ENDPOINTS_ABOUT).fetchone()[0])
        rows = connection.execute(statements.TOUCHES_AFTER, (self._read_upto,))
        for number, entries in rows.fetchall():
            self._put(_decode(entries))
            self._read_upto = number
            self._bytes += len(entries)
        self._version = version

    def distrust(self) -> None:
        """A transaction was rolled back: what is held may not be what is written."""
        self._version = None
        self.faces.clear()

    def take(
        self, connection: sqlite3.Connection, touches: Mapping[str, Touch], *, wall_ms: int
    ) -> int:
        """Writes down what a batch said, and folds a piece of what was said before. Returns of how
        many users it moved the recency, as far as that is known here."""
        moved = 0
        if touches:
            pending = self._pending
            for endpoint_id, touch in touches.items():
                known = pending.get(endpoint_id, SETTLED)
                moved += touch[1] > known[1]
                if touch[1] < known[1] or touch[0] < known[0]:
                    touch = _later(known, touch)
                pending[endpoint_id] = touch
            self._write_down(connection, touches)
        self._fold_piece(connection, max(FOLD_CHUNK, 2 * len(touches)), wall_ms)
        return moved

    def fold_some(
        self, connection: sqlite3.Connection, *, wall_ms: int, at_once: bool = False
    ) -> bool:
        """Folds a piece of what is being folded; begins a fold when it is time, or `at_once`. True
        when there is more of it."""
        if at_once and not self._folds_upto:
            self._begin_fold(wall_ms)
        self._fold_piece(connection, FOLD_CHUNK_MAX, wall_ms)
        return bool(self._folds_upto)

    def catch_up(self, connection: sqlite3.Connection, endpoint_ids: Collection[str]) -> bool:
        """What was said of these endpoints is in the tables when this returns, and their faces are
        forgotten. True when there was something."""
        for endpoint_id in endpoint_ids:
            self.faces.forget(endpoint_id)
        pending, folding = self._pending, self._folding
        late = [key for key in endpoint_ids if key in pending or key in folding]
        if late:
            self._fold(connection, {key: self._pop(key) for key in late})
            self._write_down(connection, dict.fromkeys(late, SETTLED))
        return bool(late)

    def disown(self, connection: sqlite3.Connection, endpoint_ids: Collection[str]) -> None:
        """These endpoints, which were caught up with, have another owner now: what is written down
        of them was of the one before, should it ever be read again."""
        if endpoint_ids and (self._bytes or self._folds_upto):
            self._write_down(connection, dict.fromkeys(endpoint_ids, SETTLED))

    def catch_up_users(self, connection: sqlite3.Connection, user_ids: Sequence[str]) -> bool:
        """`catch_up` for all endpoints of these users. True when their recency may have moved."""
        if not user_ids or not self._holds:
            return False
        want(connection, user_ids)
        rows = connection.execute(statements.ENDPOINTS_OF_WANTED).fetchall()
        return self.catch_up(connection, [row[0] for row in rows])

    def catch_up_addresses(self, connection: sqlite3.Connection, hashes: Collection[str]) -> None:
        """`catch_up` for all endpoints that have one of these addresses."""
        if hashes and self._holds:
            want(connection, hashes)
            rows = connection.execute(statements.ENDPOINTS_AT_WANTED).fetchall()
            self.catch_up(connection, [row[0] for row in rows])

    def learn(
        self,
        connection: sqlite3.Connection,
        faces: Mapping[str, tuple[int, ...]],
        *,
        rearm_after_ms: int | None,
    ) -> None:
        """Learns the faces of those of these endpoints that meet the conditions above; that each
        looks as it was shown, the caller knows."""
        if faces:
            want(connection, faces)
            rows = connection.execute(statements.CALM_WANTED, {"rearm_after_ms": rearm_after_ms})
            for (endpoint_id,) in rows.fetchall():
                shown = faces[endpoint_id]
                for face in shown if self.faces.is_roomy else shown[:1]:
                    self.faces.learn(endpoint_id, face)

    def show(self, connection: sqlite3.Connection) -> None:
        """See `show_touched`."""
        connection.execute(statements.TOUCH_NOBODY)
        connection.executemany(statements.TOUCH, _rows(self._pending))
        for statement in statements.SHOW_TOUCHED:
            connection.execute(statement)

    def _put(self, touches: Mapping[str, Touch]) -> None:
        pending = self._pending
        for endpoint_id, touch in touches.items():
            if touch == SETTLED:
                self._pop(endpoint_id)
                continue
            known = pending.get(endpoint_id)
            pending[endpoint_id] = touch if known is None else _later(known, touch)

    def _pop(self, endpoint_id: str) -> Touch:
        pending = self._pending.pop(endpoint_id, SETTLED)
        return _later(pending, self._folding.pop(endpoint_id, SETTLED))

    def _write_down(self, connection: sqlite3.Connection, block: Mapping[str, Touch]) -> None:
        entries = _encode(block)
        number = connection.execute(statements.PUT_TOUCHES, (entries,)).lastrowid
        assert number is not None
        self._read_upto = number
        self._bytes += len(entries)

    def _begin_fold(self, wall_ms: int) -> None:
        self._folding, self._pending = self._pending, {}
        self._queue = sorted(self._folding, reverse=True)
        self._folds_upto, self._bytes, self._fold_began_ms = self._read_upto, 0, wall_ms

    def _fold_piece(self, connection: sqlite3.Connection, count: int, wall_ms: int) -> None:
        if not self._queue and not self._folds_upto:
            began_ms = self._fold_began_ms
            if began_ms is None or began_ms > wall_ms:
                self._fold_began_ms = began_ms = wall_ms
            full = len(self._pending) >= PENDING_MAX or self._bytes >= LOG_BYTES_MAX
            if self._bytes and (full or wall_ms - began_ms >= FOLD_AFTER_MS):
                self._begin_fold(wall_ms)
        if self._queue:
            count = min(count, FOLD_CHUNK_MAX)
            keys, self._queue[-count:] = self._queue[-count:], []
            folding = self._folding
            self._fold(connection, {key: folding.pop(key) for key in keys if key in folding})
        if not self._queue and self._folds_upto:
            self._folding = {}
            rows = (self._folds_upto, FORGET_ROWS)
            if connection.execute(statements.FORGET_TOUCHES, rows).rowcount < FORGET_ROWS:
                self._reads_from, self._folds_upto = self._folds_upto + 1, 0

    def _fold(self, connection: sqlite3.Connection, touches: Mapping[str, Touch]) -> None:
        connection.execute(statements.TOUCH_NOBODY)
        connection.executemany(statements.TOUCH, _rows(touches))
        connection.execute(statements.MOVE_TOUCHED_USERS)
        connection.execute(statements.MOVE_TOUCHED_ENDPOINTS)


def _rows(touches: Mapping[str, Touch]) -> Iterator[tuple[str, int, int]]:
    return ((key, *touch) for key, touch in touches.items())


def _later(one: Touch, other: Touch) -> Touch:
    return max(one[0], other[0]), max(one[1], other[1])


def erase_touches(connection: sqlite3.Connection, endpoint_ids: Collection[str]) -> None:
    """Removes these endpoints from everything that is written down."""
    for number, entries in connection.execute(statements.TOUCHES_AFTER, (0,)).fetchall():
        block = _decode(entries)
        kept = {key: touch for key, touch in block.items() if key not in endpoint_ids}
        if len(kept) < len(block):
            connection.execute(statements.REPLACE_TOUCHES, (_encode(kept), number))


def show_touched(connection: sqlite3.Connection) -> None:
    """For connections that only read: lets the table `users` show the recency that is written down
    and not folded yet, as it is now."""
    held = Touches()
    held.begin(connection)
    if len(held):
        held.show(connection)
