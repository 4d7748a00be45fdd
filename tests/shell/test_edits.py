"""Edits of the rules folder under a running worker: who finishes what, also after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.core.timeline import day
from tests.shell.bench_world import STREAM, endpoint, seen
from tests.shell.feed import FeedSource
from worker.app import Worker
from worker.health import Health
from worker.metrics import Metrics
from worker.model import DAY_MS, Batch, Channel, Effect, Position
from worker.rules.load import load
from worker.settings import Settings
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock, ScriptedSender, settle_tasks

OLD = """
apiVersion: v1
rules:
  - rule: winback
    mode: {mode}
    on_edit: {on_edit}
    inactive_for: 7d
    stages:
      - {{name: push, channel: push, message: {{title: t, body: one}}}}
      - {{name: email, channel: email, after: 2d, template: mail}}
"""
NEW = OLD.replace("body: one", "body: two").replace(
    "channel: email, after: 2d", "channel: email, after: 3d"
)


def write(folder: Path, text: str, *, mail: str = "old words", **keys: str) -> None:
    (folder / "templates").mkdir(parents=True, exist_ok=True)
    (folder / "templates" / "mail.yaml").write_text(f"subject: s\ntext: {mail}\n")
    keys = {"mode": "live", "on_edit": "finish_old", **keys}
    (folder / "shop.yaml").write_text(text.format(**keys))


class Shop:
    """A state that outlives its workers; one user, ann, who was seen on day 0."""

    def __init__(self, store: SqliteStore, clock: FakeClock, folder: Path) -> None:
        self.store, self.clock, self.folder = store, clock, folder
        self.sender = ScriptedSender()

    @property
    def said(self) -> list[str]:
        """The body of every message so far."""
        return [d.message.body for call in self.sender.calls for d in call]

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[Worker]:
        """One process."""
        source = FeedSource()
        source.watermark = self.clock.now_ms
        worker = Worker(
            source=source,
            store=self.store,
            senders=dict.fromkeys(Channel, self.sender),
            rules=load(self.folder),
            clock=self.clock,
            metrics=Metrics(),
            health=Health(clock=self.clock),
            settings=Settings(rules=self.folder),
        )
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        while worker._health.not_ready_because:  # noqa: ASYNC110 - a thread reads old ladders
            await asyncio.sleep(0.005)
        await settle_tasks()
        try:
            yield worker
        finally:
            stop.set()
            await self.clock.advance(1)
            await task

    async def pass_days(self, days: float) -> None:
        self.clock.step_wall(round(days * DAY_MS))
        await self.clock.advance(5)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncGenerator[Shop]:
    clock = FakeClock(now_ms=day(7.5))
    store = await SqliteStore.open(":memory:", wait=False, clock=clock)
    await store.positions(STREAM)
    one = Shop(store, clock, tmp_path / "rules")
    effect = Effect(
        activities=(seen("ann", 0),),
        endpoints=(endpoint("ann", "GCM", "t"), endpoint("ann", "EMAIL", "a@x.test")),
    )
    position = Position(shard_id="s", sequence_number="1")
    batch = Batch(stream=STREAM, position=position, records=(), read_through_ms=clock.now_ms())
    await store.apply(effect, batch, now_ms=clock.now_ms())
    write(one.folder, OLD)
    yield one
    await store.close()


async def test_an_old_episode_finishes_with_its_old_words_and_waits(shop: Shop) -> None:
    async with shop.worker() as worker:
        await shop.clock.advance(5)
        write(shop.folder, NEW, mail="new words")
        assert await worker.reload.reload() == ()
        await shop.pass_days(2)
        assert shop.said == ["one", "old words"]


async def test_it_does_so_after_a_restart_too(shop: Shop) -> None:
    async with shop.worker() as worker:
        await shop.clock.advance(5)
        write(shop.folder, NEW, mail="new words")
        await worker.reload.reload()
    write(shop.folder, NEW, mail="newer words")
    async with shop.worker():
        await shop.pass_days(2)
        assert shop.said == ["one", "old words"]


@pytest.mark.parametrize(("on_edit", "said"), [("move", ["one", "new words"]), ("cancel", ["one"])])
async def test_the_edited_rule_says_what_becomes_of_old_episodes(
    shop: Shop, on_edit: str, said: list[str]
) -> None:
    async with shop.worker() as worker:
        await shop.clock.advance(5)
        write(shop.folder, NEW, mail="new words", on_edit=on_edit)
        await worker.reload.reload()
        await shop.pass_days(4)
        assert shop.said == said


async def test_putting_a_rule_back_to_shadow_stops_everybody(shop: Shop) -> None:
    async with shop.worker() as worker:
        await shop.clock.advance(5)
        write(shop.folder, NEW, mail="new words", mode="shadow")
        await worker.reload.reload()
        await shop.pass_days(9)
        assert shop.said == ["one"]
