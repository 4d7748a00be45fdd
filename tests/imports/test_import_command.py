"""`comeback import` on state files: what it writes, twice, late, cut off, dry, erased people."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.imports.address_book import FIRST_MS, iso, write_export
from tests.imports.imported import book, counted, imported, rows, run, write_lines
from tests.store.world import World, open_store
from worker.cli import commands
from worker.errors import ProblemsFound, UsageError
from worker.events import read_record
from worker.imports import windows
from worker.model import DAY_MS, Adoption, Endpoint, Record
from worker.rules.ruleset import ActivityPolicy
from worker.store import bulk_indexes, importing
from worker.store.connection import Database
from worker.store.importing import ImportBook

CLEAN: dict[str, Any] = {
    "Id": "e1",
    "ChannelType": "EMAIL",
    "Address": "ann@example.com",
    "EndpointStatus": "ACTIVE",
    "OptOut": "NONE",
    "EffectiveDate": iso(FIRST_MS),
    "User": {"UserId": "ann"},
}
BEFORE, AFTER = {"EffectiveDate": iso(FIRST_MS - 9)}, {"EffectiveDate": iso(FIRST_MS + 9)}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder / "comeback.db"


def column(state: Path, name: str, of: str = "e1") -> Any:
    """A column of one endpoint."""
    with closing(sqlite3.connect(state)) as connection:
        row = connection.execute(
            f"SELECT {name} FROM endpoints WHERE endpoint_id = ?",  # noqa: S608
            (of,),
        ).fetchone()
    return row[0]


def schema(state: Path) -> list[str]:
    with closing(sqlite3.connect(state)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    return [" ".join(str(word) for word in row).replace("IF NOT EXISTS ", "") for row in found]


# --- what is written ----------------------------------------------------------------------------


def told_by_events(export: list[Path], state: Path) -> None:
    """The same endpoints, one after the other, as a stream would tell them."""

    def signals(line: bytes) -> list[Any]:
        try:
            shape = json.loads(line)
        except ValueError:
            return []
        told = shape.get("EffectiveDate") or shape["CreationDate"]
        at_ms = round(datetime.fromisoformat(told).timestamp() * 1_000)
        event = {
            "event_type": "_test.event_stream",
            "event_timestamp": at_ms,
            "arrival_timestamp": at_ms,
            "endpoint": shape,
        }
        record = Record(data=json.dumps(event).encode(), sequence_number="1", arrival_ms=at_ms)
        found = read_record(record, shard_id="s", policy=ActivityPolicy()).signals
        return [signal for signal in found if isinstance(signal, Endpoint)]

    async def tell() -> None:
        store = await open_store(state)
        world = await World(store).begin()
        for path in export:
            for line in gzip.decompress(path.read_bytes()).splitlines():
                await world.tell(*signals(line))
        await store.close()

    asyncio.run(tell())


def test_an_export_becomes_the_address_book_the_stream_would_have_made(
    tmp_path: Path, state: Path
) -> None:
    export = write_export(tmp_path / "export", 600, per_file=250)
    report = imported(state, tmp_path / "export")
    told_by_events(export, tmp_path / "told.db")
    found, told = (sorted(row[:-2] for row in book(path)) for path in (state, tmp_path / "told.db"))
    assert found == told
    assert len(found) == 600
    assert report["endpoints"]["new"] == 600


def test_a_file_that_comes_again_is_not_read_and_changes_nothing_when_it_is(
    tmp_path: Path, state: Path
) -> None:
    write_export(tmp_path / "export", 400)
    imported(state, tmp_path / "export", "--last-seen", "effective-date")
    known = book(state), rows(state, "users"), rows(state, "positions")
    again = imported(state, tmp_path / "export", "--last-seen", "effective-date")
    assert (again["lines"], len(again["files_known"])) == (0, 1)
    read = imported(state, tmp_path / "export", "--again", "--last-seen", "effective-date")
    assert read["endpoints"]["same"] == read["lines"] - read["lines_passed_over"] == 401
    assert read["endpoints"]["new"] == read["endpoints"]["changed"] == 0
    assert (book(state), rows(state, "users"), rows(state, "positions")) == known


def test_a_file_that_was_written_anew_is_read(tmp_path: Path, state: Path) -> None:
    file = tmp_path / "one.json"
    imported(state, write_lines(file, CLEAN))
    imported(state, write_lines(file, CLEAN | AFTER | {"Address": "eve@example.com"}))
    assert column(state, "address") == "eve@example.com"


@pytest.mark.parametrize(("when", "kept"), [(BEFORE, "ann@example.com"), (AFTER, "old@b.c")])
def test_facts_keep_their_times_whichever_file_comes_first(
    tmp_path: Path, state: Path, when: dict[str, str], kept: str
) -> None:
    imported(state, write_lines(tmp_path / "a.json", CLEAN))
    imported(state, write_lines(tmp_path / "b.json", CLEAN | when | {"Address": "old@b.c"}))
    assert column(state, "address") == kept


def test_an_old_file_does_not_undo_an_opt_out_the_stream_told(tmp_path: Path, state: Path) -> None:
    async def tell() -> None:
        store = await open_store(state)
        world = await World(store).begin()
        await world.tell(Endpoint(endpoint_id="e1", at_ms=FIRST_MS + 1, opted_out=True))
        await store.close()

    asyncio.run(tell())
    timeless = {name: value for name, value in CLEAN.items() if name != "EffectiveDate"}
    imported(state, write_lines(tmp_path / "a.json", CLEAN, timeless))
    assert (column(state, "opted_out"), column(state, "address")) == (1, "ann@example.com")


def test_one_endpoint_twice_in_a_file_is_one_with_the_newest_facts(
    tmp_path: Path, state: Path
) -> None:
    moved = {"Id": "E1", "Address": "new@b.c", **AFTER}
    for number, order in enumerate(([CLEAN, moved], [moved, CLEAN])):
        other = state.with_name(f"{number}.db")
        report = imported(other, write_lines(tmp_path / f"{number}.json", *order))
        assert counted(report)["duplicate"] == 1
        assert (column(other, "address"), column(other, "user_id")) == ("new@b.c", "ann")


def test_more_than_15_endpoints_of_a_user_are_told(tmp_path: Path, state: Path) -> None:
    def crowd(count: int) -> list[dict[str, Any]]:
        return [
            CLEAN | {"Id": f"{count}-{n}", "User": {"UserId": f"u{count}"}} for n in range(count)
        ]

    report = imported(state, write_lines(tmp_path / "a.json", *crowd(15), *crowd(16), *crowd(16)))
    assert counted(report)["too_many_endpoints"] == 1
    assert counted(report)["duplicate"] == 16
    assert len(book(state)) == 31


def test_a_phone_whose_user_comes_to_be_known_joins_that_user(tmp_path: Path, state: Path) -> None:
    stranger = {name: value for name, value in CLEAN.items() if name != "User"}
    seen = ["--last-seen", "effective-date"]
    imported(state, write_lines(tmp_path / "a.json", stranger), *seen)
    assert [row[0] for row in rows(state, "users")] == ["anonymous:e1"]
    report = imported(state, write_lines(tmp_path / "b.json", CLEAN), *seen)
    assert report["endpoints"]["users_merged"] == 1
    assert [row[:2] for row in rows(state, "users")] == [("ann", FIRST_MS)]


def test_who_was_erased_does_not_come_back_with_an_old_file(tmp_path: Path, state: Path) -> None:
    file = write_lines(tmp_path / "a.json", CLEAN, CLEAN | {"Id": "e2", "User": {"UserId": "ben"}})
    imported(state, file)
    run(state, "forget", "ann", "--yes")
    report = imported(state, file, "--again", "--last-seen", "effective-date")
    assert report["endpoints"]["forgotten"] == 1
    assert [row[0] for row in book(state)] == ["e2"]
    assert [row[0] for row in rows(state, "users")] == ["ben"]


# --- recency ------------------------------------------------------------------------------------


def test_nobody_counts_as_active_unless_asked(tmp_path: Path, state: Path) -> None:
    report = imported(state, write_lines(tmp_path / "a.json", CLEAN))
    assert rows(state, "users") == []
    assert "leave these users alone" in report["notes"][0]


def test_an_effective_date_is_a_lower_bound_of_recency_and_makes_users_due(
    tmp_path: Path, state: Path
) -> None:
    async def adopt() -> None:
        store = await open_store(state)
        await store.adopt(
            Adoption(revision="r", rearm_after_ms=7 * DAY_MS, sends_for_ms=DAY_MS, rules={})
        )
        await store.close()

    asyncio.run(adopt())
    file = write_lines(tmp_path / "a.json", CLEAN, CLEAN | AFTER | {"Id": "e2"}, CLEAN | BEFORE)
    imported(state, file, "--last-seen", "effective-date")
    assert rows(state, "users") == [("ann", FIRST_MS + 9, FIRST_MS + 9 + 7 * DAY_MS)]


# --- runs that are cut off ----------------------------------------------------------------------


def test_a_run_that_was_cut_off_continues_and_ends_as_one_that_was_not(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = tmp_path / "export"
    write_export(export, 900, per_file=300)
    whole = state.with_name("whole.db")
    imported(whole, export)
    monkeypatch.setattr(windows, "WINDOW_ITEMS_MAX", 100)
    monkeypatch.setattr(importing, "ALONE_ENDPOINTS", 30)
    take, calls = ImportBook.take, 0

    def failing(self: ImportBook, *args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 11 == 0:
            raise KeyboardInterrupt
        return take(self, *args, **more)

    monkeypatch.setattr(ImportBook, "take", failing)
    continued = 0
    for _ in range(30):
        result = run_or_cut(state, export)
        if result is not None:
            break
        continued += 1
    assert result is not None
    assert continued > 2
    assert result["lines"] < 900
    assert [row[:-2] for row in sorted(book(state))] == [row[:-2] for row in sorted(book(whole))]
    assert rows(state, "positions") == rows(whole, "positions")


def run_or_cut(state: Path, *words: object) -> dict[str, Any] | None:
    """The report, or None when it was cut off."""
    told = ["import", "--json", *map(str, words)]
    result = CliRunner().invoke(commands, told, env={"COMEBACK_STATE": str(state)})
    if result.exit_code:
        return None
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_indexes_that_a_killed_import_left_out_are_there_again_at_the_next_start(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = state.with_name("fresh.db")
    Database.open(str(fresh)).close()
    monkeypatch.setattr(importing, "BULK_ENDPOINTS_MIN", 1)
    write_export(tmp_path / "export", 200)
    with monkeypatch.context() as broken:
        broken.setattr(ImportBook, "complete", lambda _: None)
        imported(state, tmp_path / "export")
    assert len(schema(state)) == len(schema(fresh)) - 2
    Database.open(str(state)).close()
    assert schema(state) == schema(fresh)


def test_a_bulk_import_leaves_the_file_as_the_worker_makes_it(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_export(tmp_path / "export", 300)
    plain = state.with_name("plain.db")
    imported(plain, tmp_path / "export")
    dropped: list[sqlite3.Connection] = []
    drop = bulk_indexes.drop

    def dropping(connection: sqlite3.Connection) -> None:
        dropped.append(connection)
        drop(connection)

    monkeypatch.setattr(bulk_indexes, "drop", dropping)
    monkeypatch.setattr(importing, "BULK_ENDPOINTS_MIN", 1)
    imported(state, tmp_path / "export")
    assert dropped
    assert schema(state) == schema(plain)
    assert book(state) == book(plain)
    dropped.clear()
    imported(state, tmp_path / "export")  # nothing is coming
    assert not dropped


# --- dry runs, reports, refusals ----------------------------------------------------------------


def test_a_dry_run_tells_the_same_and_writes_nothing(tmp_path: Path, state: Path) -> None:
    write_export(tmp_path / "export", 500)
    dry = imported(state, tmp_path / "export", "--dry-run")
    assert list(state.parent.iterdir()) == []
    wet = imported(state, tmp_path / "export")
    assert counted(dry) == counted(wet)
    assert (dry["endpoints"]["new"], wet["endpoints"]["new"]) == (500, 500)
    before = state.read_bytes()
    again = imported(state, tmp_path / "export", "--dry-run", "--again")
    assert again["endpoints"]["same"] == again["lines"] - again["lines_passed_over"]
    assert state.read_bytes() == before
    log = state.with_name("comeback.db-wal")
    assert not log.exists() or not log.stat().st_size


def test_a_report_names_file_and_line_and_nothing_of_what_stands_there(
    tmp_path: Path, state: Path
) -> None:
    secret = {
        "Id": "SECRET-id",
        "ChannelType": "SMS",
        "Address": "555SECRET",
        "Location": {"Country": "SECRETland"},
        "Demographic": {"Timezone": "SECRET/Zone"},
        "OptOut": "SECRET",
        "EffectiveDate": "SECRET",
        "Attributes": "SECRET",
        "User": {"UserId": "SECRET-user"},
    }
    file = write_lines(tmp_path / "a.json", CLEAN, secret, b'{"SECRET": ', secret)
    text = run(state, "import", file).stdout
    report = run(state, "import", file, "--again", "--json").stdout
    for told in (text, report):
        assert "SECRET" not in told
        assert f"{file}:2" in told
    places = {found["kind"]: found["places"] for found in json.loads(report)["findings"]}
    assert places["zone_unknown"] == [f"{file}:2", f"{file}:4"]
    assert places["bad_line"] == [f"{file}:3"]


def test_a_broken_file_does_not_keep_the_others_from_being_taken(
    tmp_path: Path, state: Path
) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "a.gz").write_bytes(gzip.compress(json.dumps(CLEAN).encode() + b"\n")[:-8])
    write_lines(folder / "b.json", CLEAN | {"Id": "e2"})
    result = run(state, "import", folder, fails=True)
    assert isinstance(result.exception, ProblemsFound)
    assert "a.gz: its gzip is cut off" in result.stdout
    assert [row[0] for row in book(state)][-1] == "e2"
    (folder / "a.gz").write_bytes(gzip.compress(json.dumps(CLEAN).encode() + b"\n"))
    report = imported(state, folder)
    assert len(report["files_known"]) == 1
    assert [row[0] for row in book(state)] == ["e1", "e2"]


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_path_with_nothing_in_it_is_refused(tmp_path: Path, state: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    result = run(state, "import", tmp_path / name, fails=True)
    assert isinstance(result.exception, UsageError)
    assert str(tmp_path / name) in str(result.exception)
    assert not state.exists()


def test_a_file_without_an_endpoint_is_a_problem(tmp_path: Path, state: Path) -> None:
    result = run(state, "import", write_lines(tmp_path / "a.json", b""), fails=True)
    assert isinstance(result.exception, ProblemsFound)


def test_times_are_refused_when_they_are_none(tmp_path: Path, state: Path) -> None:
    file = write_lines(tmp_path / "a.json", CLEAN)
    result = run(state, "import", file, "--as-of", "noon", fails=True)
    assert isinstance(result.exception, UsageError)
    assert "--as-of" in str(result.exception)
