"""State to senders and back: due users, claims, calls, outcomes.

A sweep looks at the due users in stream time (P4), writes claims for as many as there are free
calls, and starts those calls at once. Each call's answers are written as settlements. What a sweep
does not reach stays due. Nothing here decides what to send: that is the ladder's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from worker.errors import TryLater
from worker.ladder import look
from worker.metrics import Metrics
from worker.model import (
    Channel,
    Delivery,
    Look,
    Outcome,
    Pause,
    Reason,
    Retry,
    Sent,
    Settlement,
    Uncertain,
    UserView,
)
from worker.packing import Call, Packing
from worker.ports import Clock, Sender, Source, Store
from worker.retry import settle
from worker.rules.ruleset import RuleSet

USERS_PER_SWEEP_MAX = 500
"""Users looked at in one transaction; bounds how long the loop is busy."""

PAUSE_MS_MIN = 5_000
PAUSE_MS_MAX = 300_000
"""A paused channel is tried again after this long, doubling from the one to the other."""

SETTLE_SECONDS_MAX = 3.0
"""How long a drain waits for the store to take the last answers. What it does not take stays
claimed, and the next start finds it uncertain."""

STORE_RETRY_SECONDS = 1.0
"""Pause before a transaction is offered again to a store that could not take it."""

log = structlog.get_logger()


class Outbox:
    """The sending half of a worker."""

    def __init__(
        self,
        *,
        source: Source,
        store: Store,
        senders: Mapping[Channel, Sender],
        rules: Callable[[], RuleSet],
        clock: Clock,
        metrics: Metrics,
        changed: asyncio.Event,
        sweep_interval_ms: int,
        max_staleness_ms: int,
        calls_in_flight_max: int,
    ) -> None:
        self._source = source
        self._store = store
        self._senders = senders
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._changed = changed
        self._sweep_interval_ms = sweep_interval_ms
        self._max_staleness_ms = max_staleness_ms
        self._calls_in_flight_max = calls_in_flight_max
        self._calls: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._paused: dict[Channel, Pause] = {}
        self._pauses: dict[Channel, int] = {}
        self._stale = False

    async def run(self) -> None:
        """Sweeps until cancelled. Calls under way are left to `drain`."""
        while True:
            self._metrics.heartbeat.labels("outbox").set(self._clock.now_ms() / 1_000)
            self._changed.clear()
            if not await self._sweep():
                await self._clock.sleep(self._sweep_interval_ms / 1_000, self._changed)

    async def drain(self, seconds: float) -> None:
        """Waits for the calls under way; cuts off those that take longer. Their claims are settled
        as uncertain, for nobody knows what became of them."""
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=seconds)
            for call in late:
                call.cancel()
            if late:
                await asyncio.wait(late, timeout=SETTLE_SECONDS_MAX)

    def stream_now_ms(self) -> int | None:
        """The present of the stream, `min(wall clock, watermark)`; None while the stream is stale
        and nothing may be sent."""
        now_ms = self._clock.now_ms()
        watermark_ms = self._source.watermark_ms()
        if watermark_ms is None or now_ms - watermark_ms > self._max_staleness_ms:
            return None
        return min(now_ms, watermark_ms)

    async def _sweep(self) -> bool:
        """One sweep. True when another should follow at once."""
        now_ms = self.stream_now_ms()
        self._tell_staleness(now_ms is None)
        calls_free = self._calls_in_flight_max - len(self._calls)
        if now_ms is None or calls_free <= 0:
            return False
        rules = self._rules()
        paused = {c: pause for c, pause in self._paused.items() if pause.until_ms > now_ms}

        def decide(view: UserView) -> Look:
            return look(view, rules, now_ms, paused)

        packing = Packing(self._senders, calls_max=calls_free, idle=not self._calls)
        try:
            with self._metrics.store_seconds.labels("sweep").time():
                swept = await self._store.sweep(
                    now_ms=now_ms,
                    decide=decide,
                    admits=packing.admits,
                    users_max=USERS_PER_SWEEP_MAX,
                )
        except TryLater as error:
            self._metrics.store_errors.labels("sweep").inc()
            log.error("sweep_failed", error=str(error))
            await self._clock.sleep(STORE_RETRY_SECONDS)
            return False
        self._metrics.decided(swept.decisions)
        for call in packing.calls:
            self._start(call)
        return swept.more and len(self._calls) < self._calls_in_flight_max

    def _start(self, call: Call) -> None:
        task = asyncio.create_task(self._make(call))
        self._calls.add(task)
        self._in_flight += len(call.deliveries)
        self._metrics.claims_in_flight.set(self._in_flight)

        def ended(task: asyncio.Task[None]) -> None:
            self._calls.discard(task)
            self._in_flight -= len(call.deliveries)
            self._metrics.claims_in_flight.set(self._in_flight)
            self._changed.set()

        task.add_done_callback(ended)

    async def _make(self, call: Call) -> None:
        deliveries = list(call.deliveries.values())
        try:
            with self._metrics.call_seconds.labels(call.channel).time():
                outcomes = await call.sender.send(deliveries)
        except asyncio.CancelledError:
            await self._settle(call.channel, deliveries, _uncertain(deliveries, "cut_off"))
            raise
        except Exception:
            # A bug in a sender must not leave claims open: what it did is not known.
            log.exception("sender_failed", channel=call.channel, deliveries=len(deliveries))
            outcomes = _uncertain(deliveries, "sender_failed")
        await self._settle(call.channel, deliveries, outcomes)

    async def _settle(
        self, channel: Channel, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome]
    ) -> None:
        assert [o.send_id for o in outcomes] == [d.claim.send_id for d in deliveries]
        now_ms = max(delivery.claim.claimed_ms for delivery in deliveries)
        now_ms = max(now_ms, self.stream_now_ms() or now_ms)
        settlements = [
            settle(outcome, delivery.claim, now_ms)
            for outcome, delivery in zip(outcomes, deliveries, strict=True)
        ]
        await self._write(settlements, now_ms)
        self._metrics.settled(channel, settlements)
        self._pause_or_resume(channel, outcomes, now_ms)

    async def _write(self, settlements: Sequence[Settlement], now_ms: int) -> None:
        """Writes answers however long it takes: they exist nowhere else."""
        while True:
            try:
                with self._metrics.store_seconds.labels("settle").time():
                    await self._store.settle(settlements, now_ms=now_ms)
            except TryLater as error:
                self._metrics.store_errors.labels("settle").inc()
                log.error("settle_failed", error=str(error), answers=len(settlements))
                await self._clock.sleep(STORE_RETRY_SECONDS)
            else:
                return

    def _pause_or_resume(self, channel: Channel, outcomes: Sequence[Outcome], now_ms: int) -> None:
        """Pauses a channel when our set-up is refused, or when a whole call was throttled."""
        retries = [outcome for outcome in outcomes if isinstance(outcome, Retry)]
        misconfigured = [r for r in retries if r.reason is Reason.CHANNEL_PAUSED]
        throttled = len(retries) == len(outcomes) and all(
            r.reason is Reason.PROVIDER_THROTTLED for r in retries
        )
        if misconfigured or throttled:
            times = self._pauses.get(channel, 0)
            pause_ms = min(PAUSE_MS_MIN << min(times, 16), PAUSE_MS_MAX)
            reason = Reason.CHANNEL_PAUSED if misconfigured else Reason.PROVIDER_THROTTLED
            self._paused[channel] = Pause(until_ms=now_ms + pause_ms, reason=reason)
            self._pauses[channel] = times + 1
            self._metrics.channel_paused.labels(channel).set(1)
            if times == 0:
                detail = (misconfigured or retries)[0].detail
                log.error("channel_paused", channel=channel, reason=reason, detail=detail)
        elif any(isinstance(outcome, Sent) for outcome in outcomes) and self._pauses.pop(
            channel, 0
        ):
            self._paused.pop(channel, None)
            self._metrics.channel_paused.labels(channel).set(0)
            log.info("channel_resumed", channel=channel)

    def _tell_staleness(self, stale: bool) -> None:
        if stale:
            self._metrics.decisions.labels(Reason.STALE_STREAM).inc()
        if stale != self._stale:
            event = "stream_stale" if stale else "stream_fresh"
            log.info(event, sending=not stale)
        self._stale = stale


def _uncertain(deliveries: Sequence[Delivery], detail: str) -> list[Outcome]:
    return [Uncertain(send_id=delivery.claim.send_id, detail=detail) for delivery in deliveries]
