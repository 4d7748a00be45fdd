"""Stories written by hand, for those who check stories. Times are hours since the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from tests.simulator.rulebook import HOUR_MS, Book, RuleSpec, StageSpec
from tests.simulator.story import (
    Called,
    ChannelName,
    ClockStepped,
    Ended,
    Fact,
    Faulted,
    Given,
    Measured,
    Put,
    RulesPut,
    Silenced,
    Started,
    Story,
    Trimmed,
)

START_MS = 1_780_272_000_000
"""2026-06-01T00:00:00Z, a Monday."""

ADDRESSES: Mapping[ChannelName, str] = {
    "push": "token-{}",
    "email": "{}@example.com",
    "sms": "+49151000{}",
}

LADDER = (
    StageSpec(name="s0", channel="push", after_ms=0),
    StageSpec(name="s1", channel="email", after_ms=24 * HOUR_MS),
)
RULE = RuleSpec(
    name="r",
    edition=1,
    mode="live",
    priority=0,
    inactive_for_ms=24 * HOUR_MS,
    max_inactive_ms=None,
    cooldown_ms=0,
    holdout_percent=0,
    on_edit="finish_old",
    stages=LADDER,
)
BOOK = Book(number=1, rules=(RULE,))

Kind: TypeAlias = Literal["activity", "endpoint", "stop", "rubbish"]


class Tale:
    """Writes one story. A process works from the start unless told otherwise, and every record is
    given as soon as it is put unless `given` says when (None: never)."""

    def __init__(self, book: Book = BOOK, *, hours: float = 100, running: bool = True) -> None:
        self._facts: list[Fact] = []
        self._records = 0
        self._calls = 0
        self._offset_ms = 0
        self._hours = hours
        self.settings: dict[str, Any] = {
            "max_staleness_ms": HOUR_MS // 4,
            "sweep_ms": 1_000,
            "poll_ms": 1_000,
            "reload_ms": 10_000,
        }
        self.add(RulesPut(at_ms=START_MS, rules=book))
        if running:
            self.add(Started(at_ms=START_MS, process=1))

    def add(self, fact: Fact) -> None:
        """Any fact."""
        self._facts.append(fact)

    def story(self) -> Story:
        """What was told, in the order of time."""
        end_ms = START_MS + round(self._hours * HOUR_MS)
        settings = {"end_ms": end_ms, "quiet_end_ms": START_MS, **self.settings}
        facts = sorted(self._facts, key=lambda fact: fact.at_ms)
        return Story(seed=0, days=self._hours / 24, facts=facts, settings=settings)

    # --- records ------------------------------------------------------------------------------

    def visit(self, at: float, user: str = "u", **more: Any) -> int:
        """The user is there, with a phone."""
        return self._put("activity", at, user, "push", active=True, **more)

    def endpoint(
        self, at: float, user: str = "u", channel: ChannelName = "email", **more: Any
    ) -> int:
        """An endpoint is told; nobody has to be there."""
        return self._put("endpoint", at, user, channel, active=False, **more)

    def stop(self, at: float, user: str = "u", channel: ChannelName = "push", **more: Any) -> int:
        """The address wants nothing any more."""
        return self._put("stop", at, user, channel, active=False, **more)

    def rubbish(self, at: float, **more: Any) -> int:
        """A record nobody can read."""
        return self._put("rubbish", at, "", "push", active=False, **more)

    def _put(
        self,
        kind: Kind,
        at: float,
        user: str,
        channel: ChannelName,
        *,
        active: bool,
        given: float | None = -1,
        event: float | None = None,
        anonymous: bool = False,
        **facts: Any,
    ) -> int:
        self._records += 1
        told = {
            "endpoint": f"{user}-{channel}",
            "user": None if anonymous else user,
            "opted_out": False,
            "active": True,
            "timezone": "UTC",
            "country": None,
            **facts,
        }
        self.add(
            Put(
                at_ms=hour(at),
                record=self._records,
                kind=kind,
                user=None if anonymous else user or None,
                event_ms=hour(at if event is None else event),
                means_active=active,
                channel=channel,
                address=ADDRESSES[channel].format(user),
                facts=told if kind in ("activity", "endpoint") else facts,
            )
        )
        if given is not None:
            self.give(self._records, at if given < 0 else given)
        return self._records

    def give(self, record: int, at: float) -> None:
        """The worker gets a record."""
        self.add(Given(at_ms=hour(at), record=record))

    def trim(self, record: int, at: float) -> None:
        """A record leaves the stream unread."""
        self.add(Trimmed(at_ms=hour(at), record=record))

    # --- calls --------------------------------------------------------------------------------

    def call(
        self,
        at: float,
        stage: str = "s0",
        *,
        user: str = "u",
        channel: ChannelName = "push",
        answer: Any = "ok",
        rule: str = "r",
        edition: int = 1,
        same_call: bool = False,
        **more: Any,
    ) -> None:
        """A message reaches the provider."""
        self._calls += not same_call
        called = Called(
            at_ms=hour(at),
            call=self._calls,
            channel=channel,
            address=ADDRESSES[channel].format(user),
            text=f"{rule}|{edition}|{stage}||{user}",
            send_id="send",
            worker_ms=hour(at) + self._offset_ms,
            accepted=answer == "ok",
            answer=answer,
        )
        self.add(replace(called, **more))

    # --- the world ----------------------------------------------------------------------------

    def start(self, at: float, process: int = 1) -> None:
        """A process has the state."""
        self.add(Started(at_ms=hour(at), process=process))

    def end(self, at: float, process: int = 1, how: Any = "killed", where: str = "") -> None:
        """It has it no more."""
        self.add(Ended(at_ms=hour(at), process=process, how=how, where=where))

    def rules(self, at: float, book: Book | None) -> None:
        """Somebody saves the folder; None: broken."""
        self.add(RulesPut(at_ms=hour(at), rules=book))

    def clock(self, at: float, offset: float) -> None:
        """The worker's clock is wrong by so many hours. Calls told from here on go by it."""
        self._offset_ms = round(offset * HOUR_MS)
        self.add(ClockStepped(at_ms=hour(at), offset_ms=self._offset_ms))

    def silence(self, at: float, what: Any = "pause", **more: Any) -> None:
        """Somebody says stop."""
        self.add(Silenced(at_ms=hour(at), what=what, silence="1", **more))

    def fault(self, at: float, kind: str) -> None:
        """A fault strikes."""
        self.add(Faulted(at_ms=hour(at), kind=kind))

    def measured(self, name: str, value: float, bound: float) -> None:
        """The highest fill of something."""
        self.add(Measured(at_ms=hour(self._hours), name=name, value=value, bound=bound))


def hour(at: float) -> int:
    """That hour of a tale as an instant."""
    return START_MS + round(at * HOUR_MS)


def book_with(rule: RuleSpec = RULE, **limits: Any) -> Book:
    """The book of the tales, with something else in it."""
    return replace(BOOK, rules=(rule,), **limits)


def rule_with(**keys: Any) -> RuleSpec:
    """The rule of the tales, with something else in it."""
    return replace(RULE, **keys)
