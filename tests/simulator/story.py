"""What the world saw of one run: the facts the checkers hold against the promises.

Only what can be seen from outside the worker stands here: records put on the stream and given out
by it, calls and their answers, people's edits, starts and ends of the process. Nothing is read from
the worker's state, and nothing here imports the worker. Times are milliseconds of the world's wall
clock (the true one; the worker's may be wrong, see `ClockStepped`), unless a name says otherwise.

A text sent is `rule|revision|stage|variant|user`, as the simulated rules write it, so a call tells
by itself which stage of which user it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

ChannelName: TypeAlias = Literal["push", "email", "sms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    at_ms: int
    """When it happened, by the world's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Put(Fact):
    """A record was put on the stream. `at_ms` is its arrival there."""

    record: int
    """Numbered through; a duplicate has a number of its own."""
    kind: Literal["activity", "endpoint", "stop", "receipt", "conversion", "goal", "rubbish"]
    user: str | None = None
    event_ms: int | None = None
    """When the event says it happened; may be late, or in the future."""
    means_active: bool = False
    """By the words of the rules, this shows that the user was there."""
    channel: ChannelName | None = None
    address: str | None = None
    """Of the endpoint it tells of, or whom the stop or receipt is about."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Every record that tells of an endpoint, an activity too: endpoint (its id), and what it tells
    of it: user, opted_out, active, timezone, country; what is not told is left out. A record whose
    producer stated an arrival other than `at_ms`: told_ms. For stop: reason. For receipt: status,
    send_id, message_id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given(Fact):
    """The worker got a record in an answer of the stream."""

    record: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trimmed(Fact):
    """A record left the stream before the worker ever got it: it cannot be held to it."""

    record: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Called(Fact):
    """The provider got a message to an address; one fact for each address of a call."""

    call: int
    channel: ChannelName
    address: str
    text: str
    send_id: str | None
    """What the worker wrote into the message so that a receipt can name it."""
    worker_ms: int
    """What the worker's own clock said."""
    accepted: bool
    """The provider took it: it will arrive. The worker may never learn so."""
    answer: Literal[
        "ok", "rejected", "opted_out", "throttled", "temporary", "error", "timeout", "cut",
        "bad_request", "refused_setup", "unknown",
    ]  # fmt: skip
    """What the worker got to hear; timeout and cut: nothing."""
    message_id: str | None = None
    answered_ms: int | None = None
    """When the worker gets to hear the answer, if it lives and waits until then; None: at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesPut(Fact):
    """Somebody wrote the folder of rules. `rules` is the independent description the world wrote
    the YAML from; None when what was written is broken, and must change nothing."""

    rules: Any | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silenced(Fact):
    """Somebody paused, silenced or stopped sending, or took it back. `until_ms` None: until taken
    back."""

    what: Literal["silence", "pause", "kill", "over"]
    silence: str
    matchers: Mapping[str, str] = field(default_factory=dict)
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Fact):
    """A process began to work (has the state, and reads)."""

    process: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Fact):
    """A process ended, by a kill at any place or in good order."""

    process: int
    how: Literal["killed", "stopped", "failed"]
    where: str = ""
    """At which moment. Killed `after_commit of sweep`, or some turns of the loop after a write
    (`after a write`, `in mid call`), it may have claimed sends whose calls nobody ever saw: the
    next process must take them for uncertain, so they count as sent in ladders and caps (P1). A
    `power cut` takes back what was written in the last 35 s. `failed`: the name of an error of the
    worker's own; anything else there is a bug."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStepped(Fact):
    """The worker's wall clock now says `offset_ms` more than the world's."""

    offset_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulted(Fact):
    """A fault that was switched on did strike; counted by kind in the report."""

    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(Fact):
    """The highest fill of something that has a bound, at the end of a run (P12)."""

    name: str
    value: float
    bound: float


@dataclass(slots=True)
class Story:
    """All facts of one run, in the order they happened."""

    seed: int
    days: float
    facts: list[Fact] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the run was set up with: max_staleness_ms, sweep_ms, calls_in_flight_max, ... and
    `quiet_end_ms`: from here on no fault strikes, so that what is owed can be demanded."""
