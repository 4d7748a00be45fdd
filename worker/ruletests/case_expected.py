"""The shape of what a test expects: sends, states, outcomes, decisions. Pure."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from worker.model import Reason
from worker.rules.forms import Count, Duration, Form, Instant, Name, Span, Words
from worker.ruletests.case_world import Addresses, Values, YesNo


class State(StrEnum):
    """Where a user stands under a rule at an instant."""

    UNKNOWN = "unknown"
    ACTIVE = "active"
    OUTSIDE = "outside"
    WAITING = "waiting"
    DUE = "due"
    IN_FLIGHT = "in_flight"
    COOLDOWN = "cooldown"
    DONE = "done"


class OutcomeWord(StrEnum):
    """How an episode ended, and `converted` for one that reached its goal."""

    RETURNED = "returned"
    EXHAUSTED = "exhausted"
    STOPPED = "stopped"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    CONVERTED = "converted"


class DecisionWord(StrEnum):
    """What a step of the ladder did, in words of this form."""

    OPEN = "open"
    SEND = "send"
    SENT = "sent"
    WOULD_SEND = "would_send"
    HOLD = "hold"
    WAIT = "wait"
    SKIP = "skip"
    HASTEN = "hasten"
    CLOSE = "close"


class SendForm(Form):
    """A stage that goes out. Keys that are left out are not compared."""

    at: Instant = Field(description="When.", examples=["2026-11-09T07:00:00Z"])
    within: Duration | None = Field(
        default=None, description="Or up to so much later, for repeated calls.", examples=["5m"]
    )
    user: Words = Field(description="To whom.", examples=["u1"])
    stage: Name = Field(description="Which stage.", examples=["push"])
    rule: Name | None = Field(
        default=None, description="Of which rule.", examples=["premium-winback"]
    )
    template: Name | None = Field(
        default=None, description="Written from which file.", examples=["winback_push_a"]
    )
    variant: Name | None = Field(default=None, description="Which variant.", examples=["a"])
    deferred_by: Reason | None = Field(
        default=None, description="Why the stage was held at first.", examples=["quiet_hours"]
    )
    because: Reason | None = Field(
        default=None,
        description="Why the stage before it was skipped, or did not hold it up.",
        examples=["permanent_failure"],
    )
    address: Addresses | None = Field(
        default=None, description="To exactly these addresses.", examples=["token1"]
    )
    attempts: Count | None = Field(
        default=None, description="How many calls it took.", examples=[3]
    )
    title: Words | None = Field(default=None, description="The whole title.", examples=["Hello"])
    body: Words | None = Field(
        default=None, description="The whole text.", examples=["New since your last visit."]
    )
    contains: Values = Field(
        default=[], description="Pieces of title, text or HTML.", examples=["your last visit"]
    )


class StateForm(Form):
    """Where a user stands at an instant. Keys that are left out are not compared."""

    at: Instant = Field(description="When.", examples=["2026-11-08T20:30:00Z"])
    user: Words = Field(description="Who.", examples=["u1"])
    rule: Name | None = Field(
        default=None, description="Under which rule; needed when there are several.", examples=["r"]
    )
    state: State = Field(description="How it stands.", examples=["due"])
    reason: Reason | None = Field(
        default=None, description="The ladder's reason.", examples=["quiet_hours"]
    )
    stage: Name | None = Field(default=None, description="Before which stage.", examples=["push"])
    until: Instant | None = Field(
        default=None, description="Until when.", examples=["2026-11-09T07:00:00Z"]
    )


class OutcomeForm(Form):
    """How a trip down a ladder ended. Keys that are left out are not compared."""

    user: Words = Field(description="Whose.", examples=["u1"])
    rule: Name | None = Field(
        default=None, description="Under which rule.", examples=["premium-winback"]
    )
    outcome: OutcomeWord = Field(description="How.", examples=["returned"])
    reason: Reason | None = Field(
        default=None, description="Why it was closed.", examples=["active_again"]
    )
    at: Instant | None = Field(
        default=None, description="When it was closed.", examples=["2026-11-09T10:00:00Z"]
    )
    after_stage: Name | None = Field(
        default=None, description="The last stage that was sent.", examples=["push"]
    )
    converted: YesNo | None = Field(
        default=None, description="Did the user reach the rule's goal?", examples=[True]
    )
    within: Span | None = Field(
        default=None,
        description="At most so long after the last send, the conversion or else the end.",
        examples=["7d"],
    )


class DecisionForm(Form):
    """A step of the ladder that must occur. Keys that are left out are not compared."""

    at: Instant = Field(description="When.", examples=["2026-11-08T12:00:00Z"])
    user: Words = Field(description="About whom.", examples=["u1"])
    rule: Name | None = Field(
        default=None, description="Under which rule.", examples=["premium-winback"]
    )
    decision: DecisionWord = Field(description="What was done.", examples=["would_send"])
    stage: Name | None = Field(default=None, description="About which stage.", examples=["push"])
    reason: Reason | None = Field(default=None, description="Why.", examples=["holdout"])
