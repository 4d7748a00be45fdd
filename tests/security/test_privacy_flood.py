"""P11: what is marked as somebody's own comes to light nowhere it must not (docs/security.md).

The real process reads a stream of marked values, sends through a provider that quotes them, meets
faults of every kind, and is asked by every command. Its log, at debug level, its metrics, its port
and the commands' output are searched.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import traceback
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.acceptance.world import World, pause, until, world
from tests.security import flood
from tests.security.bursting import burst
from tests.security.marks import IDENTITIES, MARKS, RULE_TEXTS, found_in, mark
from worker.cli import commands
from worker.errors import ComebackError, UsageError, trace_of

LOUD = {
    "COMEBACK_LOG_LEVEL": "debug",
    "COMEBACK_HTTP_TOKEN": f"{mark('secret of the port')}-0123456",
}
ASKED = IDENTITIES | RULE_TEXTS
"""What a command may show that is asked about rules and users."""
USER = f"{mark('user id')}-1"


def test_the_search_finds_marks_however_they_are_spelt() -> None:
    for kind, piece in MARKS.items():
        for spelt in (piece, piece.upper(), piece.encode().hex(), f"a{piece}b"):
            assert kind in found_in(f"log line with {spelt} in it"), (kind, spelt)
    assert found_in("nothing of the sort") == {}


def test_the_search_finds_marks_in_base64_at_any_offset() -> None:
    for before in ("", "a", "bc"):
        text = base64.b64encode(f"{before}{mark('user attribute')} and more".encode()).decode()
        assert "user attribute" in found_in(text)


def test_the_errors_that_burst_would_show_if_their_texts_were_told() -> None:
    with pytest.raises(RuntimeError) as failed:
        burst()
    told = found_in("".join(traceback.format_exception(failed.value)))
    assert {"text of an error", "mail address", "phone number"} <= told.keys()
    assert found_in(trace_of(failed.value)) == {}
    assert "bursting.py" in trace_of(failed.value)


async def settled(one: World, *, sends: int) -> None:
    """So many messages reached the provider, and the answers to them had time to come back."""
    await until(lambda: len(one.sends) >= sends, f"{sends} sends", 30)
    await pause(2.0)


def whole_log(one: World) -> str:
    """All that the one worker wrote; `log_text` shows only the end."""
    return (one.folder / "worker-0.log").read_text(errors="replace")


async def port_says(one: World) -> str:
    """Everything the HTTP port tells."""
    paths = ("/", "/metrics", "/-/healthy", "/-/ready", "/-/reload", "/nowhere")
    return "\n".join([await one.text(path) for path in paths])


def lines_of(log: str) -> list[str]:
    return [line for line in log.splitlines() if line.strip()]


@pytest.mark.parametrize("form", ["json", "console"])
async def test_a_flood_leaves_no_mark_in_log_metrics_or_port(tmp_path: Path, form: str) -> None:
    async with world(tmp_path, rules=flood.RULES) as one:
        worker = await one.start_ready(COMEBACK_LOG_FORMAT=form, **LOUD)
        flood.pour(one)
        await flood.pour_faults(one)
        await settled(one, sends=30)
        # Somebody else holds the state for a while, so that its troubles are told too.
        holder = sqlite3.connect(one.state, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        flood.pour(one, seed=2)
        await until(lambda: "state_not_writable" in whole_log(one), "the state is held", 15)
        holder.execute("ROLLBACK")
        holder.close()
        await pause(2.0)
        (one.rules / "rules.yaml").write_text(flood.RULES.replace("inactive_for", "inactve_for"))
        await until(lambda: "rules_refused" in whole_log(one), "the rules are refused", 15)
        port = await port_says(one)
        await asyncio.to_thread(worker.stop)
        assert found_in(whole_log(one)) == {}
        assert found_in(port) == {}
        assert sqlite3.connect(one.state).execute("SELECT count(*) FROM claims").fetchone()[0] > 30
        assert len(lines_of(whole_log(one))) >= 5


COMMANDS: dict[str, tuple[str, ...]] = {
    "state": ("state", "--dead-letters", "100", "--uncertain", "100"),
    "state json": ("state", "--json", "--dead-letters", "100", "--uncertain", "100"),
    "explain": ("explain", USER),
    "explain json": ("explain", USER, "--json"),
    "explain why not": ("explain", USER, "--why-not", "winback"),
    "explain later": ("explain", USER, "--at", "2d"),
    "explain by endpoint": ("explain", f"{mark('endpoint id')}-2-gcm"),
    "explain without a name": ("explain", f"{mark('user id')}-3"),
    "plan": ("plan", "{changed}", "--all"),
    "plan json": ("plan", "{changed}", "--all", "--json"),
    "check": ("check", "{rules}"),
    "check json": ("check", "{rules}", "--json"),
    "doctor": ("doctor", "--full"),
    "doctor json": ("doctor", "--json"),
    "health": ("health", "--ready"),
    "backtest": ("backtest", "{events}", "--rules", "{rules}"),
    "backtest json": ("backtest", "{events}", "--rules", "{rules}", "--json", "-"),
    "backtest of a state": (
        "backtest",
        "{events}",
        "--rules",
        "{rules}",
        "--seed-state",
        "{state}",
    ),
    "silence": ("silence", "list"),
    "backup": ("backup", "{folder}/copy.db"),
    "import": ("import", "{export}", "--dry-run"),
    "import json": ("import", "{export}", "--dry-run", "--json"),
    "segment": ("export", "--segment", "csv"),
    "export to a file": ("export", "--to", "{folder}/endpoints.gz"),
    "forget": ("forget", f"{mark('user id')}-7", "--yes"),
}
"""Every command that works on what is somebody's own."""
MAY_SHOW: dict[str, frozenset[str]] = {
    "health": frozenset(),
    "doctor": frozenset(),
    "doctor json": frozenset(),
    "silence": frozenset(),
    "import": frozenset(),
    "import json": frozenset(),
}
"""Command to the kinds it may show, where that is not `ASKED`."""


