"""A store with one stream in it, spoken to in signals and days: what the store's tests share.

The ladder is not needed here: `opening` and `settle` make the looks and answers a test asks for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from worker.model import (
    DAY_MS,
    Action,
    Activity,
    Adoption,
    Applied,
    Arm,
    Batch,
    Channel,
    Claim,
    ClaimState,
    Conversion,
    DeadLetter,
    Decision,
    Delivery,
    Effect,
    Endpoint,
    Episode,
    Look,
    Message,
    Outcome,
    Position,
    Reason,
    Receipt,
    Settlement,
    Silence,
    SilenceKind,
    Stop,
    StreamIdentity,
    Swept,
    UserView,
    address_hash_of,
    episode_id_of,
    send_id_of,
)
from worker.ports import Store
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock

NOON_MS = 1_793_448_000_000
"""Day 0: 2026-10-31T12:00:00Z."""

STREAM = StreamIdentity(name="events", created_ms=1)
REARM_MS = 7 * DAY_MS
SENDS_FOR_MS = 400 * DAY_MS
FILES = {"shop.yaml": b"apiVersion: v1\n", "templates/nudge.yaml": b"body: hi\n"}
"""The files of the first rule set; what they say is nothing to a store."""
LATER = 300
"""A day on which everybody with a due time is due."""


def day(number: float) -> int:
    """Milliseconds of a (fractional) day since day 0, noon UTC."""
    return NOON_MS + round(number * DAY_MS)


class SilencesByHand(Protocol):
    """What people do to a store beside the worker: the verbs of `SilenceBook` that change it."""

    def add(
        self,
        kind: SilenceKind,
        matchers: Sequence[str],
        *,
        ends_ms: int | None,
        author: str,
        comment: str,
    ) -> Silence:
        """A silence from now on."""

    def end(self, silence_id: int, *, author: str) -> Silence:
        """The silence ends now."""


async def open_store(
    path: Path | str, *, wait: bool = False, clock: FakeClock | None = None
) -> SqliteStore:
    """A store whose clock stands at day 0."""
    clock = clock or FakeClock(now_ms=NOON_MS)
    return await SqliteStore.open(str(path), wait=wait, clock=clock)


def seen(user_id: str | None, at: float, **who: str) -> Activity:
    """A user was here on a day."""
    return Activity(at_ms=day(at), event_type="_session.start", user_id=user_id, **who)


def phone(user_id: str | None, at: float = 0, *, name: str = "", token: str = "") -> Endpoint:
    """A phone with push, as a full event tells of it; a user's own unless it is named."""
    endpoint_id = name or f"phone-{user_id}"
    return Endpoint(
        endpoint_id=endpoint_id,
        at_ms=day(at),
        user_id=user_id,
        channel_type="GCM",
        address=token or f"token-{endpoint_id}",
        active=True,
        opted_out=False,
        timezone="Asia/Seoul",
        country="KR",
        region="Seoul",
        locale="ko",
        platform="android",
        app="app-1",
        attributes={"plan": ("free",)},
        user_attributes={"name": ("Ann", "A.")},
    )


def mailbox(user_id: str, address: str, at: float = 0) -> Endpoint:
    """A mail address of a user."""
    return Endpoint(
        endpoint_id=f"mail-{user_id}",
        at_ms=day(at),
        user_id=user_id,
        channel_type="EMAIL",
        address=address,
    )


def goal(user_id: str | None, at: float, *, within: float = 3, **who: str) -> Conversion:
    """A user did on a day what `winback` hopes for, within so many days."""
    return Conversion(
        at_ms=day(at), rule="winback", within_ms=round(within * DAY_MS), user_id=user_id, **who
    )


