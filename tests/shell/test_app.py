"""The assembly: where reading starts, what stops a start, what a standby shows and how it ends."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.core.timeline import DAY_ZERO_MS
from worker import app
from worker.app import start_position, unless_stopped
from worker.errors import RulesError, SettingsError, StateInUse
from worker.kinesis.faults import CODES
from worker.settings import Settings
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock
from worker.web import Web

RULES = Path(__file__).resolve().parents[2] / "rules"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("LATEST", "LATEST"),
        ("TRIM_HORIZON", "TRIM_HORIZON"),
        ("2026-10-31T12:00:00Z", DAY_ZERO_MS),
        ("2026-10-31T13:00:00+01:00", DAY_ZERO_MS),
        ("2026-10-31T12:00:00.250+00:00", DAY_ZERO_MS + 250),
    ],
)
def test_a_start_is_a_word_or_an_instant(text: str, position: str | int) -> None:
    assert start_position(text) == position


@pytest.mark.parametrize("text", ["", "latest", "yesterday", "2026-10-31", "2026-10-31T12:00:00"])
def test_any_other_start_is_refused_also_an_instant_without_its_zone(text: str) -> None:
    with pytest.raises(SettingsError, match=rf'COMEBACK_START_POSITION="{text}" cannot be used'):
        start_position(text)


async def test_work_that_ends_before_the_stop_gives_its_result() -> None:
    async def work() -> int:
        return 7

    assert await unless_stopped(work(), asyncio.Event()) == 7


async def test_work_that_fails_before_the_stop_raises_its_error() -> None:
    async def work() -> int:
        raise StateInUse("somebody has it")

    with pytest.raises(StateInUse, match="somebody has it"):
        await unless_stopped(work(), asyncio.Event())


async def test_work_that_is_stopped_has_ended_when_none_is_returned() -> None:
    stop, told = asyncio.Event(), []

    async def work() -> int:
        try:
            stop.set()
            await asyncio.Event().wait()
        finally:
            told.append("ended")
        return 7

    assert await unless_stopped(work(), stop) is None
    assert told == ["ended"]


def settings(tmp_path: Path) -> Settings:
    return Settings(
        stream="events",
        pinpoint_application_id="app",
        email_sender="pinpoint",
        rules=RULES,
        state=tmp_path / "state.db",
        http="127.0.0.1:0",
    )


def test_nothing_is_opened_when_a_setting_or_the_rules_are_wrong(tmp_path: Path) -> None:
    right = settings(tmp_path)
    for change, error in (
        ({"stream": ""}, SettingsError),
        ({"start_position": "soon"}, SettingsError),
        ({"rules": tmp_path / "none"}, RulesError),
    ):
        with pytest.raises(error):
            asyncio.run(app.run(right.model_copy(update=change)))
    assert list(tmp_path.iterdir()) == []


async def test_a_standby_shows_every_series_knows_nothing_of_the_stream_and_ends_on_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    class Told(Web):
        async def start(self) -> str:
            url = await super().start()
            listening.set_result(url)
            return url

    monkeypatch.setattr(app, "Web", Told)
    right = settings(tmp_path)
    holder = await SqliteStore.open(str(right.state), wait=False, clock=FakeClock())
    standby = asyncio.create_task(app.run(right))
    async with aiohttp.ClientSession() as session:
        url = await listening
        async with session.get(f"{url}/metrics") as answer:
            text = await answer.text()
        async with session.get(f"{url}/-/healthy") as answer:
            assert answer.status == 200
        async with session.get(f"{url}/-/ready") as answer:
            assert answer.status == 503
    signal.raise_signal(signal.SIGTERM)
    await standby
    await holder.close()
    lines = text.splitlines()
    for operation in ("DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"):
        for code in CODES:
            labels = f'code="{code}",operation="{operation}"'
            assert f"comeback_source_failures_total{{{labels}}} 0.0" in lines
    for line in (
        "comeback_ready 0.0",
        "comeback_watermark_age_seconds +Inf",
        'comeback_shards{state="caught_up"} 0.0',
        'comeback_shards{state="forbidden"} 0.0',
        'comeback_state_incidents_total{incident="look_failed"} 0.0',
    ):
        assert line in lines
