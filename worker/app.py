"""Assembly: settings to a running worker, and its orderly end.

`Worker` joins ports and knows no adapter; `run` builds the adapters of the embedded mode: one
process, one SQLite file, Kinesis in, and out what the settings choose for each channel.

Start: rules, HTTP port, state (a standby waits here for the lock), claims of a killed predecessor,
stream, then both loops. End (SIGTERM, SIGINT): not ready, no new claims, calls under way are
answered and written, reading stops, the state is closed, exit 0.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any, Literal, TypeVar

import structlog

from worker.channels import open_senders
from worker.clock import SystemClock
from worker.errors import SettingsError, TryLater
from worker.health import Health
from worker.ingest import Ingest
from worker.kinesis.client import kinesis_client
from worker.kinesis.faults import CODES
from worker.kinesis.reader import ShardState
from worker.kinesis.source import KinesisSource
from worker.kinesis.stream import OPERATIONS
from worker.metrics import Metrics
from worker.model import Channel, StreamIdentity
from worker.outbox import Outbox
from worker.ports import Clock, Sender, Source, Store
from worker.reload import Reload
from worker.rules.folder import fingerprint
from worker.rules.load import inspect, load
from worker.rules.retired import retired_ladders
from worker.rules.ruleset import Rule, RuleSet
from worker.settings import Settings, event_readers
from worker.store.intake import Incident
from worker.store.sqlite import SqliteStore
from worker.web import Web

T = TypeVar("T")

PRUNE_SECONDS = 60.0
"""How often the state forgets what nothing needs any more."""

BEAT_SECONDS = 5.0
"""How often the event loop proves that it turns."""

ADOPT_RETRY_SECONDS = 5.0
"""Pause before rules are offered again to a store that could not take them into force."""

log = structlog.get_logger()


class Worker:
    """Reads, decides, sends, until told to stop. Built from ports alone."""

    def __init__(
        self,
        *,
        source: Source,
        store: Store,
        senders: Mapping[Channel, Sender],
        rules: RuleSet,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        settings: Settings,
    ) -> None:
        self._source = source
        self._store = store
        self._readers = event_readers(settings.events)
        self._rules = rules.reading(self._readers)
        self._ladders: Mapping[tuple[str, str], Rule] = {}
        """Those of earlier sets, as far as somebody is on them."""
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._settings = settings
        self.reload = Reload(
            folder=settings.rules,
            in_force=rules,
            adopt=self._take_into_force,
            clock=clock,
            metrics=metrics,
        )
        changed = asyncio.Event()
        self._ingest = Ingest(
            source=source,
            store=store,
            clock=clock,
            metrics=metrics,
            health=health,
            policy=lambda: self._rules.activity,
            changed=changed,
        )
        self._outbox = Outbox(
            source=source,
            store=store,
            senders=senders,
            rules=lambda: self._rules,
            clock=clock,
            metrics=metrics,
            health=health,
            changed=changed,
            sweep_interval_ms=settings.sweep_interval,
            max_staleness_ms=settings.max_staleness,
            calls_in_flight_max=settings.calls_in_flight_max,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then drains. Raises what a loop could not handle."""
        stream = await unless_stopped(self._prepare(), stop)
        if stream is None:
            return
        loops = {
            asyncio.create_task(self._ingest.run(stream), name="ingest"),
            asyncio.create_task(self._outbox.run(), name="outbox"),
            asyncio.create_task(self._housekeeping(), name="housekeeping"),
            asyncio.create_task(self.reload.run(), name="reload"),
        }
        stopping = asyncio.create_task(stop.wait(), name="stop")
        self._health.not_ready_because = None
        self._metrics.ready.set(1)
        log.info("working", stream=stream.name, rules=self._rules.revision)
        try:
            await asyncio.wait({*loops, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end(loops, stopping)

    async def _prepare(self) -> StreamIdentity:
        """Settles what a killed predecessor left, takes the rules into force, finds the stream."""
        uncertain = await self._store.recover(now_ms=self._clock.now_ms())
        self._metrics.claims_recovered.inc(uncertain)
        if uncertain:
            log.warning("claims_uncertain", claims=uncertain, because="stopped in mid-call")
        await self._take_into_force(self._rules)
        return await self._source.open()

    async def _take_into_force(self, rules: RuleSet) -> None:
        """From the next batch and the next look on these rules hold; users on a ladder may finish
        the one they began with. The store is told for as long as it takes: users of the old rules
        must not be forgotten by the new ones."""
        rules = rules.reading(self._readers)
        adoption = rules.adoption
        while True:
            try:
                kept = await self._store.retired(adoption.rules)
                # Each earlier set is read anew, which takes as long as any set does.
                ladders = await asyncio.to_thread(retired_ladders, kept, self._ladders)
                # Episodes may have opened under these while the others were read.
                leaving = {(rule.name, rule.revision): rule for rule in self._rules.rules}
                self._ladders = {**ladders, **leaving}
                self._rules = replace(rules, retired=self._ladders)
                await self._store.adopt(adoption)
            except TryLater as error:
                log.error("rules_not_adopted", error=str(error))
                await self._clock.sleep(ADOPT_RETRY_SECONDS)
            else:
                return

    async def _end(self, loops: set[asyncio.Task[None]], stopping: asyncio.Task[bool]) -> None:
        self._health.not_ready_because = "draining"
        self._metrics.ready.set(0)
        stopping.cancel()
        ingest = next(task for task in loops if task.get_name() == "ingest")
        for task in loops - {ingest}:
            task.cancel()
            self._health.rest(task.get_name())
        await self._source.stop()
        await self._outbox.drain(self._settings.drain_timeout / 1_000)
        ingest.cancel()
        await asyncio.gather(*loops, stopping, return_exceptions=True)
        for task in loops:
            failure = None if task.cancelled() else task.exception()
            if failure is not None:
                raise failure

    def refresh(self) -> None:
        """Brings the gauges that are derived, not counted, up to date; called by a scrape."""
        watermark_ms = self._source.watermark_ms()
        # Nothing read yet is older than any alert's threshold.
        age_ms = inf if watermark_ms is None else self._clock.now_ms() - watermark_ms
        self._metrics.watermark_age.set(age_ms / 1_000)
        self._metrics.observe_shards(self._source.shards())

    async def _housekeeping(self) -> None:
        pruned_at = self._clock.monotonic()
        while True:
            self._health.beat("housekeeping")
            try:
                await self._measure_lateness()
                if self._clock.monotonic() - pruned_at > PRUNE_SECONDS:
                    await self._store.prune(now_ms=self._clock.now_ms())
                    pruned_at = self._clock.monotonic()
            except TryLater as error:
                log.warning("housekeeping_postponed", error=str(error))
            await self._clock.sleep(BEAT_SECONDS)

    async def _measure_lateness(self) -> None:
        due_ms = await self._store.next_due_ms()
        late_ms = 0 if due_ms is None else max(0, self._clock.now_ms() - due_ms)
        self._metrics.oldest_due.set(late_ms / 1_000)


async def run(settings: Settings) -> None:
    """`comeback run`: the embedded worker, from settings, until SIGTERM or SIGINT."""
    settings.require("stream", *settings.needed_to_send)
    start = start_position(settings.start_position)
    seen = fingerprint(settings.rules)
    rules = load(settings.rules)
    clock = SystemClock()
    metrics = Metrics()
    metrics.expect(operations=OPERATIONS, codes=CODES, shard_states=ShardState, incidents=Incident)
    health = Health(clock=clock)
    stop = _stop_on_signals()
    async with AsyncExitStack() as stack:
        web = Web(
            bind=settings.http, metrics=metrics, health=health, token=settings.secret_of_http()
        )
        log.info("listening", address=await web.start())
        stack.push_async_callback(web.stop)
        store = await unless_stopped(_open_state(settings, clock, health), stop)
        if store is None:
            return
        stack.push_async_callback(store.close)
        source = KinesisSource(
            await stack.enter_async_context(kinesis_client()),
            stream=settings.stream,
            start=start,
            clock=clock,
            observer=metrics.source,
            poll_seconds=settings.poll_interval / 1_000,
        )
        senders = await stack.enter_async_context(open_senders(settings, clock))
        worker = Worker(
            source=source,
            store=store,
            senders=senders,
            rules=latest_rules(settings.rules, rules, seen),
            clock=clock,
            metrics=metrics,
            health=health,
            settings=settings,
        )

        def refresh() -> None:
            worker.refresh()
            metrics.retention.set((source.retention_ms or 0) / 1_000)
            metrics.observe_incidents({str(name): n for name, n in store.incidents.items()})

        web.refresh = refresh
        web.reload = worker.reload.reload
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, worker.reload.ask)
        await worker.run(stop)
    log.info("stopped")


def latest_rules(folder: Path, rules: RuleSet, seen: str) -> RuleSet:
    """What the folder says now; it was read as `rules` when its fingerprint was `seen`. A standby
    may have waited for days, and people go on editing. A folder that is broken now changes nothing
    (P9); the first look of the reload says so."""
    if fingerprint(folder) == seen:
        return rules
    return inspect(folder).rule_set or rules


async def _open_state(settings: Settings, clock: Clock, health: Health) -> SqliteStore:
    def on_wait(holder: str) -> None:
        health.not_ready_because = f"standby: the state is in use by {holder}"
        log.info("standby", state=str(settings.state), holder=holder)

    return await SqliteStore.open(
        str(settings.state), wait=settings.standby, clock=clock, on_wait=on_wait
    )


def start_position(text: str) -> Literal["LATEST", "TRIM_HORIZON"] | int:
    """COMEBACK_START_POSITION: a word, or an instant as milliseconds. Raises SettingsError."""
    if text == "LATEST":
        return "LATEST"
    if text == "TRIM_HORIZON":
        return "TRIM_HORIZON"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise SettingsError(
            f'COMEBACK_START_POSITION="{text}" cannot be used: it must be LATEST, TRIM_HORIZON or'
            " an instant with its zone, such as 2026-11-01T00:00:00Z"
        )
    return round(at.timestamp() * 1_000)


def _stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T | None:
    """The result of the work, or None when `stop` came first."""
    task = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None
