"""State to senders and back: due users, claims, calls, outcomes.

A sweep looks at the due users in stream time (P4), writes claims for as many as there are free
calls, and starts those calls at once. Each call's answers are written as settlements. What a sweep
does not reach stays due. Nothing here decides what to send: that is the ladder's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from worker.errors import TryLater, place_of
from worker.health import Health
from worker.ladder import look_at
from worker.metrics import Metrics
from worker.model import (
    Channel,
    Delivery,
    Look,
    Outcome,
    Reason,
    Settlement,
    Silence,
    Spend,
    Swept,
    Uncertain,
    UserView,
)
from worker.moment import Moment
from worker.money import LOOKBACK_MS, Purse
from worker.pace import Pace
from worker.packing import Call, Packing
from worker.pauses import Pauses
from worker.ports import Clock, Sender, Source, Store
from worker.retry import settle
from worker.rules.ruleset import RuleSet
from worker.silences import REASONS, Standing, standing

USERS_PER_SWEEP_MAX = 500
USERS_PER_SWEEP_FIRST = 50
SWEEP_SECONDS_MAX = 0.1
"""Users looked at in one transaction, and how long it may keep the loop and the state; the number
follows from what a look costs under the rules in force."""

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
        health: Health,
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
        self._health = health
        self._changed = changed
        self._sweep_interval_ms = sweep_interval_ms
        self._max_staleness_ms = max_staleness_ms
        self._calls_in_flight_max = calls_in_flight_max
        self._calls: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._broken: BaseException | None = None
        """What kept an answer from being written, other than a store that may recover."""
        self._pauses = Pauses(metrics)
        self._pace = Pace()
        self._paced_by: RuleSet | None = None
        self._users_max = USERS_PER_SWEEP_FIRST
        self._silences: tuple[Silence, ...] | None = None
        self._standing_now: Sequence[Standing] = ()
        self._failing: set[str] = set()
        """What the store cannot take at the moment."""
        self._freshness = "unread"
        """Of the stream, as last told: unread (so every start begins), stale or fresh."""

    async def run(self) -> None:
        """Sweeps until cancelled, or until an answer cannot be written for a reason that will not
        pass. Calls under way are left to `drain`."""
        while True:
            self._health.beat("outbox")
            self._changed.clear()
            more = await self._sweep()
            # The calls just claimed begin here, before anybody else is looked at.
            await self._clock.sleep(0)
            if not more:
                await self._clock.sleep(self._sweep_interval_ms / 1_000, self._changed)
            if self._broken is not None:
                raise self._broken

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
        self._tell_freshness(self.stream_now_ms())
        try:
            standing = await self._standing()
            spends = await self._store.spends(self._clock.now_ms() - LOOKBACK_MS)
            # From here to the claims nothing waits: what the looks go by is what holds.
            now_ms = self.stream_now_ms()
            calls_free = self._calls_in_flight_max - len(self._calls)
            if now_ms is None or calls_free <= 0:
                return False
            packing = Packing(self._senders, calls_max=calls_free, idle=not self._calls)
            rules = self._rules()
            moment = self._moment(now_ms, rules, standing, spends)

            def decide(view: UserView) -> Look:
                looked = look_at(view, rules, moment)
                moment.puts_off(looked)
                return looked

            def admits(deliveries: Sequence[Delivery]) -> bool:
                if not packing.admits(deliveries):
                    return False
                moment.sends(deliveries)
                return True

            began = self._clock.monotonic()
            with self._metrics.store_seconds.labels("sweep").time():
                swept = await self._store.sweep(
                    now_ms=now_ms, decide=decide, admits=admits, users_max=self._users_max
                )
        except TryLater as error:
            # What these looks put off was not written, so nobody comes to those slots.
            self._pace.forget_slots()
            self._store_failed("sweep", error)
            await self._clock.sleep(STORE_RETRY_SECONDS)
            return False
        self._store_answered("sweep")
        self._keep_short(swept, self._clock.monotonic() - began)
        self._metrics.decided(swept.decisions)
        for call in packing.calls:
            self._start(call)
        # Nobody looked at: the first of them needs more calls than are free, and one will end.
        return swept.more and swept.users > 0

    def _keep_short(self, swept: Swept, seconds: float) -> None:
        """Looks at fewer users in the next sweep when this one kept the loop and the state for too
        long, as it does with very many rules, or found calls for few of those it had read."""
        if seconds > SWEEP_SECONDS_MAX:
            self._users_max = max(1, int(swept.users * SWEEP_SECONDS_MAX / seconds))
            return
        found_no_call = swept.more and swept.users < self._users_max
        looked = swept.users if found_no_call else self._users_max
        self._users_max = min(max(1, 2 * looked), USERS_PER_SWEEP_MAX)

    def _moment(
        self,
        now_ms: int,
        rules: RuleSet,
        standing: Sequence[Standing],
        spends: Sequence[Spend],
    ) -> Moment:
        """What the looks of one sweep share."""
        if rules is not self._paced_by:
            pace = Pace(rules.limits.send_rates)
            self._pace = pace.following(self._pace, now_ms=self._clock.now_ms())
            self._paced_by = rules
        return Moment(
            now_ms=now_ms,
            wall_ms=max(now_ms, self._clock.now_ms()),
            paused=self._pauses.in_force,
            silences=standing,
            purse=Purse(spends),
            pace=self._pace,
        )

    async def _standing(self) -> Sequence[Standing]:
        """The holds made by hand. Users held by one that has gone are looked at again."""
        silences = await self._store.silences()
        if silences is not self._silences:
            await self._store.wake(tuple(REASONS.values()), now_ms=self._clock.now_ms())
            _tell_changes(self._silences or (), silences)
            self._silences = silences
            self._standing_now = standing(silences)
            self._metrics.silenced(silences)
        return self._standing_now

    def _start(self, call: Call) -> None:
        task = asyncio.create_task(self._make(call))
        self._calls.add(task)
        self._in_flight += len(call.deliveries)
        self._metrics.claims_in_flight.set(self._in_flight)

        def ended(task: asyncio.Task[None]) -> None:
            self._calls.discard(task)
            if not task.cancelled():
                self._broken = self._broken or task.exception()
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
        except Exception as error:  # noqa: BLE001 - a sender's bug must not leave claims open
            log.error(
                "sender_failed",
                channel=call.channel,
                deliveries=len(deliveries),
                error=type(error).__name__,
                at=place_of(error),
            )
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
        self._pauses.learn(deliveries, outcomes, now_ms)

    async def _write(self, settlements: Sequence[Settlement], now_ms: int) -> None:
        """Writes answers however long it takes: they exist nowhere else."""
        while True:
            try:
                with self._metrics.store_seconds.labels("settle").time():
                    await self._store.settle(settlements, now_ms=now_ms)
            except TryLater as error:
                self._store_failed("settle", error)
                await self._clock.sleep(STORE_RETRY_SECONDS)
            else:
                self._store_answered("settle")
                return

    def _store_failed(self, verb: str, error: TryLater) -> None:
        """Counts every failure, and logs the first of a row."""
        self._metrics.store_errors.labels(verb).inc()
        if verb not in self._failing:
            log.error("state_not_writable", verb=verb, error=str(error))
        self._failing.add(verb)

    def _store_answered(self, verb: str) -> None:
        if verb in self._failing:
            log.warning("state_writable_again", verb=verb)
        self._failing.discard(verb)

    def _tell_freshness(self, now_ms: int | None) -> None:
        if now_ms is not None:
            freshness = "fresh"
        else:
            freshness = "unread" if self._source.watermark_ms() is None else "stale"
            self._metrics.decisions.labels(Reason.STALE_STREAM).inc()
        if freshness != self._freshness:
            tell = log.warning if now_ms is None else log.info
            tell(f"stream_{freshness}", sending=now_ms is not None)
        self._freshness = freshness


def _tell_changes(before: Sequence[Silence], now: Sequence[Silence]) -> None:
    """One line for every hold made by hand that begins (or stands when the process starts), and
    one for every one that ends, by its time or by somebody."""
    known = {silence.silence_id for silence in before}
    standing = {silence.silence_id for silence in now}
    changes = [("silence_in_force", s) for s in now if s.silence_id not in known]
    changes += [("silence_over", s) for s in before if s.silence_id not in standing]
    for event, silence in changes:
        log.warning(
            event,
            silence=silence.silence_id,
            kind=silence.kind,
            matchers=silence.matchers,
            author=silence.author,
            comment=silence.comment,
        )


def _uncertain(deliveries: Sequence[Delivery], detail: str) -> list[Outcome]:
    return [Uncertain(send_id=delivery.claim.send_id, detail=detail) for delivery in deliveries]
