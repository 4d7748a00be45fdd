"""Two readers of one meaning: whatever happens, the state of dicts answers as the SQLite one does.

Random histories (activities, endpoints with and without a user, sign-ins of anonymous users,
addresses that change hands, stops, receipts, conversions, sweeps, outcomes, new rules, restarts)
are told to both; after each step everything that can be seen of them must be equal.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.world import NOON_MS, STREAM, day, open_store
from worker.model import (
    CHANNEL_OF_TYPE,
    DAY_MS,
    HOUR_MS,
    Activity,
    Adoption,
    Applied,
    Arm,
    Attributes,
    Batch,
    Channel,
    Claim,
    ClaimState,
    Conversion,
    Delivery,
    Effect,
    Endpoint,
    Episode,
    EpisodeOutcome,
    Look,
    Message,
    Outcome,
    Position,
    Reason,
    Receipt,
    ReceiptStatus,
    Rejected,
    Retry,
    Sent,
    Stop,
    StopReason,
    Swept,
    Uncertain,
    UserView,
    address_hash_of,
    episode_id_of,
    send_id_of,
)
from worker.ports import Store
from worker.rehearsal.store import MemoryStore
from worker.retry import settle
from worker.testing import FakeClock

USERS = ("ann", "bob", "eve")
IDS = ("e1", "e2", "e3", "e4")
TOKENS = ("t1", "t2")
MAILS = ("A@example.com", "a@example.com")
NUMBERS = ("+82 10-1", "010")
PLANS: tuple[Attributes, ...] = ({"plan": ("free",)}, {"plan": ("paid",), "x": ()})
ADDRESSES = {"GCM": TOKENS, "EMAIL": MAILS, "SMS": NUMBERS}
STEPS = 120

T = TypeVar("T")

# --- what may be said ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """A receipt or a stop. `place`: of its claim among those made last; it is named by our send id,
    by the message id, or by both."""

    place: int
    by_send: bool
    by_message: bool
    says: ReceiptStatus | StopReason
    at_ms: int
    channel: Channel
    address: str | None


@dataclass(frozen=True)
class Tell:
    """A batch; of an endpoint it holds one signal at most."""

    activities: list[Activity]
    endpoints: list[Endpoint]
    stops: list[Stop]
    conversions: list[Conversion]
    reports: list[Report]


@dataclass(frozen=True)
class Sweep:
    """Looks at due users: `act` says what each look does."""

    act: str
    users_max: int


@dataclass(frozen=True)
class Settle:
    """Answers claims that are open, one outcome each."""

    outcomes: list[int]


@dataclass(frozen=True)
class Adopt:
    rearm_days: int | None
    revision: int


@dataclass(frozen=True)
class Upkeep:
    what: str


Step = Tell | Sweep | Settle | Adopt | Upkeep


class Chance:
    """Makes histories in which things meet: few users, few addresses, times near the present."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._now_ms = NOON_MS

    def history(self) -> list[tuple[int, Step]]:
        """Steps and their instants."""
        history: list[tuple[int, Step]] = []
        for _ in range(STEPS):
            self._now_ms += self._draw.choice((0, HOUR_MS, DAY_MS // 2, DAY_MS, 3 * DAY_MS))
            history.append((self._now_ms, self._step()))
        return history

    def _step(self) -> Step:
        draw = self._draw
        match draw.choices(("tell", "sweep", "settle", "adopt", "upkeep"), (18, 14, 9, 1, 2))[0]:
            case "tell":
                return Tell(
                    activities=self._some(self._activity, 2),
                    endpoints=list(
                        {e.endpoint_id: e for e in self._some(self._endpoint, 2)}.values()
                    ),
                    stops=self._some(self._stop, 1),
                    conversions=self._some(self._conversion, 1),
                    reports=self._some(self._report, 3),
                )
            case "sweep":
                act = draw.choice(("send", "send", "send", "hold", "close", "park"))
                return Sweep(act, draw.randint(1, 4))
            case "settle":
                return Settle([draw.randrange(7) for _ in range(draw.randint(1, 3))])
            case "adopt":
                return Adopt(draw.choice((None, 1, 1, 3)), draw.randrange(3))
            case _:
                return Upkeep(draw.choice(("recover", "wake")))

    def _some(self, make: Callable[[], T], most: int) -> list[T]:
        return [make() for _ in range(self._draw.choice((0, *range(most + 1))))]

    def _at_ms(self) -> int:
        """Now, or some time before it; often an instant that was told already."""
        return self._now_ms - self._draw.choice((0, 0, 0, HOUR_MS, DAY_MS, 4 * DAY_MS, 9 * DAY_MS))

    def _maybe(self, *values: T) -> T | None:
        return self._draw.choice((None, *values))

    def _activity(self) -> Activity:
        return Activity(
            at_ms=self._at_ms(),
            event_type="x",
            user_id=self._maybe(*USERS, *USERS),
            endpoint_id=self._maybe(*IDS),
            message_id=self._maybe("m0", "m1"),
            address=self._maybe(*MAILS),
        )

    def _endpoint(self) -> Endpoint:
        channel_type = self._draw.choice(tuple(ADDRESSES))
        return Endpoint(
            endpoint_id=self._draw.choice(IDS),
            at_ms=self._at_ms(),
            user_id=self._maybe(*USERS),
            channel_type=self._maybe(*(channel_type,) * 4),
            address=self._maybe(*ADDRESSES[channel_type], *ADDRESSES[channel_type]),
            active=self._maybe(True, True, False),
            opted_out=self._maybe(True, False),
            country=self._maybe("KR", "US"),
            region=self._maybe("TX"),
            app=self._maybe("shop"),
            attributes=self._maybe(*PLANS),
        )

    def _stop(self) -> Stop:
        channel_type = self._draw.choice(tuple(ADDRESSES))
        return Stop(
            at_ms=self._at_ms(),
            channel=CHANNEL_OF_TYPE[channel_type],
            reason=self._draw.choice(tuple(StopReason)),
            address=self._draw.choice(ADDRESSES[channel_type]),
        )

    def _conversion(self) -> Conversion:
        return Conversion(
            at_ms=self._at_ms(),
            rule=self._draw.choice(("winback", "winback", "other")),
            within_ms=self._draw.choice((DAY_MS, 10 * DAY_MS)),
            user_id=self._maybe(*USERS),
            endpoint_id=self._maybe(*IDS),
        )

    def _report(self) -> Report:
        draw = self._draw
        channel_type = draw.choice(tuple(ADDRESSES))
        return Report(
            place=draw.randrange(8),
            by_send=draw.random() < 0.6,
            by_message=draw.random() < 0.6,
            says=draw.choice((*tuple(ReceiptStatus) * 4, *StopReason)),
            at_ms=self._at_ms(),
            channel=CHANNEL_OF_TYPE[channel_type],
            address=self._maybe(*ADDRESSES[channel_type]),
        )


# --- what both are asked -------------------------------------------------------------------------


class Told:
    """One store, what it was asked and what it answered."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.now_ms = NOON_MS
        self.claims: dict[str, Claim] = {}
        self.number = 0

    async def take(self, step: Step, now_ms: int) -> object:
        """One step; everything it shows."""
        self.number += 1
        self.clock.step_wall(now_ms - self.now_ms)
        self.now_ms = now_ms
        shown = await self._shown(step)
        retired = [(one.rule, one.revision) for one in await self.store.retired({})]
        due_ms = await self.store.next_due_ms()
        return shown, due_ms, list(await self.store.spends(0)), retired

    async def _shown(self, step: Step) -> object:
        shown: object = None
        match step:
            case Tell():
                shown = await self._tell(step)
            case Sweep():
                shown = await self._sweep(step)
            case Settle():
                await self._settle(step)
            case Adopt():
                await self._adopt(step)
            case Upkeep(what="recover"):
                shown = await self.store.recover(now_ms=self.now_ms)
                self.claims = {
                    send_id: replace(claim, state=ClaimState.UNCERTAIN)
                    for send_id, claim in self.claims.items()
                }
            case Upkeep():
                await self.store.wake([Reason.CAP], now_ms=self.now_ms)
        return shown

    async def _tell(self, tell: Tell) -> Applied:
        told = [self._said(report) for report in tell.reports]
        effect = Effect(
            activities=tuple(tell.activities),
            endpoints=tuple(tell.endpoints),
            stops=(*tell.stops, *(one for one in told if isinstance(one, Stop))),
            conversions=tuple(tell.conversions),
            receipts=tuple(one for one in told if isinstance(one, Receipt)),
        )
        position = Position(shard_id="0", sequence_number=str(self.number))
        batch = Batch(stream=STREAM, position=position, records=(), read_through_ms=0)
        return await self.store.apply(effect, batch, now_ms=self.now_ms)

    def _said(self, report: Report) -> Receipt | Stop:
        latest = list(reversed(self.claims))
        known = report.by_send and report.place < len(latest)
        send_id = latest[report.place] if known else None
        message_id = f"m{report.place % 3}" if report.by_message else None
        if isinstance(report.says, StopReason):
            return Stop(
                at_ms=report.at_ms,
                channel=report.channel,
                reason=report.says,
                send_id=send_id,
                message_id=message_id,
            )
        return Receipt(
            at_ms=report.at_ms,
            channel=report.channel,
            status=report.says,
            detail="",
            send_id=send_id,
            message_id=message_id,
            address=report.address,
        )

    async def _sweep(self, sweep: Sweep) -> object:
        views: list[object] = []

        def decide(view: UserView) -> Look:
            views.append(visible(view))
            return self._look(view, sweep.act)

        swept = await self.store.sweep(
            now_ms=self.now_ms, decide=decide, admits=lambda _: True, users_max=sweep.users_max
        )
        self.claims.update({d.claim.send_id: d.claim for d in swept.deliveries})
        return views, swept_of(swept)

    def _look(self, view: UserView, act: str) -> Look:
        assert view.last_active_ms is not None
        open_one = next((e for e in view.episodes if e.is_open), None)
        parked = Look(user_id=view.user_id, due_ms=None)
        tried = any(e.silence_since_ms == view.last_active_ms for e in view.episodes)
        if act == "park" or (open_one is None and tried):
            return parked
        episode = open_one or episode_of(view, self.now_ms)
        match act:
            case "hold":
                since_ms = episode.held_ms or self.now_ms
                held = replace(episode, hold=Reason.CAP, held_ms=since_ms)
                return replace(parked, episodes=(held,), due_ms=self.now_ms + 9 * DAY_MS)
            case "close":
                ended = replace(
                    episode,
                    hold=None,
                    held_ms=None,
                    closed_ms=self.now_ms,
                    outcome=EpisodeOutcome.EXHAUSTED,
                )
                return replace(parked, episodes=(ended,))
            case _:
                after = replace(
                    episode, last_stage="nudge", last_sent_ms=self.now_ms, hold=None, held_ms=None
                )
                deliveries = deliveries_of(view, after, self.now_ms)
                return replace(parked, episodes=(after,), deliveries=deliveries)

    async def _settle(self, step: Settle) -> None:
        waiting = [c for _, c in sorted(self.claims.items()) if c.state is ClaimState.CLAIMED]
        settlements = [
            settle(outcome_of(kind, claim), claim, self.now_ms)
            for kind, claim in zip(step.outcomes, waiting, strict=False)
        ]
        await self.store.settle(settlements, now_ms=self.now_ms)
        for settlement in settlements:
            send_id = settlement.outcome.send_id
            self.claims[send_id] = replace(self.claims[send_id], state=settlement.state)

    async def _adopt(self, step: Adopt) -> None:
        rearm_ms = None if step.rearm_days is None else step.rearm_days * DAY_MS
        await self.store.adopt(
            Adoption(
                revision=f"s{step.revision}",
                rearm_after_ms=rearm_ms,
                sends_for_ms=20 * DAY_MS,
                rules={"winback": f"r{step.revision}"},
                contents={"rules.yaml": b"x"},
            )
        )

    async def everybody(self) -> object:
        """All that is known of everybody, and in which order they are due."""
        adoption = Adoption(revision="last", rearm_after_ms=1, sends_for_ms=400 * DAY_MS)
        await self.store.adopt(adoption)
        views: list[object] = []

        def decide(view: UserView) -> Look:
            views.append(visible(view))
            return Look(user_id=view.user_id, due_ms=None)

        await self.store.sweep(
            now_ms=day(9_000), decide=decide, admits=lambda _: True, users_max=100
        )
        return views


def visible(view: UserView) -> object:
    """A view without the order of what has none."""
    return (
        view.user_id,
        view.last_active_ms,
        view.endpoints,
        sorted(view.episodes, key=lambda episode: episode.episode_id),
        view.claims,
        sorted(view.sends, key=repr),
    )


def swept_of(swept: Swept) -> object:
    return swept.users, swept.more, [delivery.claim for delivery in swept.deliveries]


def episode_of(view: UserView, now_ms: int) -> Episode:
    assert view.last_active_ms is not None
    return Episode(
        episode_id=episode_id_of(view.user_id, "winback", view.last_active_ms),
        user_id=view.user_id,
        rule="winback",
        revision="r1",
        silence_since_ms=view.last_active_ms,
        opened_ms=now_ms,
        stage="nudge",
        stage_due_ms=now_ms,
        arm=Arm.HOLDOUT if view.user_id == "bob" else Arm.TREATED,
    )


def deliveries_of(view: UserView, episode: Episode, now_ms: int) -> tuple[Delivery, ...]:
    """A claim for every address that has none, and again for those in RETRY."""
    before = {claim.send_id: claim for claim in view.claims}
    taken = {(claim.episode_id, claim.stage, claim.address_hash) for claim in view.claims}
    made: dict[str, Delivery] = {}
    for endpoint in view.endpoints:
        if endpoint.address is None or endpoint.channel is None:
            continue
        stage = endpoint.channel.value
        send_id = send_id_of(episode.episode_id, stage, endpoint.address)
        known = before.get(send_id)
        retried = known is not None and known.state is ClaimState.RETRY
        address_hash = address_hash_of(endpoint.address)
        if not retried and (episode.episode_id, stage, address_hash) in taken:
            continue
        claim = Claim(
            send_id=send_id,
            user_id=view.user_id,
            rule=episode.rule,
            revision=episode.revision,
            episode_id=episode.episode_id,
            stage=stage,
            channel=endpoint.channel,
            address_hash=address_hash,
            claimed_ms=now_ms,
            attempt=1 if known is None else known.attempt + 1,
            cost_micros=len(endpoint.address),
            resend=view.user_id == "ann",
        )
        made[send_id] = Delivery(
            claim=claim,
            channel_type=endpoint.channel_type or "",
            address=endpoint.address,
            message=Message(body="x"),
        )
    return tuple(made.values())


def outcome_of(kind: int, claim: Claim) -> Outcome:
    send_id = claim.send_id
    makers: tuple[Callable[[], Outcome], ...] = (
        lambda: Sent(send_id=send_id),
        lambda: Sent(send_id=send_id, message_id=f"m{int(send_id[0], 16) % 3}"),
        lambda: Sent(send_id=send_id, updated_token=f"new-{claim.address_hash}"),
        lambda: Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail="429"),
        lambda: Uncertain(send_id=send_id, detail="timeout"),
        lambda: Rejected(send_id=send_id, detail="no"),
        lambda: Rejected(send_id=send_id, detail="410", stop=StopReason.DEAD),
    )
    return makers[kind]()


# --- the comparison ------------------------------------------------------------------------------


async def differ(history: list[tuple[int, Step]]) -> str | None:
    """The first step after which the two are not equal, None when they always are."""
    clocks = FakeClock(now_ms=NOON_MS), FakeClock(now_ms=NOON_MS)
    sqlite = await open_store(":memory:", clock=clocks[0])
    one, other = Told(sqlite, clocks[0]), Told(MemoryStore(clocks[1]), clocks[1])
    try:
        for told in (one, other):
            await told.store.positions(STREAM)
            await told.take(Adopt(1, 1), NOON_MS)
        for number, (now_ms, step) in enumerate(history):
            expected, found = await one.take(step, now_ms), await other.take(step, now_ms)
            if expected != found:
                return f"step {number}: {step}\nsqlite {expected}\ndicts  {found}"
        expected, found = await one.everybody(), await other.everybody()
        return None if expected == found else f"at the end\nsqlite {expected}\ndicts  {found}"
    finally:
        await sqlite.close()


@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
def test_dicts_and_sqlite_agree_on_every_history(seed: int) -> None:
    assert asyncio.run(differ(Chance(seed).history())) is None


def test_the_histories_are_eventful() -> None:
    """Otherwise the agreement would prove little."""

    async def ways() -> Counter[str]:
        counted: Counter[str] = Counter()
        for seed in range(10):
            clock = FakeClock(now_ms=NOON_MS)
            store = MemoryStore(clock)
            told = Told(store, clock)
            await store.positions(STREAM)
            await told.take(Adopt(1, 1), NOON_MS)
            for now_ms, step in Chance(seed).history():
                shown = await told.take(step, now_ms)
                counted[type(step).__name__] += 1
                assert isinstance(shown, tuple)
                if isinstance(shown[0], Applied):
                    counted["returned"] += shown[0].episodes_returned
                    counted["converted"] += shown[0].conversions_credited
                    counted["receipts"] += shown[0].receipts_matched
                    counted["early"] += bool(store.memory.early)
            counted["claims"] += len(told.claims)
            counted.update(claim.state.value for claim in told.claims.values())
            rows = store.memory.claims.values()
            counted.update(row.told.receipt.value for row in rows if row.told.receipt is not None)
            counted["strangers"] += sum("anonymous" in name for name in store.memory.people)
        return counted

    counted = asyncio.run(ways())
    happened = ("returned", "converted", "receipts", "early", "claims", "strangers")
    for what in (*happened, "retry", "rejected", *ReceiptStatus):
        assert counted[what] >= 3, counted
