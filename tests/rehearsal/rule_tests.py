"""Short ways to write rules and their tests in a test, and to see what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent, indent

from worker.rules.folder import Kept
from worker.rules.instants import instant
from worker.ruletests.cases import Suite, read_suite
from worker.ruletests.story import Story
from worker.ruletests.timeline import play_case
from worker.ruletests.verdict import Verdict, judge

RULES = """\
    apiVersion: v1
    law_windows: ignore
    prices:
      push: {default: 0.01 USD}
      email: {default: 0.01 USD}
      sms: {default: 0.05 USD, FR: 0.09 USD}
    rules:
      - rule: winback
        inactive_for: 7d
        max_inactive: 60d
        cooldown: 30d
        exit_on: [activity, opt_out_all, user_deleted]
        conversion: {event: "purchase", within: 3d}
        stages:
          - name: push
            channel: push
            message: {title: "Hello {{User.UserAttributes.name|default('you')}}", body: Come back.}
          - name: email
            after: 2d
            channel: email
            message: {subject: Hello, text: Come back.}
          - name: sms
            after: 3d
            channel: sms
            message: {body: Come back.}
    """
"""A live ladder of three stages with no quiet hours: what happens, happens at round times."""

HEAD = """\
    start: "2026-11-01T00:00:00Z"
    users:
      u: {timezone: UTC, addresses: {push: token, email: u@example.com, sms: "+33600000000"}}
    """


def suite_of(tests: str, rules: str = RULES, files: Mapping[str, str] | None = None) -> Suite:
    """A whole test file beside a rule file (and others, by name)."""
    contents = {"shop.yaml": dedent(rules), **(files or {})}
    data = {name: text.encode() for name, text in contents.items()}
    return read_suite(dedent(tests).encode(), "shop.test.yaml", Kept(data))


def suite_with(body: str, rules: str = RULES, head: str = HEAD) -> Suite:
    """The keys of one test as a test file."""
    lines = indent(dedent(head) + dedent(body), "    ").lstrip()
    suite = suite_of(f"tests:\n  - name: it\n    {lines}", rules)
    assert suite.problems == (), "\n".join(map(str, suite.problems))
    return suite


def outcome_of(body: str, rules: str = RULES, head: str = HEAD) -> tuple[Verdict, Story]:
    """What comes of the keys of one test."""
    suite = suite_with(body, rules, head)
    assert suite.rules is not None
    (case,) = suite.cases
    story = play_case(case.form, suite.rules)
    return judge(case, story), story


def passes(body: str, rules: str = RULES, head: str = HEAD) -> bool:
    """Does a test with these keys pass?"""
    return outcome_of(body, rules, head)[0].passed


def sends(body: str, rules: str = RULES, head: str = HEAD) -> list[str]:
    """The sends of a story, such as `08T12:00:00 push`: day, time, stage. All users together."""
    _, story = outcome_of(body, rules, head)
    return [_told(send.at_ms, send.stage) for send in story.sends]


def _told(at_ms: int, stage: str) -> str:
    return f"{instant(at_ms)[8:-1]} {stage}"
