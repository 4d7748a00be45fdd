"""All checks in the order they are read: this machine, the state, the stream, the providers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path

from worker.doctor import local
from worker.doctor.findings import Finding, unknown
from worker.doctor.probe import Clocks
from worker.doctor.provider import providers
from worker.doctor.state import state
from worker.doctor.stream import Known, stream
from worker.errors import ComebackError
from worker.model import Position
from worker.ports import Clock
from worker.settings import Settings
from worker.store import statements
from worker.store.connection import check_current, translated
from worker.store.intake import position_of
from worker.store.reading import open_read_only


async def examine(
    environment: Mapping[str, str],
    clock: Clock,
    *,
    full: bool,
    offline: bool,
    seconds: float,
) -> AsyncIterator[Finding]:
    """Findings as they come. `offline` asks AWS nothing; `seconds` bound each call of it."""
    for finding in local.versions():
        yield finding
    settings, found = local.settings_of(environment)
    for finding in found:
        yield finding
    if settings is None:
        return
    yield local.rules(settings.rules)
    for finding in state(settings.state, full=full):
        yield finding
    if offline:
        yield unknown("aws", "not asked, --offline")
        return
    async for finding in _aws(settings, clock, seconds):
        yield finding


async def _aws(settings: Settings, clock: Clock, seconds: float) -> AsyncIterator[Finding]:
    clocks = Clocks(clock)
    if settings.stream:
        known = known_of(settings.state, settings.stream)
        for finding in await stream(settings.stream, known, clocks, seconds=seconds):
            yield finding
    else:
        yield unknown("stream", "COMEBACK_STREAM is not set")
    for finding in await providers(settings, clocks, seconds=seconds):
        yield finding
    yield clocks.finding()


def known_of(path: Path, name_or_arn: str) -> Known | None:
    """What the state knows of the stream; None when it cannot be read by this version."""
    if not path.is_file():
        return Known(created_ms=None, positions=())
    name = name_or_arn.rpartition("/")[2]
    positions: tuple[Position, ...]
    try:
        with translated(str(path)), closing(open_read_only(str(path))) as connection:
            check_current(connection, str(path))
            born = connection.execute(statements.STREAM_BORN, (name,)).fetchone()
            rows = connection.execute(statements.POSITIONS, (name,)).fetchall()
            positions = tuple(map(position_of, rows))
    except ComebackError:
        return None
    return Known(created_ms=None if born is None else born[0], positions=positions)
