"""The rule sets of the state: which one is in force, and the files of those still walked.

A ladder is one rule in one revision. Open episodes may finish the ladder they began with, so the
files of the newest rule set that has it are kept for as long as any of them is open. Reads and
writes inside the transaction of its caller; what the files mean is not known here.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from worker.model import DAY_MS, Adoption, RetiredRule
from worker.store import custody_statements as custody
from worker.store import policy_statements

RULE_SETS_KEPT_MS = 400 * DAY_MS
RULE_SETS_KEPT_MAX = 200
"""Beside those that open episodes still walk."""

CONTENTS_BYTES_MAX = 32 * 1024 * 1024
"""Of the files of one rule set, in base64. A larger set works, but its files are not kept."""

LADDERS_WALKED_MAX = 10_000
"""How many ladders with open episodes `retired` tells of."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The rule set adopted last."""

    rule_set: int
    revision: str
    rearm_after_ms: int | None
    sends_for_ms: int
    adopted_ms: int
    is_armed: bool
    """Has every user it may want something of been made due?"""


def read_in_force(connection: sqlite3.Connection) -> InForce | None:
    """None when no rule set was ever adopted."""
    row = connection.execute(policy_statements.RULE_SET_IN_FORCE).fetchone()
    if row is None:
        return None
    return InForce(
        rule_set=row[0],
        revision=row[1],
        rearm_after_ms=row[2],
        sends_for_ms=row[3],
        adopted_ms=row[4],
        is_armed=bool(row[5]),
    )


def record(connection: sqlite3.Connection, adoption: Adoption, *, now_ms: int) -> InForce:
    """Puts a rule set in force, with its files and ladders, and returns it, not yet armed. One that
    is in force already only gets what it lacks: an older version of this program kept no files."""
    in_force = read_in_force(connection)
    contents = packed(adoption.contents)
    if in_force is not None and in_force.revision == adoption.revision:
        rule_set = in_force.rule_set
        connection.execute(policy_statements.KEEP_FILES, (contents, rule_set))
    else:
        row = (adoption.revision, adoption.rearm_after_ms, adoption.sends_for_ms, now_ms, contents)
        rule_set = connection.execute(policy_statements.ADOPT, row).fetchone()[0]
    ladders = [(rule, revision, rule_set) for rule, revision in adoption.rules.items()]
    connection.executemany(policy_statements.PUT_LADDER, ladders)
    tell_restored(connection, adoption.rules)
    recorded = read_in_force(connection)
    assert recorded is not None
    return recorded


def tell_restored(connection: sqlite3.Connection, rules: Iterable[str]) -> None:
    """After a restore these rules, the first that are adopted, may have sent what is not known.
    A rule that is new later cannot have."""
    untold = connection.execute(custody.RESTORED_UNTOLD).fetchone()
    if untold is not None:
        connection.executemany(custody.PUT_RESTORED, ((rule, untold[0]) for rule in rules))
        connection.execute(custody.RESTORED_TOLD)


def read_restored(connection: sqlite3.Connection) -> Mapping[str, int]:
    """Rule to the instant up to which it may have sent what this restored state does not know."""
    return dict(connection.execute(custody.RESTORED).fetchall())


def mark_armed(connection: sqlite3.Connection, rule_set: int) -> None:
    """Every user that rule set may want something of is due."""
    connection.execute(policy_statements.ARMED, (rule_set,))


def read_retired(connection: sqlite3.Connection, rules: Mapping[str, str]) -> Sequence[RetiredRule]:
    """The ladders that open episodes walk, other than those of `rules` (rule to revision), whose
    files are kept; ordered by rule and revision. Those of one rule set share one `contents`."""
    retired = []
    files: dict[int, Mapping[str, bytes] | None] = {}
    ladder: tuple[str, str] = ("", "")
    for _ in range(LADDERS_WALKED_MAX):
        walked = connection.execute(
            policy_statements.NEXT_LADDER_WALKED, {"rule": ladder[0], "revision": ladder[1]}
        ).fetchone()
        if walked is None:
            break
        ladder = walked
        if rules.get(ladder[0]) == ladder[1]:
            continue
        found = connection.execute(policy_statements.FILES_OF_LADDER, ladder).fetchone()
        if found is None:
            continue
        rule_set, contents = found
        if rule_set not in files:
            files[rule_set] = unpacked(contents)
        kept = files[rule_set]
        if kept is not None:
            retired.append(RetiredRule(rule=ladder[0], revision=ladder[1], contents=kept))
    return retired


def read_files_in_force(connection: sqlite3.Connection) -> Mapping[str, bytes] | None:
    """The files of the rule set in force; None when there is none, or they were not kept."""
    row = connection.execute(policy_statements.FILES_IN_FORCE).fetchone()
    return None if row is None else unpacked(row[0])


def prune_rule_sets(connection: sqlite3.Connection, now_ms: int) -> int:
    """Forgets old rule sets that nobody walks any more; returns how many rows."""
    spent = {"before_ms": now_ms - RULE_SETS_KEPT_MS, "kept_max": RULE_SETS_KEPT_MAX}
    removed = connection.execute(policy_statements.PRUNE_LADDERS, spent).rowcount
    return removed + connection.execute(policy_statements.PRUNE_RULE_SETS, spent).rowcount


def packed(contents: Mapping[str, bytes]) -> bytes | None:
    """Files as a column holds them: JSON of name to base64, compressed. None for no files, and for
    more than `CONTENTS_BYTES_MAX`."""
    if not contents:
        return None
    text = msgspec.json.encode(dict(contents), order="sorted")
    if len(text) > CONTENTS_BYTES_MAX:
        log.warning(
            "rule_files_not_kept",
            bytes=len(text),
            bytes_max=CONTENTS_BYTES_MAX,
            meaning="after a restart and an edit, open episodes go on with the edited ladder",
        )
        return None
    return zlib.compress(text)


def unpacked(contents: bytes | None) -> Mapping[str, bytes] | None:
    """The files `packed` took."""
    if contents is None:
        return None
    text = zlib.decompressobj().decompress(contents, CONTENTS_BYTES_MAX)
    return msgspec.json.decode(text, type=dict[str, bytes])
