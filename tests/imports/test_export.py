"""`comeback export`: what comes out goes in again, and a segment holds who it says."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.imports.address_book import write_export
from tests.imports.imported import book, imported, rows, run
from tests.store.world import World, day, mailbox, open_store, phone, seen
from worker.cli import commands
from worker.errors import UsageError
from worker.event_times import EARLIEST_MS
from worker.model import DAY_MS, Channel, Endpoint, Stop, StopReason
from worker.store import exporting
from worker.store.sqlite import SqliteStore


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "comeback.db"


def exported(state: Path, to: Path) -> list[dict[str, Any]]:
    run(state, "export", "--to", to)
    return [json.loads(line) for line in gzip.decompress(to.read_bytes()).splitlines()]


def facts(state: Path) -> list[Any]:
    """The address book by endpoint id, without the order in which it was written."""
    return sorted(book(state)), rows(state, "suppressions")  # type: ignore[return-value]


TEXTS = st.sampled_from(["a", 'Ä\n"', "x y", "\x00", "b@c.d"])
# Addresses that are spelled alike on every channel: an event may tell one without its channel type,
# and then it stays as told, while an import spells it as its type wants.
TIMES = st.one_of(st.integers(EARLIEST_MS, day(0)), st.sampled_from([EARLIEST_MS, day(-1)]))
ATTRIBUTES = st.dictionaries(TEXTS, st.lists(TEXTS, min_size=1, max_size=2).map(tuple), max_size=2)
SIGNALS = st.one_of(
    st.builds(
        Endpoint,
        endpoint_id=st.sampled_from(["e1", "e2"]),
        at_ms=TIMES,
        user_id=st.none() | TEXTS,
        channel_type=st.none() | st.sampled_from(["EMAIL", "SMS", "GCM", "CUSTOM"]),
        address=st.none() | st.sampled_from(["a@b", "+4915112345678", "tok:en"]),
        active=st.none() | st.booleans(),
        opted_out=st.none() | st.booleans(),
        timezone=st.none() | TEXTS,
        country=st.none() | st.sampled_from(["DE", "US"]),
        region=st.none() | TEXTS,
        locale=st.none() | TEXTS,
        platform=st.none() | TEXTS,
        app=st.none() | TEXTS,
        attributes=st.none() | ATTRIBUTES,
        user_attributes=st.none() | ATTRIBUTES,
    ),
    st.builds(
        Stop,
        at_ms=TIMES,
        channel=st.just(Channel.EMAIL),
        reason=st.sampled_from(StopReason),
        address=st.just("a@b"),
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SIGNALS, min_size=1, max_size=6))
def test_an_export_becomes_the_same_address_book_with_the_same_times(
    signals: list[Endpoint | Stop],
) -> None:
    with TemporaryDirectory() as folder:
        state, other, file = (Path(folder) / name for name in ("a.db", "b.db", "export.gz"))

        async def tell() -> None:
            store = await open_store(state)
            world = await World(store).begin()
            for signal in signals:
                await world.tell(signal)
            await store.close()

        asyncio.run(tell())
        if not exported(state, file):
            return
        imported(other, file)
        told = {row[0]: row for row in rows(state, "suppressions")}
        assert sorted(book(other)) == sorted(book(state))
        # Of suppressions those go along whose address an endpoint of some channel has.
        assert all(told[row[0]][2:] == row[2:] for row in rows(other, "suppressions"))
        # And into itself: nothing changes.
        before = sorted(book(state)), rows(state, "suppressions"), rows(state, "users")
        imported(state, file)
        assert (sorted(book(state)), rows(state, "suppressions"), rows(state, "users")) == before


def test_a_suppressed_address_stays_suppressed_in_the_state_it_moves_to(
    tmp_path: Path, state: Path
) -> None:
    async def tell() -> None:
        store = await open_store(state)
        world = await World(store).begin()
        await world.tell(mailbox("ann", "ann@b.c"))
        reason = StopReason.COMPLAINED
        await world.tell(
            Stop(at_ms=day(0), channel=Channel.EMAIL, reason=reason, address="ann@b.c")
        )
        await store.close()

    asyncio.run(tell())
    (line,) = exported(state, tmp_path / "x.gz")
    assert line["Suppressed"]["Reason"] == "complained"
    imported(tmp_path / "other.db", tmp_path / "x.gz")
    assert rows(tmp_path / "other.db", "suppressions") == rows(state, "suppressions")


def test_an_import_of_every_dirt_exports_to_the_same_content(tmp_path: Path, state: Path) -> None:
    write_export(tmp_path / "export", 3_000)
    imported(state, tmp_path / "export")
    exported(state, tmp_path / "one.gz")
    imported(tmp_path / "other.db", tmp_path / "one.gz")
    assert sorted(book(tmp_path / "other.db")) == sorted(book(state))
    again = imported(state, tmp_path / "one.gz")
    assert again["endpoints"]["same"] == again["lines"] == 3_000


def test_the_same_address_book_gives_the_same_bytes_which_only_its_owner_may_read(
    tmp_path: Path, state: Path
) -> None:
    write_export(tmp_path / "export", 50)
    imported(state, tmp_path / "export")
    exported(state, tmp_path / "one.gz")
    (tmp_path / "two.gz").write_bytes(b"older")
    exported(state, tmp_path / "two.gz")
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()
    assert stat.S_IMODE((tmp_path / "two.gz").stat().st_mode) == 0o600
    result = CliRunner().invoke(commands, ["export"], env={"COMEBACK_STATE": str(state)})
    assert result.stdout_bytes == (tmp_path / "one.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*.part")) == []


def test_pages_give_every_endpoint_once_while_the_worker_writes(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PAGE_ROWS", 7)

    async def tell() -> set[str]:
        store = await open_store(state)
        world = await World(store).begin()
        await world.tell(*(phone(f"u{number:03d}") for number in range(50)))
        found: list[str] = []
        with exporting.StateExport(str(state)) as export:
            for number, page in enumerate(export.entries()):
                found += [entry.endpoint_id for entry in page]
                if number < 3:
                    await world.tell(phone(f"later-{number}"), phone("u049", 1))
        await store.close()
        assert len(found) == len(set(found))
        return set(found)

    assert asyncio.run(tell()) >= {f"phone-u{number:03d}" for number in range(50)}


# --- segments -----------------------------------------------------------------------------------


EARLIER_EPISODE = """
INSERT INTO episodes (episode_id, user_id, rule, revision, silence_since_ms, opened_ms,
  stage_due_ms, closed_ms, outcome)
