"""Puts a copy of the state in the place of the state, and holds back what may have been sent since.

A copy does not know what was sent after it was made, and sends cannot be taken back. So everything
that can have been sent between the copy and now counts as sent, and is not sent again (P1):

* an open episode whose stage fell due by now is closed as `cancelled`, reason `restored`; sends of
  it without a final answer become `uncertain`;
* a silence that was long enough for a rule by now begins no ladder of that rule any more
  (guards_entry.py). Which rules: those of the copy, and those of the set adopted next.

Whole ladders, not stages: a stage that was refused leads to the next one at once, and a copy cannot
tell. Whoever comes back and goes quiet again begins anew. `resend` assumes that nothing was sent.

Recency has no such gap: the stream is read again from the positions of the copy. People who were
erased since are erased again where the state that is replaced can still be read.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from worker.errors import ComebackError, StateUnwritable, UsageError
from worker.model import MINUTE_MS
from worker.ports import Clock
from worker.store import custody_statements as custody
from worker.store.backup import (
    Copy,
    OnProgress,
    copy_pages,
    inspect_copy,
    no_progress,
    private_beside,
    require_room,
    sync_file,
)
from worker.store.connection import Database, check_current, check_ours, translated
from worker.store.forget import erase
from worker.store.forgotten import user_digest
from worker.store.lock import StateLock
from worker.store.reading import open_read_only

CLOCKS_APART_MS = 5 * MINUTE_MS
"""The worker that was lost may have had a clock that far ahead; AWS refuses to serve more."""

ANY_RULE = ""
"""Stands in `restored` for the rules of the set that is adopted next."""

_LOG_ENDS = ("-wal", "-shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did."""

    copy: Copy
    until_ms: int | None
    """What fell due up to then counts as sent; None: nothing does."""
    episodes_closed: int
    sends_uncertain: int
    erased_again: int
    """People who were erased after the copy was made."""
    erasures_read: bool
    """Could the replaced state be asked for them? True also when there was none to ask."""
    kept_aside: Path | None
    """Where the state that was replaced is now."""


async def restore_state(
    copy_path: Path,
    state_path: str,
    *,
    clock: Clock,
    force: bool = False,
    resend: bool = False,
    on_progress: OnProgress = no_progress,
) -> Restored:
    """Puts a copy in the place of the state; the copy stays as it is.

    Raises StateInUse while a process holds the state, UsageError when there is no such copy, or a
    state stands there (unless `force`: then that one is kept aside), StateDamaged and StateTooNew
    for the copy, SettingsError when the folder is not there, StateUnwritable. Whatever is raised,
    the state is as it was.
    """
    lock = await StateLock.acquire(state_path, wait=False, clock=clock, on_wait=_ignored)
    try:
        state = _real(state_path)
        _require_place(copy_path, state, force=force)
        copy = inspect_copy(copy_path)
        require_room(str(copy_path), state.parent)
        return _replace(copy, state, clock=clock, resend=resend, on_progress=on_progress)
    finally:
        lock.release()


def _replace(
    copy: Copy, state: Path, *, clock: Clock, resend: bool, on_progress: OnProgress
) -> Restored:
    """Makes the new state beside the old one, and swaps them at the very end."""
    erased, readable = _erasures(state)
    with private_beside(state) as made:
        with translated(str(copy.path)), closing(open_read_only(str(copy.path))) as source:
            copy_pages(source, made, on_progress)
        now_ms = clock.now_ms()
        until_ms = None if resend else now_ms + CLOCKS_APART_MS
        episodes, sends, again = _prepare(made, now_ms, until_ms, erased)
        with translated(str(state)):
            sync_file(made)
            kept = _set_aside(state, now_ms)
            made.replace(state)
            sync_file(state.parent)
    return Restored(
        copy=copy,
        until_ms=until_ms,
        episodes_closed=episodes,
        sends_uncertain=sends,
        erased_again=again,
        erasures_read=readable,
        kept_aside=kept,
    )


def _real(path: str) -> Path:
    """The lock is that of the file a link leads to."""
    return Path(os.path.realpath(path))


def _ignored(holder: str) -> None:
    """A restore does not wait."""