class World:
    """A store and the stream it reads; `book` is how people silence it by hand."""

    def __init__(
        self, store: Store, *, clock: FakeClock | None = None, book: SilencesByHand | None = None
    ) -> None:
        self.store = store
        self.clock = clock or FakeClock(now_ms=NOON_MS)
        self._book = book
        self._sequence = itertools.count(1)
        self._looks = itertools.count(1)

    @property
    def book(self) -> SilencesByHand:
        """Only where the test was given a store with one."""
        assert self._book is not None
        return self._book

    async def begin(self, *, rearm_ms: int | None = REARM_MS) -> World:
        """Knows the stream, and a rule set whose shortest silence is 7 days."""
        await self.store.positions(STREAM)
        await self.store.adopt(
            Adoption(
                revision="first",
                rearm_after_ms=rearm_ms,
                sends_for_ms=SENDS_FOR_MS,
                rules={"winback": "r1"},
                contents=FILES,
            )
        )
        return self

    async def tell(
        self,
        *signals: Activity | Endpoint | Stop | Receipt | Conversion | DeadLetter,
        on: float = 0,
        position: Position | None = None,
    ) -> Applied:
        """Applies signals as one batch, on a day, and moves the position on."""
        effect = Effect(
            activities=tuple(s for s in signals if isinstance(s, Activity)),
            endpoints=tuple(s for s in signals if isinstance(s, Endpoint)),
            stops=tuple(s for s in signals if isinstance(s, Stop)),
            receipts=tuple(s for s in signals if isinstance(s, Receipt)),
            conversions=tuple(s for s in signals if isinstance(s, Conversion)),
            dead_letters=tuple(s for s in signals if isinstance(s, DeadLetter)),
        )
        batch = Batch(
            stream=STREAM,
            position=position
            or Position(shard_id="shard-0", sequence_number=str(next(self._sequence))),
            records=(),
            read_through_ms=day(on),
        )
        return await self.store.apply(effect, batch, now_ms=day(on))

    async def sweep(
        self,
        decide: Callable[[UserView], Look],
        *,
        on: float,
        admits: Callable[[Sequence[Delivery]], bool] = lambda _: True,
        users_max: int = 100,
    ) -> Swept:
        """One sweep, on a day."""
        return await self.store.sweep(
            now_ms=day(on), decide=decide, admits=admits, users_max=users_max
        )

    async def due(self, *, on: float) -> list[str]:
        """Who is due on a day, in the order of the looks. They are parked by it."""
        views = await self.views(on=on)
        return list(views)

    async def views(self, *, on: float = LATER) -> dict[str, UserView]:
        """What is known of everybody who is due on a day. They are parked by it."""
        found: dict[str, UserView] = {}

        def look(view: UserView) -> Look:
            found[view.user_id] = view
            return parked(view)

        await self.sweep(look, on=on)
        return found

    async def view_of(self, user: str) -> UserView:
        """What is known of a user; everybody on a ladder is made due for it by new rules."""
        await self.store.adopt(
            Adoption(
                revision=f"to see {user} {next(self._looks)}",
                rearm_after_ms=1,
                sends_for_ms=SENDS_FOR_MS,
            )
        )
        return (await self.views())[user]

    async def claimed(self, *users: str, **more: Any) -> list[str]:
        """Users on day 7 with their stage claimed; the send ids in the users' order. `more` is for
        `claim_of`."""
        for user in users:
            await self.tell(seen(user, 0), phone(user))
        swept = await self.sweep(opening(7, **more), on=7)
        by_user = {d.claim.user_id: d.claim.send_id for d in swept.deliveries}
        return [by_user[user] for user in users]

    async def on_ladder(
        self, user: str, *, since: float, sent: float, arm: Arm = Arm.TREATED
    ) -> None:
        """A user, silent since a day, whose stage was sent 7 days later, and counts as sent on
        another day."""
        await self.tell(seen(user, since), phone(user), on=since)
        await self.sweep(opening(since + 7), on=since + 7)
        await self.store.recover(now_ms=day(since + 7))
        await self.sweep(sending(sent, arm=arm), on=since + 7)

    async def settle(self, *outcomes: Outcome, state: ClaimState, on: float) -> None:
        """Writes answers of one kind, on a day."""
        retry_ms = day(on + 1) if state is ClaimState.RETRY else None
        reason = Reason.PROVIDER_THROTTLED if state is ClaimState.RETRY else state
        settlements = [
            Settlement(outcome=outcome, state=state, reason=reason, retry_ms=retry_ms)
            for outcome in outcomes
        ]
        await self.store.settle(settlements, now_ms=day(on))


