"""The shape of a test file: every key, its kind, its default, its meaning. Pure.

Read with the machinery of rule files (`rules/document.py`, `rules/forms.py`). Relations between
values (a user that nobody introduced, an event before the start) are in `case_checks.py`; what
people read is docs/testing-rules.md.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from worker.rules.durations import parse_duration
from worker.rules.forms import Form, Instant, Words, refused
from worker.rules.json_schema import schema_of
from worker.rules.problems import Refused
from worker.ruletests.case_expected import DecisionForm, OutcomeForm, SendForm, StateForm
from worker.ruletests.case_world import LISTED_MAX, DeliveryForm, EventForm, GivenForm, UserForm

TESTS_MAX = 1_000


def _tick(text: str) -> str:
    try:
        parse_duration(text)
    except Refused as refusal:
        raise refused(*refusal.findings) from refusal
    return text


class CaseForm(Form):
    """One test: a story, and what must come of it."""

    name: Words = Field(
        description="What it shows; unique in the file.",
        examples=["return between push and email stops the ladder"],
    )
    start: Instant = Field(
        description="When the story begins; users are known from here on.",
        examples=["2026-11-01T00:00:00Z"],
    )
    end: Instant | None = Field(
        default=None,
        description="When it ends. Left out: when everybody had time to fall silent, and every "
        "ladder has ended.",
        examples=["2026-12-24T00:00:00Z"],
    )
    users: Annotated[dict[Words, UserForm], Field(min_length=1, max_length=LISTED_MAX)] = Field(
        description="Who there is, by id.",
        examples=[{"u1": {"timezone": "UTC", "addresses": {"push": "token1"}}}],
    )
    events: Annotated[list[EventForm], Field(max_length=LISTED_MAX)] = Field(
        default=[],
        description="What the stream says, in any order.",
        examples=[[{"at": "2026-11-01T12:00:00Z", "user": "u1", "type": "_session.start"}]],
    )
    deliveries: Annotated[list[DeliveryForm], Field(max_length=LISTED_MAX)] = Field(
        default=[],
        description="What the provider answers.",
        examples=[[{"user": "u1", "stage": "push", "result": "permanent_failure"}]],
    )
    given: GivenForm = Field(
        default_factory=GivenForm,
        description="The world it begins in.",
        examples=[{"mode": "as_written"}],
    )
    expect_sends: Annotated[list[SendForm], Field(max_length=LISTED_MAX)] | None = Field(
        default=None,
        description="All stages that go out, and no others; an empty list: none does.",
        examples=[[{"at": "2026-11-08T12:00:00Z", "user": "u1", "stage": "push"}]],
    )
    expect_states: Annotated[list[StateForm], Field(max_length=LISTED_MAX)] = Field(
        default=[],
        description="Where users stand at instants.",
        examples=[[{"at": "2026-11-02T00:00:00Z", "user": "u1", "state": "active"}]],
    )
    expect_outcomes: Annotated[list[OutcomeForm], Field(max_length=LISTED_MAX)] = Field(
        default=[],
        description="Ends of ladders that must occur.",
        examples=[[{"user": "u1", "outcome": "returned"}]],
    )
    expect_decisions: Annotated[list[DecisionForm], Field(max_length=LISTED_MAX)] = Field(
        default=[],
        description="Steps of the ladder that must occur.",
        examples=[[{"at": "2026-11-08T12:00:00Z", "user": "u1", "decision": "open"}]],
    )


class TestFile(Form):
    """One file of tests, beside the rules it is about."""

    __test__ = False  # pytest takes classes of this name for its own

    rule_files: Annotated[list[Words], Field(min_length=1, max_length=LISTED_MAX)] | None = Field(
        default=None,
        description="The rule files under test. Left out: all of the folder.",
        examples=[["winback.yaml"]],
    )
    tick: Annotated[str, AfterValidator(_tick)] | None = Field(
        default=None,
        description="Taken and not used: the clock jumps to what happens next.",
        examples=["1m"],
    )
    tests: Annotated[list[CaseForm], Field(min_length=1, max_length=TESTS_MAX)] = Field(
        description="The tests.",
        examples=[
            [
                {
                    "name": "silent for a week",
                    "start": "2026-11-01T00:00:00Z",
                    "users": {"u1": {"last_active": "2026-11-01T12:00:00Z"}},
                    "expect_sends": [],
                }
            ]
        ],
    )


def schema_of_tests() -> dict[str, Any]:
    """The JSON Schema (draft 7) of a test file, for editors."""
    return schema_of(TestFile, "Rule tests of comeback")
