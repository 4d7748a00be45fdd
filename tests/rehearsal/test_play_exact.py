"""The same calls, however history is cut or ordered between users, and the same as a worker's.

Random histories: bursts and long silences, late events, devices that change hands, sign-ins of
strangers, opt-outs, goals; under rules with caps, budgets and rates that all users share.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.timeline import day, rule, stage
from tests.rehearsal.diary import Diary
from tests.store.world import STREAM, open_store
from worker.ladder import look
from worker.model import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Batch,
    Channel,
    Delivery,
    Effect,
    Look,
    Outcome,
    Position,
    Reason,
    Record,
    Rejected,
    Retry,
    Sent,
    StopReason,
    Uncertain,
    UserView,
)
from worker.moment import Moment
from worker.money import LOOKBACK_MS, Purse
from worker.pace import Pace
from worker.recency import fold
from worker.rehearsal.play import Play
from worker.retry import settle
from worker.rules.limits import Budget, Cap, Limits, Prices, SendRate, Window
from worker.rules.ruleset import ActivityPolicy, Goal, RuleGoal, RuleSet, Share
from worker.testing import FakeClock

USERS = tuple(f"u{number}" for number in range(6))
RECORDS = 90

PACES: tuple[tuple[tuple[int, ...], float], ...] = (
    ((MINUTE_MS, HOUR_MS), 0.9),
    ((HOUR_MS, 9 * HOUR_MS), 0.94),
    ((8 * HOUR_MS, DAY_MS, 3 * DAY_MS), 0.6),
)
"""Gaps between bursts, and how likely a burst goes on: users who never fall silent, some, all."""

LADDER = (
    stage("push"),
    replace(stage("email"), after_ms=6 * HOUR_MS),
    replace(stage("sms"), after_ms=20 * HOUR_MS),
)
GOAL = Goal(event="bought", within_ms=DAY_MS)
RULES = RuleSet(
    revision="s1",
    rules=(
        rule(stages=LADDER, inactive_for_ms=DAY_MS, priority=1, goal=GOAL, cooldown_ms=2 * HOUR_MS),
        rule(
            "second",
            stages=LADDER[:2],
            inactive_for_ms=30 * HOUR_MS,
            holdout=Share(percent=30, salt="x"),
        ),
    ),
    limits=Limits(
        caps=(Cap(max=3, per_ms=2 * DAY_MS, window=Window.ROLLING),),
        min_gap_ms=HOUR_MS,
        send_rates=(SendRate(max=2, per_ms=30 * MINUTE_MS),),
        budgets=(Budget(max_micros=45),),
    ),
    prices=Prices(otherwise={Channel.PUSH: 10, Channel.EMAIL: 3}),
    activity=ActivityPolicy(goals=(RuleGoal(rule="winback", goal=GOAL),)),
)
"""Everything that can make users depend on one another, at once."""


def provider(delivery: Delivery) -> Outcome:
    """Answers by what is sent and how often, whoever asks first."""
    send_id = delivery.claim.send_id
    match int(send_id[:4], 16) % 8:
        case 0 if delivery.claim.attempt < 3:
            return Retry(send_id=send_id, reason=Reason.TEMPORARY_FAILURE, detail="503")
        case 1:
            return Rejected(send_id=send_id, detail="410", stop=StopReason.DEAD)
        case 2:
            return Rejected(send_id=send_id, detail="no")
        case 3:
            return Uncertain(send_id=send_id, detail="timeout")
        case _:
            return Sent(send_id=send_id)


class History:
    """Records in the order of their arrival."""

    def __init__(self, seed: int, count: int = RECORDS) -> None:
        self._draw = random.Random(seed)
        self._gaps_ms, self._calm = self._draw.choice(PACES)
        self._now_ms = day(0)
        self.records = [self._record(number) for number in range(count)]

    def _record(self, number: int) -> Record:
        burst = (0, 0, 1, SECOND_MS, MINUTE_MS)
        calm = self._draw.random() < self._calm
        self._now_ms += self._draw.choice(burst if calm else self._gaps_ms)
        return Record(
            data=json.dumps(self._event()).encode(),
            sequence_number=str(number),
            arrival_ms=self._now_ms,
        )

    def _event(self) -> dict[str, Any]:
        draw = self._draw
        kinds = ("_session.start", "_session.start", "_session.stop", "bought", "looked")
        late_ms = draw.choice((0, 0, 0, 0, SECOND_MS, HOUR_MS, 2 * DAY_MS))
        user = draw.choice(USERS)
        if draw.random() < 0.03:
            return {
                "event_type": "_SMS.OPTOUT",
                "event_timestamp": self._now_ms,
                "arrival_timestamp": self._now_ms,
                "attributes": {"destination_phone_number": f"+1555010{user[1]}"},
            }
        return {
            "event_type": draw.choice(kinds),
            "event_timestamp": self._now_ms - late_ms,
            "arrival_timestamp": self._now_ms,
            "application": {"app_id": "a"},
            "client": {"client_id": f"{draw.choice(('push', 'email', 'sms'))}-{user}"},
            **({} if draw.random() < 0.1 else {"endpoint": self._endpoint(user)}),
        }

    def _endpoint(self, user: str) -> dict[str, Any]:
        draw = self._draw
        channel = draw.choice(("GCM", "GCM", "EMAIL", "SMS"))
        number = draw.choice(USERS)[1] if draw.random() < 0.05 else user[1]
        address = {"GCM": f"token{number}", "EMAIL": f"{number}@x.org", "SMS": f"+1555010{number}"}
        named = {} if draw.random() < 0.15 else {"User": {"UserId": user}}
        return {
            "Id": f"{channel}-{user}",
            "ChannelType": channel,
            "Address": address[channel],
            "OptOut": "ALL" if draw.random() < 0.05 else "NONE",
            "EndpointStatus": "ACTIVE",
            "Demographic": {"Timezone": "UTC", "Locale": draw.choice(("en", "en", "en", "ko"))},
            "Attributes": {"plan": [draw.choice(("free", "free", "free", "paid"))]},
            **named,
        }


seeds = st.integers(min_value=0, max_value=2**32)
SOME = settings(max_examples=60, deadline=None)


def lived(cuts: Sequence[Sequence[Record]], end_ms: int) -> Diary:
    """What happens when the records are read in these pieces."""
    diary = Diary()
    world = Play(RULES, provider=provider, observer=diary, start_ms=day(0))
    for records in cuts:
        world.read(records)
    world.until(end_ms)
    return diary


def happened(diary: Diary) -> tuple[object, ...]:
    return diary.calls, diary.decisions, sorted(diary.ends), sorted(map(repr, diary.credited))


def end_of(records: Sequence[Record]) -> int:
    return records[-1].arrival_ms + 10 * DAY_MS


@SOME
@given(seeds)
def test_records_may_be_read_one_by_one_or_together(seed: int) -> None:
    records = History(seed).records
    draw = random.Random(seed)
    cuts: list[list[Record]] = [[]]
    for record in records:
        if draw.random() < 0.1:
            cuts.append([])
        cuts[-1].append(record)
    singly = lived([[record] for record in records], end_of(records))
    assert happened(lived([records], end_of(records))) == happened(singly)
    assert happened(lived(cuts, end_of(records))) == happened(singly)


def test_calm_records_are_folded_together() -> None:
    folds = [lived([History(seed, 500).records], day(0)).folds for seed in range(5)]
    assert max(folds) < 450, folds


def record(
    user: str, kind: str, at: float, *, late: float = 0, endpoint: str = "", bare: bool = False
) -> Record:
    """An event of a user on a day, from the user's phone or another endpoint; `bare`: it only names
    the endpoint. Endpoints whose name begins with "mail" are mailboxes."""
    endpoint = endpoint or f"phone-{user}"
    is_mail = endpoint.startswith("mail")
    told = {
        "Id": endpoint,
        "ChannelType": "EMAIL" if is_mail else "GCM",
        "Address": f"{endpoint}@example.com" if is_mail else f"token-{endpoint}",
        "User": {"UserId": user},
        "Demographic": {"Timezone": "UTC"},
    }
    event = {
        "event_type": kind,
        "event_timestamp": day(at - late),
        "arrival_timestamp": day(at),
        "client": {"client_id": endpoint},
        **({} if bare else {"endpoint": told}),
    }
    return Record(data=json.dumps(event).encode(), sequence_number="0", arrival_ms=day(at))


def alike(known: Sequence[Record], piece: Sequence[Record]) -> Diary:
    """What happens when the piece is read together, which is the same as one by one. Between the
    two comes so much that is calm that a play dares to fold many."""
    diary = Diary()
    zoe = [record("zoe", "_session.start", 0.5 + number / 1_000) for number in range(60)]
    singly = [[one] for one in (*known, *zoe, *piece)]
    for cuts in (singly, [known, zoe, piece]):
        before, diary = diary, Diary()
        world = Play(RULES, observer=diary, start_ms=day(0))
        for records in cuts:
            world.read(records)
        world.until(day(30))
    assert happened(before) == happened(diary)
    return diary


def test_a_late_event_is_not_hidden_by_a_fresh_one_of_the_same_fold() -> None:
    diary = alike(
        [record("ann", "looked", 0)],
        [
            record("ann", "_session.start", 0.6, late=2, bare=True),
            record("ann", "_session.start", 0.7, bare=True),
        ],
    )
    assert (0.6, "ann", "push") in diary.calls


def test_a_goal_met_is_credited_to_a_send_that_fell_due_within_the_same_fold() -> None:
    diary = alike(
        [record("ann", "_session.start", 0)],
        [record("zoe", "_session.start", 0.95), record("ann", "bought", 1.01, bare=True)],
    )
    assert [(e.user_id, e.converted_ms) for e in diary.credited] == [("ann", day(1.01))]


def test_an_address_that_changes_hands_is_not_used_before_it_did() -> None:
    diary = alike(
        [record("ann", "_session.start", 0), record("bob", "_session.start", 0.4, endpoint="mail")],
        [record("zoe", "_session.start", 1.2), record("ann", "looked", 1.3, endpoint="mail")],
    )
    assert (1, "ann", "push") in diary.calls
    assert (1.25, "ann", "email") not in diary.calls


@SOME
@given(seeds)
def test_what_is_said_at_one_instant_has_no_order(seed: int) -> None:
    records = [
        replace(record, arrival_ms=record.arrival_ms - record.arrival_ms % HOUR_MS)
        for record in History(seed).records
    ]
    end_ms = end_of(records)
    groups = [list(group) for _, group in groupby(records, key=lambda r: r.arrival_ms)]
    shuffled = [random.Random(seed).sample(group, len(group)) for group in groups]

    def fed(instants: Sequence[Sequence[Record]]) -> Diary:
        diary = Diary()
        world = Play(RULES, provider=provider, observer=diary, start_ms=day(0))
        for instant in instants:
            world.feed(effect_of(instant), instant[0].arrival_ms)
        world.until(end_ms)
        return diary

    assert happened(fed(shuffled)) == happened(fed(groups))


def effect_of(records: Sequence[Record]) -> Effect:
    return fold(
        Batch(
            stream=STREAM,
            position=Position(shard_id="0"),
            records=tuple(records),
            read_through_ms=0,
        ),
        RULES.activity,
    )


# --- as a worker does ------------------------------------------------------------------------


@dataclass
class Worker:
    """The durable store and the ladder, driven as an outbox drives them, in virtual time."""

    diary: Diary = field(default_factory=Diary)
    pace: Pace = field(default_factory=lambda: Pace(RULES.limits.send_rates))

    async def live(self, records: Sequence[Record], end_ms: int) -> Diary:
        clock = FakeClock(now_ms=day(0))
        store = await open_store(":memory:", clock=clock)
        await store.positions(STREAM)
        await store.adopt(RULES.adoption)
        now_ms = day(0)
        for number, record in enumerate((*records, None)):
            at_ms = end_ms + 1 if record is None else record.arrival_ms
            while (
                at_ms > now_ms
                and (due_ms := await store.next_due_ms()) is not None
                and due_ms < at_ms
            ):
                await self._sweep(store, max(due_ms, now_ms))
            if record is None:
                break
            now_ms = at_ms
            batch = Batch(
                stream=STREAM,
                position=Position(shard_id="0", sequence_number=str(number)),
                records=(record,),
                read_through_ms=now_ms,
            )
            await store.apply(fold(batch, RULES.activity), batch, now_ms=now_ms)
        await store.close()
        return self.diary

    async def _sweep(self, store: Any, now_ms: int) -> None:
        spends = await store.spends(now_ms - LOOKBACK_MS)
        moment = Moment(now_ms=now_ms, wall_ms=now_ms, purse=Purse(spends), pace=self.pace)

        def decide(view: UserView) -> Look:
            looked = look(view, RULES, now_ms, purse=moment.purse, pace=moment.pace)
            moment.puts_off(looked)
            for decision in looked.decisions:
                self.diary.decided(view.user_id, decision)
            return looked

        def admits(deliveries: Sequence[Delivery]) -> bool:
            moment.sends(deliveries)
            return True

        swept = await store.sweep(now_ms=now_ms, decide=decide, admits=admits, users_max=1)
        settlements = []
        for delivery in swept.deliveries:
            outcome = provider(delivery)
            self.diary.called(delivery, outcome, now_ms)
            settlements.append(settle(outcome, delivery.claim, now_ms))
        if settlements:
            await store.settle(settlements, now_ms=now_ms)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_a_play_decides_and_calls_as_a_worker_on_the_same_stream(seed: int) -> None:
    records = History(seed).records
    worker = asyncio.run(Worker().live(records, end_of(records)))
    diary = lived([records], end_of(records))
    assert diary.calls == worker.calls
    assert diary.decisions == worker.decisions


def test_the_histories_are_eventful() -> None:
    diaries = [lived([History(s).records], day(0) + 90 * DAY_MS) for s in range(10)]
    reasons = {reason for diary in diaries for _, _, reason in diary.decisions}
    assert {Reason.CAP, Reason.BUDGET, Reason.RATE_WAIT, Reason.HOLDOUT, Reason.SENT} <= reasons
    endings = {reason for diary in diaries for _, _, _, reason in diary.ends}
    assert {Reason.ACTIVE_AGAIN, Reason.LADDER_DONE, Reason.UNDELIVERABLE} <= endings
    assert sum(len(diary.credited) for diary in diaries) >= 5