def parked(view: UserView) -> Look:
    """Nothing to do, until something about the user changes."""
    return Look(user_id=view.user_id, due_ms=None)


def again(on: float) -> Callable[[UserView], Look]:
    """Nothing to do until a day."""
    return lambda view: Look(user_id=view.user_id, due_ms=day(on))


def holding(on: float, reason: Reason) -> Callable[[UserView], Look]:
    """Opens an episode whose stage waits, and looks at it again when something changes."""

    def look(view: UserView) -> Look:
        held = replace(episode_of(view, on), hold=reason, held_ms=day(on))
        return replace(parked(view), episodes=(held,))

    return look


def sending(on: float, *, arm: Arm = Arm.TREATED) -> Callable[[UserView], Look]:
    """The stage of an open episode was sent, or would have been; the next one waits for long."""

    def look(view: UserView) -> Look:
        after = [
            replace(e, arm=arm, stage="mail", last_stage=e.stage, last_sent_ms=day(on))
            for e in view.episodes
            if e.is_open
        ]
        return replace(parked(view), episodes=tuple(after))

    return look


def opening(
    on: float, *, rule: str = "winback", stage: str = "nudge", **more: Any
) -> Callable[[UserView], Look]:
    """Opens an episode of a silence and sends its stage to every push address; a claim that is in
    RETRY is tried again. `more` is for `claim_of`."""

    def look(view: UserView) -> Look:
        assert view.last_active_ms is not None
        known = [e for e in view.episodes if e.is_open and e.rule == rule]
        episode = known[0] if known else episode_of(view, on, rule=rule, stage=stage)
        earlier = {claim.send_id: claim for claim in view.claims}
        deliveries = []
        for endpoint in view.endpoints:
            if endpoint.channel is Channel.PUSH:
                claim = claim_of(episode, endpoint.address or "", on, stage=stage, **more)
                before = earlier.get(claim.send_id)
                attempt = before.attempt + 1 if before else 1
                deliveries.append(delivery_of(claim, endpoint, attempt=attempt))
        decision = Decision(
            rule=rule,
            action=Action.SEND,
            reason=Reason.CLAIMED,
            at_ms=day(on),
            stage=stage,
            episode_id=episode.episode_id,
            notable=True,
        )
        return Look(
            user_id=view.user_id,
            due_ms=None,
            decisions=(decision,),
            episodes=(episode,),
            deliveries=tuple(deliveries),
        )

    return look


def episode_of(
    view: UserView, on: float, *, rule: str = "winback", stage: str = "nudge"
) -> Episode:
    """An episode of the silence a user is in."""
    assert view.last_active_ms is not None
    return Episode(
        episode_id=episode_id_of(view.user_id, rule, view.last_active_ms),
        user_id=view.user_id,
        rule=rule,
        revision="r1",
        silence_since_ms=view.last_active_ms,
        opened_ms=day(on),
        stage=stage,
        stage_due_ms=day(on),
    )


def claim_of(
    episode: Episode, address: str, on: float, *, stage: str = "nudge", **more: Any
) -> Claim:
    """A claim for one address of an episode's stage; `more` are fields of it."""
    claim = Claim(
        send_id=send_id_of(episode.episode_id, stage, address),
        user_id=episode.user_id,
        rule=episode.rule,
        revision=episode.revision,
        episode_id=episode.episode_id,
        stage=stage,
        channel=Channel.PUSH,
        address_hash=address_hash_of(address),
        claimed_ms=day(on),
    )
    return replace(claim, **more)


def delivery_of(claim: Claim, endpoint: Endpoint, *, attempt: int = 1) -> Delivery:
    """The claim on its way to an endpoint."""
    return Delivery(
        claim=replace(claim, attempt=attempt),
        channel_type=endpoint.channel_type or "",
        address=endpoint.address or "",
        message=Message(body="We miss you"),
    )
