"""A test file with a mistake is not run: where the mistake is, and what to write instead."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rehearsal.rule_tests import RULES, suite_of
from worker.model import Reason

WHOLE = """\
rule_files: [shop.yaml]
tick: 1m
tests:
  - name: one
    start: "2026-11-01T00:00:00Z"
    end: "2026-12-01T00:00:00Z"
    users:
      u1: {timezone: UTC, country: FR, addresses: {push: token}, variant: {push: a}}
    given:
      prices: {sms: 0.02 USD}
      spend: [{channel: sms, day: "2026-11-13", amount: 1 USD}]
    events:
      - {at: "2026-11-02T00:00:00Z", user: u1, type: _session.start}
      - {at: "2026-11-03T00:00:00Z", user: u1, change: {opted_out: [sms]}}
    deliveries:
      - {user: u1, stage: push, result: accepted}
    expect_sends:
      - {at: "2026-11-09T00:00:00Z", user: u1, stage: push, template: hello_a}
    expect_states:
      - {at: "2026-11-09T00:00:00Z", user: u1, state: waiting, reason: not_yet_due}
    expect_outcomes:
      - {user: u1, outcome: exhausted, after_stage: push}
    expect_decisions:
      - {at: "2026-11-09T00:00:00Z", user: u1, decision: open, rule: winback}
