"""What the import tests share: running the commands, and what a state file then holds."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from worker.cli import commands
from worker.imports.endpoints import EndpointReader, Said
from worker.imports.findings import Findings
from worker.model import Endpoint

NOW_MS = 1_800_000_000_000


def run(state: Path, *words: object, fails: bool = False) -> Result:
    """A command on this state. With `fails`, its error of the tree is in `result.exception`."""
    result = CliRunner().invoke(
        commands, [*map(str, words)], env={"COMEBACK_STATE": str(state)}, catch_exceptions=fails
    )
    assert fails == (result.exit_code != 0), result.output
    return result


def imported(state: Path, *words: object, fails: bool = False) -> dict[str, Any]:
    """The report of `comeback import --json`."""
    document: dict[str, Any] = json.loads(
        run(state, "import", "--json", *words, fails=fails).stdout
    )
    return document


def counted(report: dict[str, Any]) -> dict[str, int]:
    """Kind of finding to its count."""
    return {found["kind"]: found["count"] for found in report["findings"]}


def rows(state: Path, table: str) -> list[tuple[Any, ...]]:
    """All rows of a table, in the order of their first column."""
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()  # noqa: S608


def book(state: Path) -> list[tuple[Any, ...]]:
    """The address book of a state."""
    return rows(state, "endpoints")


def write_lines(path: Path, *endpoints: object) -> Path:
    """One JSON a line; bytes as they are."""
    lines = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in endpoints]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def read_one(endpoint: object, **options: Any) -> tuple[Endpoint | None, Said, Findings]:
    """One endpoint as an import reads it."""
    findings, said = Findings(), Said()
    settings: dict[str, Any] = {"now_ms": NOW_MS, "as_of_ms": None, "last_seen": False} | options
    reader = EndpointReader(findings, **settings)
    raw = endpoint if isinstance(endpoint, bytes) else json.dumps(endpoint).encode()
    return reader.read(raw, (0, 1), said), said, findings
