"""No statement of the hot path reads a table that grows with the users from end to end.

The statistics SQLite plans by are absent in a state file, so the plans of an empty one are those
of a full one.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from tests.store.world import open_store
from worker.store import policy_statements, queries, statements, touch_statements
from worker.store.sqlite import SqliteStore

GROWING = {"users", "endpoints", "suppressions", "episodes", "claims", "journal", "dead_letters"}

FOR_PEOPLE = {
    "OUTCOMES",
    "RECENCY_BANDS",
    "CLAIMS_BY_STATE",
    "EPISODES_OPEN_BY_STAGE",
    "UNCERTAIN_CLAIMS",
    "DEAD_LETTERS_BY_REASON",
    "CONVERSIONS",
}
"""Only `comeback state` asks these, beside the worker and for a bounded time."""

ENDS_EARLY = {
    "EPISODES_UPTO",
    "PRUNE_JOURNAL",
    "NEXT_CHUNK",
    "WANT_CHUNK",
    "DEAD_LETTERS",
    "ATTRIBUTES",
}
"""These go along a key from a given place and stop at their LIMIT."""

STATEMENTS = {
    name: value
    for module in (statements, policy_statements, queries, touch_statements)
    for name, value in vars(module).items()
    if isinstance(value, str)
    and not name.startswith("_")
    and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE)\b", value)
}


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    store = await open_store(":memory:")
    yield store
    await store.close()


def plan_of(store: SqliteStore, statement: str) -> list[str]:
    """The steps of SQLite's plan: `SCAN users`, `SEARCH users USING ...`."""
    named = dict.fromkeys(re.findall(r":(\w+)", statement), 1)
    parameters = named or (1,) * statement.count("?")
    connection = store._database._connection
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def scans(plan: list[str]) -> set[str]:
    """The growing tables a plan reads whole. An alias is not the table's name, so every SCAN of
    something unknown counts too."""
    small = {"wanted", "seen", "streams", "positions", "sqlite_master", "CONSTANT"}
    small |= {"rule_sets", "ladders", "spends", "silences", "early_reports", "touched", "t"}
    found = {match[1] for step in plan if (match := re.match(r"SCAN (?:temp\.)?(\w+)", step))}
    return found - small


def test_every_statement_is_looked_at() -> None:
    assert len(STATEMENTS) > 80
    assert STATEMENTS.keys() >= FOR_PEOPLE | ENDS_EARLY


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - FOR_PEOPLE - ENDS_EARLY))
async def test_a_statement_of_the_hot_path_searches(store: SqliteStore, name: str) -> None:
    assert scans(plan_of(store, STATEMENTS[name])) == set()


@pytest.mark.parametrize("name", sorted(ENDS_EARLY))
async def test_a_statement_that_ends_early_sorts_nothing(store: SqliteStore, name: str) -> None:
    assert "LIMIT" in STATEMENTS[name]
    assert not any("TEMP B-TREE" in step for step in plan_of(store, STATEMENTS[name]))


async def test_a_scan_would_be_noticed(store: SqliteStore) -> None:
    assert scans(plan_of(store, STATEMENTS["RECENCY_BANDS"])) & GROWING == {"users"}