"""
PUSH = "message: {title: \"Hello {{User.UserAttributes.name|default('you')}}\", body: Come back.}"
WITH_VARIANTS = RULES.replace(
    PUSH,
    "variants: [{name: a, weight: 5, template: hello_a}, {name: b, weight: 5, template: hello_b}]",
)
FILES = {f"templates/hello_{name}.yaml": "title: Hello\nbody: Hello\n" for name in "ab"}


def problems(text: str, rules: str = WITH_VARIANTS) -> list[str]:
    return [str(problem) for problem in suite_of(text, rules, FILES).problems]


def test_the_file_without_a_mistake_has_none() -> None:
    assert problems(WHOLE) == []
    assert suite_of(WHOLE, WITH_VARIANTS, FILES).cases


@pytest.mark.parametrize(
    ("said", "instead", "place", "told"),
    [
        # keys and values
        ("tests:", "test:", "3:1", 'unknown key "test"; did you mean "tests"?'),
        ("expect_sends", "expect_send", "17:5", 'did you mean "expect_sends"?'),
        (
            "timezone: UTC",
            "timezon: UTC",
            "8:12",
            'unknown key "timezon"; did you mean "timezone"?',
        ),
        ("stage: push, template", "stag: push, template", "18:48", 'did you mean "stage"?'),
        ("state: waiting", "state: wating", "20:55", 'did you mean "waiting"?'),
        ("reason: not_yet_due", "reason: not_yet", "20:72", 'did you mean "not_yet_due"?'),
        ("decision: open", "decision: opened", "24:58", 'did you mean "open"?'),
        ("outcome: exhausted", "outcome: exausted", "22:29", 'did you mean "exhausted"?'),
        ("result: accepted", "result: acepted", "16:41", 'did you mean "accepted"?'),
        ("{push: token}", "{puhs: token}", "8:52", 'did you mean "push"?'),
        ("timezone: UTC", "timezone: Europe/Pari", "8:22", 'did you mean "Europe/Paris"?'),
        ("country: FR", "country: France", "8:36", 'did you mean "FR"?'),
        ('day: "2026-11-13"', 'day: "2026-02-30"', "11:35", "is no day; write year, month and day"),
        ("amount: 1 USD", "amount: 1", "11:57", "has no currency"),
        ("amount: 1 USD", "amount: 1 EUR", "11:57", "EUR here, but the rules count in USD"),
        ("sms: 0.02 USD", "sms: 0.02 CHF", "10:21", "CHF here, but the rules count in USD"),
        ("tick: 1m", "tick: often", "2:7", '"often"'),
        ("{push: token}", "{email: foo}", "8:59", 'email: "foo" is no e-mail address; write'),
        ("{push: token}", "{email: [a@x, foo]}", "8:59", '"foo" is no e-mail address'),
        ("{push: token}", "{sms: kim}", "8:57", 'sms: "kim" is no phone number; write + and'),
        # instants
        ('start: "2026-11-01T00:00:00Z"', 'start: "2026-11-01"', "5:12", "has no time and no zone"),
        ('start: "2026-11-01T00', 'start: "2026-11-02T06', "13:14", "before the start of the test"),
        ('end: "2026-12-01', 'end: "2026-11-04', "18:14", "after the end of the test"),
        ('end: "2026-12-01', 'end: "2026-10-04', "6:10", "before the start"),
        (
            "user: u1, type",
            'arrives: "2026-11-01T00:00:00Z", user: u1, type',
            "13:47",
            "before it happened",
        ),
        ("variant: {push: a}", 'last_active: "2026-11-02T00:00:00Z"', "8:79", "make it an event"),
        # names
        (
            "user: u1, type",
            "user: u2, type",
            "13:44",
            'events: there is no user "u2"; allowed here: u1',
        ),
        ("{user: u1, stage", "{user: me, stage", "16:16", "deliveries: there is no user"),
        ("{user: u1, outcome", "{user: me, outcome", "22:16", "expect_outcomes: there is no user"),
        ("rule: winback", "rule: windback", "24:70", 'did you mean "winback"?'),
        (
            "after_stage: push",
            "after_stage: psh",
            "22:53",
            'no such stage "psh"; did you mean "push"?',
        ),
        ("stage: push, result", "stage: fax, result", "16:27", "allowed here: push, email, sms"),
        ("template: hello_a", "template: hello_c", "18:71", 'did you mean "hello_b"?'),
        ("variant: {push: a}", "variant: {push: c}", "8:82", 'the stage has no variant "c"'),
        ("variant: {push: a}", "variant: {psh: a}", "8:76", 'did you mean "push"?'),
        ("variant: {push: a}", "variant: {sms: a}", "8:81", "this stage has none"),
        (
            "[shop.yaml]",
            "[shp.yaml]",
            "1:14",
            'no such rule file "shp.yaml"; did you mean "shop.yaml"?',
        ),
        ("type: _session.start", "type: _session.strat", "13:54", 'did you mean "_session.start"?'),
        # relations
        (", type: _session.start", "", "13:9", "either the `type` of an event, or a `change`"),
        (
            "change: {opted_out: [sms]}",
            "type: a.b, change: {country: FR}",
            "14:9",
            "either the `type`",
        ),
        (
            "change: {",
            "attributes: {a: b}, change: {",
            "14:48",
            "put those of a user into the change",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(
    said: str, instead: str, place: str, told: str
) -> None:
    assert WHOLE.count(said) >= 1
    found = problems(WHOLE.replace(said, instead, 1))
    assert [
        line for line in found if line.startswith(f"shop.test.yaml:{place}: ") and told in line
    ], found


@pytest.mark.parametrize(
    ("said", "instead", "count"),
    [("_session.start", "_sesion.start", 35), ("not_yet_due", "not_yet", len(Reason))],
)
def test_of_many_allowed_words_the_nearest_are_told(said: str, instead: str, count: int) -> None:
    (found,) = problems(WHOLE.replace(said, instead, 1))
    near = found.partition(f'; did you mean "{said}"? the nearest of {count}: {said}, ')[2]
    assert near.partition(";")[0].count(",") == 3


def test_a_test_that_expects_nothing_cannot_fail_and_is_refused() -> None:
    text = WHOLE[: WHOLE.index("    expect_sends")]
    (found,) = problems(text)
    assert "shop.test.yaml:4:5: this test expects nothing, so it cannot fail" in found


def test_a_state_of_several_rules_must_say_of_which() -> None:
    second = RULES.replace("law_windows: ignore", "").replace("rule: winback", "rule: other")
    other = second[: second.index("    prices:")] + second[second.index("    rules:") :]
    suite = suite_of(WHOLE.replace("rule_files: [shop.yaml]\n", ""), WITH_VARIANTS, {
        **FILES, "two.yaml": "\n".join(line[4:] for line in other.splitlines())
    })  # fmt: skip
    (found,) = map(str, suite.problems)
    assert "19:9: there are several rules" in found
    assert "winback" in found
    assert "other" in found


def test_two_tests_of_one_name_are_told() -> None:
    twice = WHOLE + WHOLE[WHOLE.index("  - name") :]
    (found,) = problems(twice)
    assert found.startswith('shop.test.yaml:25:11: the test "one" is there already, in line 4')


def test_only_the_rule_files_that_are_named_are_under_test() -> None:
    broken = {**FILES, "other.yaml": "rules: nonsense\n"}
    assert suite_of(WHOLE, WITH_VARIANTS, broken).problems == ()
    (found, *_) = suite_of(
        WHOLE.replace("[shop.yaml]", "[other.yaml]"), WITH_VARIANTS, broken
    ).problems
    assert found.file == "other.yaml"


def test_what_is_wrong_with_the_rules_is_told_as_check_tells_it() -> None:
    (found,) = problems(WHOLE, WITH_VARIANTS.replace("cooldown: 30d", "cooldown: long"))
    assert found.startswith("shop.yaml:11:")


def test_an_empty_file_is_told() -> None:
    assert problems("") == ["shop.test.yaml:1:1: the file is empty; fill it, or remove it"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mutilation_of_a_file_raises(data: st.DataObject) -> None:
    lines = WHOLE.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        line = data.draw(st.integers(0, len(lines) - 1))
        at = data.draw(st.integers(0, len(lines[line])))
        junk = data.draw(
            st.sampled_from(["", "[", "}", ": ", "- ", '"', "~", "u9", "\t", "&a", "*a"])
        )
        cut = data.draw(st.integers(0, 6))
        lines[line] = lines[line][:at] + junk + lines[line][at + cut :]
    suite = suite_of("\n".join(lines), WITH_VARIANTS, FILES)
    assert suite.problems or suite.cases
    for problem in suite.problems:
        assert problem.line >= 1
        assert problem.column >= 1
