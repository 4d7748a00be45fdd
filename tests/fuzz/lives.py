"""What the users of some records live through: a state, the ladder, messages, answers.

A batch is folded and applied to a state of its own; then time jumps from due time to due time until
nobody is due. A look that fails is put aside by the worker, which here is a finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from tests.core.samples import KINESIS_MS, SHARD
from worker.ladder import look
from worker.model import (
    DAY_MS,
    Batch,
    Delivery,
    Look,
    Outcome,
    Position,
    Record,
    Rejected,
    Sent,
    StopReason,
    StreamIdentity,
    UserView,
)
from worker.recency import fold
from worker.retry import settle
from worker.rules.load import load_contents
from worker.rules.ruleset import ActivityPolicy
from worker.senders.pinpoint_request import Origin, call_kind, message_request
from worker.store.intake import Incident
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock

STREAM = StreamIdentity(name="events", created_ms=1)
JUMPS_MAX = 40
RULES = load_contents(
    {
        "lives.yaml": b"""apiVersion: v1
prices:
  sms: {default: 0.08 USD, US: 0.00581 USD}
  email: {default: 0.0001 USD}
quiet_hours:
  - {name: night, from: "21:00", to: "08:00"}
limits:
  user: [{max: 1, per: 1d, window: calendar}]
legal_texts:
  - {match: ['country="US"'], suffix: " STOP"}
rules:
  - rule: everybody
    mode: live
    inactive_for: 7d
    match: ['name!="nobody"', 'locale!~"x.*"', 'ltv!="1"']
    exit_on: [activity, match_lost, user_deleted]
    stages:
      - name: push
        channel: push
        message:
          title: Hello {{User.UserAttributes.plan|default("you")}}
          body: '{{Attributes.interests|default("x")|truncate(9)}} {{Demographic.Locale}}'
          locales: {ko: {title: Annyeong}}
      - name: email
        after: 1d
        channel: email
        message: {subject: 'To {{User.UserId|default("you")}}', text: t, html: '<p>{{User.UserId}}'}
      - name: sms
        after: 1d
        channel: sms
        max_price: 1 USD
        message: {body: 'Come back {{Location.Country|default("")}}'}
  - rule: some
    mode: live
    priority: -1
    inactive_for: 8d
    match: ['visits>=1', 'country=~"K.*|U.*"']
    stages:
      - {name: sms, channel: sms, message: {body: Hello}}
"""
    }
)


class Lives:
    """The users of some records."""

    def __init__(self, records: Sequence[Record], policy: ActivityPolicy) -> None:
        position = Position(shard_id=SHARD, sequence_number="1")
        self._batch = Batch(
            stream=STREAM, position=position, records=tuple(records), read_through_ms=KINESIS_MS
        )
        self._effect = fold(self._batch, policy)

    def live(self) -> None:
        """Raises AssertionError when a look failed, and whatever else went wrong."""
        asyncio.run(self._live())

    async def _live(self) -> None:
        store = await SqliteStore.open(":memory:", wait=False, clock=FakeClock(now_ms=KINESIS_MS))
        try:
            await store.positions(STREAM)
            await store.adopt(RULES.adoption)
            for _ in range(2):  # what is read again must change nothing, and find its claims
                await store.apply(self._effect, self._batch, now_ms=KINESIS_MS)
                await self._jump(store)
            assert store.incidents[Incident.LOOK_FAILED] == 0, "a look failed"
        finally:
            await store.close()

    async def _jump(self, store: SqliteStore) -> None:
        now_ms = KINESIS_MS
        for _ in range(JUMPS_MAX):
            due_ms = await store.next_due_ms()
            if due_ms is None or due_ms > KINESIS_MS + 40 * DAY_MS:
                return
            now_ms = max(now_ms, due_ms)

            def decide(view: UserView, now_ms: int = now_ms) -> Look:
                return look(view, RULES, now_ms)

            swept = await store.sweep(
                now_ms=now_ms, decide=decide, admits=lambda _: True, users_max=10_000
            )
            answers = [settle(_answer(one), one.claim, now_ms) for one in swept.deliveries]
            await store.settle(answers, now_ms=now_ms)


def _answer(delivery: Delivery) -> Outcome:
    """The request can be written, or only this one cannot; every fifth address is refused."""
    call_kind(delivery)
    with suppress(UnicodeEncodeError):
        message_request([delivery], Origin())
    send_id = delivery.claim.send_id
    if len(delivery.address) % 5 == 0:
        return Rejected(send_id=send_id, detail="PERMANENT_FAILURE 410", stop=StopReason.DEAD)
    return Sent(send_id=send_id, message_id="m")
