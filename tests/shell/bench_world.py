"""The sending half on doubles: real store in memory, real ladder, scripted sender, virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

from tests.core.timeline import day, rule
from worker.health import Health
from worker.metrics import Metrics
from worker.model import (
    DAY_MS,
    HOUR_MS,
    Activity,
    Applied,
    Batch,
    Channel,
    Effect,
    Endpoint,
    Position,
    Receipt,
    ShardStatus,
    Stop,
    StreamIdentity,
)
from worker.outbox import Outbox
from worker.rules.limits import Limits, Prices
from worker.rules.ruleset import QuietHours, Rule, RuleSet
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock, ScriptedSender

STREAM = StreamIdentity(name="events", created_ms=1)


class LaggingSource:
    """A source that is read up to `lag_ms` before now; None: nothing was read yet."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.lag_ms: int | None = 0

    def watermark_ms(self) -> int | None:
        return None if self.lag_ms is None else self._clock.now_ms() - self.lag_ms

    def shards(self) -> Sequence[ShardStatus]:
        return ()


class Desk:
    """Everything around one outbox."""

    def __init__(self, store: SqliteStore, clock: FakeClock, rules: RuleSet, calls: int) -> None:
        self.store = store
        self.clock = clock
        self.rules = rules
        self.sender = ScriptedSender()
        self.source = LaggingSource(clock)
        self.metrics = Metrics()
        self.outbox = Outbox(
            source=self.source,  # type: ignore[arg-type] # the outbox asks for the watermark only
            store=store,
            senders=dict.fromkeys(Channel, self.sender),
            rules=lambda: self.rules,
            clock=clock,
            metrics=self.metrics,
            health=Health(clock=clock),
            changed=asyncio.Event(),
            sweep_interval_ms=1_000,
            max_staleness_ms=300_000,
            calls_in_flight_max=calls,
        )
        self._numbers = itertools.count(1)

    async def tell(self, *signals: Activity | Endpoint | Stop | Receipt) -> Applied:
        """A batch with these signals becomes durable."""
        effect = Effect(
            activities=tuple(s for s in signals if isinstance(s, Activity)),
            endpoints=tuple(s for s in signals if isinstance(s, Endpoint)),
            stops=tuple(s for s in signals if isinstance(s, Stop)),
            receipts=tuple(s for s in signals if isinstance(s, Receipt)),
        )
        position = Position(shard_id="shard", sequence_number=str(next(self._numbers)))
        now_ms = self.clock.now_ms()
        batch = Batch(stream=STREAM, position=position, records=(), read_through_ms=now_ms)
        return await self.store.apply(effect, batch, now_ms=now_ms)

    async def pass_time(self, days: float = 0.0, *, hours: float = 0.0) -> None:
        """So much later, and a few sweeps."""
        self.clock.step_wall(round(days * DAY_MS + hours * HOUR_MS))
        await self.clock.advance(5)

    @property
    def sent(self) -> list[tuple[str, str, str]]:
        """(user, stage, address) of every delivery of every call, in order."""
        return [
            (delivery.claim.user_id, delivery.claim.stage, delivery.address)
            for call in self.sender.calls
            for delivery in call
        ]


async def desk(
    *rules: Rule,
    at_day: float = 8,
    calls: int = 8,
    limits: Limits | None = None,
    quiet_hours: tuple[QuietHours, ...] = (),
    prices: Prices | None = None,
    path: str = ":memory:",
) -> Desk:
    """An outbox at noon of a day, under these rules; by default push, e-mail, SMS after 7 days."""
    clock = FakeClock(now_ms=day(at_day))
    rule_set = RuleSet(
        revision="s1",
        rules=rules or (rule(),),
        limits=limits or Limits(),
        quiet_hours=quiet_hours,
        prices=prices or Prices(),
    )
    store = await SqliteStore.open(path, wait=False, clock=clock)
    await store.positions(STREAM)
    await store.adopt(rule_set.adoption)
    return Desk(store, clock, rule_set, calls)


def seen(user: str, on_day: float) -> Activity:
    """The user was here."""
    return Activity(at_ms=day(on_day), event_type="_session.start", user_id=user)


def endpoint(user: str | None, channel_type: str, address: str, **changes: object) -> Endpoint:
    """An endpoint as it was on day 0, unless `at_ms` says otherwise."""
    told = Endpoint(
        endpoint_id=f"{user}-{channel_type}".lower(),
        at_ms=day(0),
        user_id=user,
        channel_type=channel_type,
        address=address,
        timezone="UTC",
    )
    return replace(told, **changes)  # type: ignore[arg-type] # checked by the dataclass itself