SELECT 'before', user_id, rule, revision, silence_since_ms - 1, opened_ms - 1, 1, 1, 'exhausted'
FROM episodes WHERE user_id = 'ben'
"""


@pytest.fixture
async def lived(state: Path) -> None:
    """Ann is on a ladder since day 7; Ben's ended by his return, one before it was exhausted; Cid
    is active."""
    store: SqliteStore = await open_store(state)
    world = await World(store).begin()
    await world.claimed("ann", "ben")
    await world.tell(seen("ben", 9), seen("cid", 10), on=10)
    await store.close()
    with closing(sqlite3.connect(state)) as connection, connection:
        shift = "last_active_ms = last_active_ms - :ms"
        connection.execute(f"UPDATE users SET {shift}", {"ms": 2_000 * DAY_MS})  # noqa: S608
        connection.execute(EARLIER_EPISODE)


def segment(state: Path, *words: str) -> list[dict[str, str]]:
    told = run(state, "export", "--segment", "csv", *words)
    return list(csv.DictReader(io.StringIO(told.stdout)))


@pytest.mark.usefixtures("lived")
def test_a_segment_chooses_by_recency_rule_stage_and_outcome(state: Path) -> None:
    def users(*words: str) -> list[str]:
        return [row["user_id"] for row in segment(state, *words)]

    assert users() == ["ann", "ben", "cid"]
    (ann, ben, _) = segment(state)
    between = (int(ann["silent_days"]) + int(ben["silent_days"])) // 2
    assert users("--silent-for", f"{between}d") == ["ann"]
    assert users("--silent-for", "3650d") == []
    assert users("--rule", "winback") == ["ann"]
    (on_ladder,) = segment(state, "--rule", "winback")
    assert users("--rule", "winback", "--stage", on_ladder["stage"]) == ["ann"]
    assert users("--rule", "winback", "--stage", "nothing") == []
    assert users("--rule", "winback", "--outcome", "returned") == ["ben"]
    assert users("--rule", "winback", "--outcome", "exhausted") == []
    assert on_ladder["state"] == "open"
    assert (ann["rule"], ann["state"]) == ("", "")


@pytest.mark.usefixtures("lived")
def test_a_segment_of_a_rule_nobody_met_names_those_that_are_known(state: Path) -> None:
    result = run(state, "export", "--segment", "csv", "--rule", "winbck", fails=True)
    assert isinstance(result.exception, UsageError)
    assert "Known are: winback" in str(result.exception)


@pytest.mark.usefixtures("lived")
def test_a_segment_holds_no_address(state: Path) -> None:
    told = run(state, "export", "--segment", "csv", "--rule", "winback").stdout
    assert "token-" not in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--silent-for", "30d"], "add --segment csv"),
        (["--segment", "csv", "--stage", "sms"], "add --rule"),
        (["--segment", "csv", "--silent-for", "soon"], "--silent-for"),
    ],
)
def test_what_does_not_go_together_is_refused(state: Path, words: list[str], told: str) -> None:
    result = run(state, "export", *words, fails=True)
    assert isinstance(result.exception, UsageError)
    assert told in str(result.exception)


def test_without_a_state_there_is_nothing_to_export(state: Path, tmp_path: Path) -> None:
    result = run(state, "export", "--to", tmp_path / "x.gz", fails=True)
    assert isinstance(result.exception, UsageError)
    assert not (tmp_path / "x.gz").exists()