def _require_place(copy_path: Path, state: Path, *, force: bool) -> None:
    if copy_path.exists() and state.exists() and copy_path.samefile(state):
        raise UsageError(f"{copy_path}: is the state itself. Name a copy of it.")
    if state.exists() and not force:
        raise UsageError(
            f"{state}: a state is there already. Add --force to put the copy in its place; the "
            "state that is there is kept beside it under another name."
        )


def _prepare(
    made: Path, now_ms: int, until_ms: int | None, erased: dict[str, int]
) -> tuple[int, int, int]:
    """Brings the new file up to date and writes into it what is assumed. How many episodes were
    closed, sends made uncertain, people erased again."""
    database = Database.open(str(made))
    try:
        with database.transaction(durable=True) as connection:
            again = _erase_again(connection, erased)
            if until_ms is None:
                return 0, 0, again
            moments = {"now_ms": now_ms, "until_ms": until_ms}
            connection.execute(custody.PUT_RESTORED_LADDERS, {"until_ms": until_ms})
            connection.execute(custody.PUT_RESTORED, (ANY_RULE, until_ms))
            connection.execute(custody.JOURNAL_IN_DOUBT, moments)
            sends = connection.execute(custody.CLAIMS_IN_DOUBT, moments).rowcount
            episodes = connection.execute(custody.CLOSE_IN_DOUBT, moments).rowcount
            return episodes, sends, again
    finally:
        database.close()


def _erasures(state: Path) -> tuple[dict[str, int], bool]:
    """The tombstones of the state that will be replaced, and whether they could be read."""
    if not state.exists():
        return {}, True
    try:
        with translated(str(state)), closing(open_read_only(str(state))) as connection:
            check_current(connection, str(state))
            return dict(connection.execute(custody.ALL_FORGOTTEN).fetchall()), True
    except ComebackError:
        return {}, False


def _erase_again(connection: sqlite3.Connection, erased: dict[str, int]) -> int:
    """Erases whom the copy does not know as erased yet; how many people it knew."""
    known: dict[str, int] = dict(connection.execute(custody.ALL_FORGOTTEN).fetchall())
    new = {digest: at_ms for digest, at_ms in erased.items() if at_ms > known.get(digest, -1)}
    back = (
        [
            (user_id, new[digest])
            for (user_id,) in connection.execute(custody.EVERYBODY)
            if (digest := user_digest(user_id)) in new
        ]
        if new
        else []
    )
    for user_id, at_ms in back:
        erase(connection, user_id, now_ms=at_ms)
    connection.executemany(custody.PUT_FORGOTTEN, new.items())
    return len(back)


def _set_aside(state: Path, now_ms: int) -> Path | None:
    """Gives the state that is there a second name; what belongs to it goes along."""
    stamp = datetime.fromtimestamp(now_ms // 1_000, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = state.with_name(f"{state.name}.before-restore-{stamp}")
    if aside.exists():
        raise UsageError(f"{aside}: exists already. Try again in a second.")
    if state.exists():
        _fold_log(state)
        _link(state, aside)
    for end in _LOG_ENDS:
        log = Path(f"{state}{end}")
        if log.exists():  # of a state that cannot be opened, or of none
            log.rename(f"{aside}{end}")
    return aside if aside.exists() else None


def _fold_log(state: Path) -> None:
    """Writes the log of a state that was not closed properly back into it. One that is no usable
    database is left exactly as it was found, log and all."""
    uri = f"file:{quote(str(state))}?mode=rw"
    with suppress(sqlite3.Error, ComebackError):
        with closing(open_read_only(str(state))) as connection:
            check_ours(connection, str(state))
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _link(state: Path, aside: Path) -> None:
    """With two names there is no moment without a state; some volumes cannot."""
    attempts: tuple[Callable[[], object], ...] = (
        lambda: aside.hardlink_to(state),
        lambda: state.rename(aside),
    )
    for attempt in attempts:
        with suppress(OSError):
            attempt()
            return
    raise StateUnwritable(
        f"{state}: cannot be kept aside as {aside.name}. Make its folder writable for this user; "
        "nothing was changed."
    )