async def test_no_command_shows_what_is_somebodys_own(tmp_path: Path) -> None:
    async with world(tmp_path, rules=flood.RULES) as one:
        await one.start_ready(**LOUD)
        flood.pour(one)
        await flood.pour_faults(one)
        await settled(one, sends=30)
        files = (one.state, one.state.with_name(f"{one.state.name}-wal"))
        kept = found_in("".join(file.read_bytes().decode("latin-1") for file in files))
        assert {"mail address", "phone number", "token", "attribute", "name"} <= kept.keys()
        places = _files(one)
        shown = {}
        for name, arguments in COMMANDS.items():
            filled = [argument.format_map(places) for argument in arguments]
            output = await asyncio.to_thread(_said, filled, one.environment | LOUD)
            shown[name] = found_in(output, but=MAY_SHOW.get(name, ASKED))
        assert {name: found for name, found in shown.items() if found} == {}


def _said(arguments: list[str], environment: dict[str, str]) -> str:
    """Everything a command says, its errors too. A bug fails the test."""
    outcome = CliRunner().invoke(commands, arguments, env=environment, standalone_mode=False)
    error = outcome.exception
    if error is not None and not isinstance(error, ComebackError | SystemExit):
        raise error
    assert not isinstance(error, UsageError), error
    return f"{outcome.output}\n{error}"


def _files(one: World) -> dict[str, str]:
    """Other rules, recorded events and an export, all full of marks."""
    changed = one.folder / "changed"
    changed.mkdir()
    (changed / "rules.yaml").write_text(flood.RULES.replace("inactive_for: 3s", "inactive_for: 4s"))
    events = [json.dumps(flood.visit(number, "EMAIL")).encode() for number in range(9)]
    recorded = one.folder / "events.ndjson"
    recorded.write_bytes(b"\n".join([*events, *flood.malformed(3, 30)]))
    export = one.folder / "export.json"
    lines = [flood.visit(number, "SMS")["endpoint"] for number in range(9)]
    export.write_text(
        "\n".join([*(json.dumps(line) for line in lines), mark("malformed record"), '{"Id": 5}'])
    )
    return {
        "changed": str(changed),
        "rules": str(one.rules),
        "events": str(recorded),
        "export": str(export),
        "state": str(one.state),
        "folder": str(one.folder),
    }


@pytest.mark.parametrize("form", ["json", "console"])
async def test_what_fails_is_told_by_kind_and_place_and_never_by_its_text(
    tmp_path: Path, form: str
) -> None:
    async with world(tmp_path, rules=flood.RULES) as one:
        worker = one.start(
            module="tests.security.bursting",
            BURST="look,send,metrics,aside",
            COMEBACK_LOG_FORMAT=form,
            **LOUD,
        )
        await one.ready(worker)
        flood.pour(one)
        await until(lambda: "sender_failed" in whole_log(one), "a sender failed", 20)
        await until(lambda: "look_failed" in whole_log(one), "a look failed", 20)
        port = await port_says(one)
        await asyncio.to_thread(worker.stop)
        log = whole_log(one)
        assert found_in(log) == {}
        assert found_in(port) == {}
        for event in ("http_failed", "library_warning", "error_in_cleanup", "error_in_thread"):
            assert event in log
        assert "bursting.py:" in log


@pytest.mark.parametrize("part", ["fold", "settle", "start"])
async def test_a_process_that_ends_by_a_bug_says_where_and_quotes_nobody(
    tmp_path: Path, part: str
) -> None:
    async with world(tmp_path, rules=flood.RULES) as one:
        worker = one.start(module="tests.security.bursting", BURST=part, **LOUD)
        flood.pour(one)
        assert await asyncio.to_thread(worker.process.wait, 40) == 70
        log = whole_log(one)
        assert found_in(log) == {}
        assert "this is a bug" in log
        assert "RuntimeError" in log
        assert "bursting.py" in log
