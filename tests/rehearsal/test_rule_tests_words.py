"""What each key of a test does: to the world of the test, and to what it demands."""

from __future__ import annotations

import pytest

from tests.rehearsal.rule_tests import RULES, outcome_of, passes, sends
from worker.rules.instants import instant

VISIT = 'events: [{at: "2026-11-01T12:00:00Z", user: u, type: _session.start}]\n'
"""A week later, on the 8th at noon, the ladder begins."""
WHOLE = ["08T12:00:00 push", "10T12:00:00 email", "13T12:00:00 sms"]
NOTHING_EXPECTED = "expect_sends: []\n"


def story_of(*, events: str = "", more: str = "", **user: str) -> list[str]:
    """The sends to a user with these keys, who was here on the 1st at noon, and these events."""
    keys = {"timezone": "UTC", "addresses": "{push: token, email: u@x.test, sms: '+33600000000'}"}
    told = ", ".join(f"{key}: {value}" for key, value in (keys | user).items())
    head = f'start: "2026-11-01T00:00:00Z"\nusers:\n  u: {{{told}}}\n'
    visit = '{at: "2026-11-01T12:00:00Z", user: u, type: _session.start}'
    listed = f"events: [{', '.join(filter(None, [visit, events]))}]\n"
    return sends(listed + more + NOTHING_EXPECTED, head=head)


# --- users and events -----------------------------------------------------------------------------


def test_a_user_who_falls_silent_walks_the_ladder() -> None:
    assert story_of() == WHOLE


def test_a_user_known_before_the_start_was_active_then() -> None:
    head = """\
        start: "2026-11-05T00:00:00Z"
        users: {u: {timezone: UTC, addresses: {push: t}, last_active: "2026-11-01T12:00:00Z"}}
        """
    assert sends(NOTHING_EXPECTED, head=head) == ["08T12:00:00 push"]


def test_a_user_whose_silence_is_over_already_begins_at_the_start() -> None:
    head = """\
        start: "2026-11-15T00:00:00Z"
        users: {u: {timezone: UTC, addresses: {push: t}, last_active: "2026-11-01T12:00:00Z"}}
        """
    assert sends(NOTHING_EXPECTED, head=head) == ["15T00:00:00 push"]


def test_a_user_nobody_saw_active_gets_nothing_and_is_unknown() -> None:
    body = 'expect_states: [{at: "2026-11-02T00:00:00Z", user: u, state: unknown}]\n'
    verdict, story = outcome_of(body)
    assert verdict.passed
    assert story.sends == []


def test_an_event_that_is_no_activity_is_none() -> None:
    assert story_of(events='{at: "2026-11-03T00:00:00Z", user: u, type: cart.opened}') == WHOLE


def test_an_event_of_one_s_own_counts_when_the_rules_say_so() -> None:
    rules = RULES.replace("rules:", 'defaults: {activity: {events: ["cart.*"]}}\n    rules:', 1)
    body = 'events: [{at: "2026-11-03T12:00:00Z", user: u, type: cart.opened}]\n' + NOTHING_EXPECTED
    assert sends(body, rules)[0] == "10T12:00:00 push"


def test_a_late_event_is_known_when_it_arrives_and_counts_for_when_it_happened() -> None:
    times = 'at: "2026-11-04T09:00:00Z", arrives: "2026-11-09T00:00:00Z"'
    late = f"{{{times}, user: u, type: _session.start}}"
    assert story_of(events=late) == ["08T12:00:00 push"]


def test_an_event_at_the_very_instant_a_stage_is_due_comes_first() -> None:
    back = '{at: "2026-11-10T12:00:00Z", user: u, type: _session.start}'
    assert story_of(events=back) == ["08T12:00:00 push"]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("opted_out: [email]", ["08T12:00:00 push", "10T12:00:00 sms"]),
        ("inactive: [email, sms]", ["08T12:00:00 push"]),
        ("opted_out: [push, email, sms]", ["08T12:00:00 push"]),
        ("addresses: {email: []}", ["08T12:00:00 push", "10T12:00:00 sms"]),
        ("timezone: Asia/Tokyo", WHOLE),
    ],
)
def test_the_address_book_may_change_on_the_way(change: str, left: list[str]) -> None:
    event = f'{{at: "2026-11-09T00:00:00Z", user: u, change: {{{change}}}}}'
    assert story_of(events=event) == left


def test_a_new_address_takes_the_place_of_the_one_before() -> None:
    body = """\
        events:
          - {at: "2026-11-01T12:00:00Z", user: u, type: _session.start}
          - {at: "2026-11-09T00:00:00Z", user: u, change: {addresses: {email: [new@x.test]}}}
        expect_sends:
          - {at: "2026-11-08T12:00:00Z", user: u, stage: push, address: token}
          - {at: "2026-11-10T12:00:00Z", user: u, stage: email, address: New@x.test}
          - {at: "2026-11-13T12:00:00Z", user: u, stage: sms, address: "+33 600 000 000"}
        """
    assert passes(body)
    assert not passes(body.replace("New@x", "u@x"))


def test_several_addresses_of_a_channel_are_one_send() -> None:
    body = f"""\
        {VISIT.strip()}
        expect_sends: [{{at: "2026-11-08T12:00:00Z", user: u, stage: push, address: [a, b]}}]
        """
    head = """\
        start: "2026-11-01T00:00:00Z"
        users: {u: {timezone: UTC, addresses: {push: [a, b]}}}
        """
    assert passes(body, head=head)
    assert not passes(body.replace("[a, b]", "[a]"), head=head)
    assert not passes(body.replace("[a, b]", "[a, b, c]"), head=head)


@pytest.mark.parametrize(
    ("event", "left"),
    [
        ("_email.unsubscribe", ["08T12:00:00 push", "10T12:00:00 sms"]),
        ("_email.complaint", ["08T12:00:00 push", "10T12:00:00 sms"]),
        ("_email.hardbounce", ["08T12:00:00 push", "10T12:00:00 sms"]),
        ("_email.softbounce", WHOLE),
        ("_email.delivered", WHOLE),
        ("_email.click", ["08T12:00:00 push"]),
        ("_SMS.OPTOUT", WHOLE[:2]),
        ("_SMS.FAILURE", WHOLE),
        ("_campaign.send", WHOLE),
    ],
)
def test_mail_and_sms_events_are_about_the_user_s_address(event: str, left: list[str]) -> None:
    assert story_of(events=f'{{at: "2026-11-09T00:00:00Z", user: u, type: {event}}}') == left


def test_the_attributes_of_an_event_are_read_too() -> None:
    status = "attributes: {record_status: OPTED_OUT}"
    said = f'{{at: "2026-11-09T00:00:00Z", user: u, type: _SMS.FAILURE, {status}}}'
    assert story_of(events=said) == WHOLE[:2]


def test_a_mail_event_of_somebody_without_an_address_is_told_of() -> None:
    body = (
        'events: [{at: "2026-11-02T00:00:00Z", user: u, type: _email.click}]\n' + NOTHING_EXPECTED
    )
    head = 'start: "2026-11-01T00:00:00Z"\nusers: {u: {timezone: UTC}}\n'
    verdict, _ = outcome_of(body, head=head)
    assert not verdict.passed
    (told,) = verdict.troubles
    assert told.startswith("the _email.click of u at 2026-11-02T00:00:00Z could not be used: no_id")


# --- the provider ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "came"),
    [
        ("accepted", WHOLE),
        ("permanent_failure", ["08T12:00:00 push", "08T12:00:00 email", "11T12:00:00 sms"]),
        ("opted_out", ["08T12:00:00 push", "08T12:00:00 email", "11T12:00:00 sms"]),
        ("uncertain", WHOLE),
    ],
)
def test_the_provider_answers_as_told(result: str, came: list[str]) -> None:
    more = f"deliveries: [{{user: u, stage: push, result: {result}, code: SOME_WORD}}]\n"
    assert story_of(more=more) == came


def test_calls_that_are_repeated_are_one_send_at_the_time_of_the_last() -> None:
    body = f"""\
        {VISIT.strip()}
        deliveries: [{{user: u, stage: push, result: throttled, times: 2}}]
        end: "2026-11-09T00:00:00Z"
        expect_sends:
          - {{at: "2026-11-08T12:00:00Z", within: 10s, user: u, stage: push, attempts: 3}}
        """
    assert passes(body)
    assert not passes(body.replace("within: 10s, ", ""))
    assert not passes(body.replace("attempts: 3", "attempts: 2"))
    assert not passes(body.replace("times: 2", "times: 1"))


def test_a_passing_fault_that_does_not_pass_ends_in_the_next_stage() -> None:
    more = "deliveries: [{user: u, stage: push, result: temporary_failure}]\n"
    stages = [send.split()[1] for send in story_of(more=more)]
    assert stages == ["push", "email", "sms"]


def test_one_entry_after_the_other_and_each_for_its_own_address_and_rule() -> None:
    body = f"""\
        {VISIT.strip()}
        deliveries:
          - {{user: u, stage: push, address: other, result: permanent_failure}}
          - {{user: u, stage: push, rule: winback, result: permanent_failure}}
        expect_decisions:
          - {{at: "2026-11-08T12:00:00Z", user: u, decision: skip, reason: permanent_failure}}
        """
    assert passes(body)
    assert not passes(body.replace("rule: winback, ", "address: another, "))


# --- what is given --------------------------------------------------------------------------------


def test_rules_are_tested_as_if_live_unless_they_are_meant_as_written() -> None:
    assert "mode:" not in RULES
    assert story_of() == WHOLE
    assert story_of(more="given: {mode: as_written}\n") == []
    assert passes(
        VISIT
        + """\
        given: {mode: as_written}
        expect_sends: []
        expect_decisions:
          - {at: "2026-11-08T12:00:00Z", user: u, decision: would_send, reason: would_send}
        """.replace("        ", "")
    )


def test_a_rollout_leaves_nobody_out_unless_it_is_meant_as_written() -> None:
    rules = RULES.replace("cooldown:", "rollout: {percent: 1, salt: s}\n        cooldown:")
    assert sends(VISIT + NOTHING_EXPECTED, rules) == WHOLE
    assert sends(VISIT + "given: {rollout: as_written}\n" + NOTHING_EXPECTED, rules) == []


def test_holdouts_hold_out_only_where_a_rule_has_one() -> None:
    assert story_of(holdout="in") == WHOLE
    rules = RULES.replace("cooldown:", "holdout: {percent: 1}\n        cooldown:")
    head = (
        'start: "2026-11-01T00:00:00Z"\nusers: {u: {timezone: UTC, addresses: {push: t}HOLDOUT}}\n'
    )
    for side, came in ((", holdout: in", []), (", holdout: out", ["08T12:00:00 push"])):
        assert sends(VISIT + NOTHING_EXPECTED, rules, head.replace("HOLDOUT", side)) == came
    everybody = rules.replace("percent: 1}", "percent: 99}")
    assert sends(VISIT + NOTHING_EXPECTED, everybody, head.replace("HOLDOUT", "")) != []


def test_prices_stand_in_for_those_of_the_rules_in_every_country() -> None:
    rules = RULES.replace("channel: sms", "channel: sms\n            max_price: 0.08 USD")
    assert sends(VISIT + NOTHING_EXPECTED, rules) == WHOLE[:2]
    cheap = "given: {prices: {sms: 0.08 USD}}\n"
    assert sends(VISIT + cheap + NOTHING_EXPECTED, rules) == WHOLE


@pytest.mark.parametrize(
    ("zone", "day", "deferred"),
    [
        ("UTC", "13", True),
        ("UTC", "12", False),
        ("Asia/Tokyo", "13", True),
        ("Asia/Tokyo", "14", False),
        ("America/Los_Angeles", "13", True),
        ("America/Los_Angeles", "12", False),
    ],
)
def test_money_spent_before_is_gone_on_that_day_of_the_budget(
    zone: str, day: str, deferred: bool
) -> None:
    budget = f"limits: {{budget: [{{channel: sms, max: 10 USD, per: 1d, timezone: {zone}}}]}}"
    rules = RULES.replace("rules:", f"{budget}\n    rules:", 1)
    spent = f'given: {{spend: [{{channel: sms, day: "2026-11-{day}", amount: 9.95 USD}}]}}\n'
    came = sends(VISIT + spent + NOTHING_EXPECTED, rules)
    assert (came != WHOLE) is deferred
    assert came[:2] == WHOLE[:2]


def test_silences_hold_what_they_fit_while_they_last() -> None:
    silence = """\
given:
  silences:
    - {matchers: ['channel="email"'], from: "2026-11-10T00:00:00Z", until: "2026-11-11T06:00:00Z"}
"""
    assert story_of(more=silence) == ["08T12:00:00 push", "11T06:00:00 email", "14T06:00:00 sms"]


# --- what is expected -----------------------------------------------------------------------------

FULL = f"""\
{VISIT.strip()}
expect_sends:
  - {{at: "2026-11-08T12:00:00Z", user: u, stage: push, title: Hello you, body: Come back.}}
  - {{at: "2026-11-10T12:00:00Z", user: u, stage: email, contains: [Hello, back]}}
  - {{at: "2026-11-13T12:00:00Z", user: u, stage: sms}}
expect_states:
  - {{at: "2026-11-08T11:59:59Z", user: u, state: active, reason: not_yet_due}}
  - {{at: "2026-11-09T00:00:00Z", user: u, state: waiting, stage: email}}
  - {{at: "2026-11-09T00:00:00Z", user: u, state: waiting, until: "2026-11-10T12:00:00Z"}}
  - {{at: "2026-11-13T12:00:00Z", user: u, state: cooldown, until: "2026-12-13T12:00:00Z"}}
  - {{at: "2026-12-13T12:00:00Z", user: u, state: done, reason: once_per_silence}}
expect_outcomes:
  - {{user: u, outcome: exhausted, reason: ladder_done, at: "2026-11-13T12:00:00Z"}}
  - {{user: u, outcome: exhausted, after_stage: sms, converted: false}}
expect_decisions:
  - {{at: "2026-11-08T12:00:00Z", user: u, decision: open, reason: inactive}}
  - {{at: "2026-11-08T12:00:00Z", user: u, decision: send, stage: push, rule: winback}}
  - {{at: "2026-11-08T12:00:00Z", user: u, decision: sent, stage: push}}
  - {{at: "2026-11-13T12:00:00Z", user: u, decision: close}}
"""


def test_everything_at_once() -> None:
    assert passes(FULL)


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ('12:00:00Z", user: u, stage: push', '12:00:01Z", user: u, stage: push'),
        ("Hello you", "Hello"),
        ("body: Come back.", "body: Come"),
        ("[Hello, back]", "[Hello, bac, forth]"),
        ('  - {at: "2026-11-13T12:00:00Z", user: u, stage: sms}\n', ""),
        ("stage: sms}\n", 'stage: sms}\n  - {at: "2026-11-14T12:00:00Z", user: u, stage: sms}\n'),
        ("state: active", "state: waiting"),
        ("reason: not_yet_due", "reason: cooldown"),
        ("state: waiting, stage: email", "state: waiting, stage: sms"),
        ('until: "2026-11-10T12:00:00Z"', 'until: "2026-11-10T12:00:01Z"'),
        ("state: done", "state: cooldown"),
        ("outcome: exhausted", "outcome: returned"),
        ("outcome: exhausted", "outcome: converted"),
        ("reason: ladder_done", "reason: active_again"),
        ("after_stage: sms", "after_stage: push"),
        ("converted: false", "converted: true"),
        ('ladder_done, at: "2026-11-13T12:00:00Z"', 'ladder_done, at: "2026-11-13T12:00:01Z"'),
        ("decision: open", "decision: skip"),
        ("reason: inactive", "reason: ladder_done"),
        ('12:00:00Z", user: u, decision: send,', '12:00:01Z", user: u, decision: send,'),
        ("decision: sent, stage: push", "decision: sent, stage: email"),
        ("decision: close", "decision: hold"),
    ],
)
def test_each_word_of_an_expectation_is_held_against_what_came(said: str, instead: str) -> None:
    assert said in FULL
    assert not passes(FULL.replace(said, instead, 1))


def test_without_expect_sends_sends_are_not_looked_at() -> None:
    assert passes(VISIT + "expect_outcomes: [{user: u, outcome: exhausted}]\n")


@pytest.mark.parametrize(
    ("within", "bought", "holds"),
    [("1d", "09T00:00:00Z", True), ("1d", "09T13:00:00Z", False), ("3d", "11T13:00:00Z", False)],
)
def test_a_conversion_must_come_in_time(within: str, bought: str, *, holds: bool) -> None:
    converted = "false" if bought.startswith("11") else "true"  # the rule gives it three days
    body = f"""\
        events:
          - {{at: "2026-11-01T12:00:00Z", user: u, type: _session.start}}
          - {{at: "2026-11-08T13:00:00Z", user: u, type: _session.start}}
          - {{at: "2026-11-{bought}", user: u, type: purchase}}
        expect_outcomes:
          - {{user: u, outcome: converted, after_stage: push, within: {within}}}
          - {{user: u, outcome: returned, converted: {converted}}}
        """
    assert passes(body) is holds


def test_a_test_ends_when_everybody_had_time_to_fall_silent_and_every_ladder_is_over() -> None:
    _, story = outcome_of(VISIT + NOTHING_EXPECTED)
    assert instant(story.end_ms) == "2026-11-13T12:00:00Z"
    _, story = outcome_of(NOTHING_EXPECTED)
    assert instant(story.end_ms) == "2026-11-08T00:00:00Z"


SHORT_REST = RULES.replace("cooldown: 30d", "cooldown: 1h")
BACK = """\
events:
  - {at: "2026-11-01T12:00:00Z", user: u, type: _session.start}
  - {at: "2026-11-09T12:00:00Z", user: u, type: _session.start}
"""


def test_the_next_ladder_of_somebody_who_came_back_is_told_from_where_the_test_looks_at_it() -> (
    None
):
    first = '  - {at: "2026-11-08T12:00:00Z", user: u, stage: push}\n'
    second = first.replace("-08T", "-16T")
    later = second.replace("-16T", "-18T").replace("push", "email")
    whole = second + later + second.replace("-16T", "-21T").replace("push", "sms")
    begun = BACK + "expect_sends:\n" + first
    assert passes(begun, SHORT_REST)
    assert not passes(begun + second, SHORT_REST)
    assert not passes(begun + second + later, SHORT_REST)
    assert passes(begun + whole, SHORT_REST)
    assert passes('end: "2026-11-16T12:00:00Z"\n' + begun)
    assert not passes('end: "2026-11-16T12:00:00Z"\n' + begun, SHORT_REST)
    assert passes('end: "2026-11-16T12:00:00Z"\n' + begun + second, SHORT_REST)


def test_the_first_ladder_of_others_is_told_however_often_somebody_came_back() -> None:
    head = """\
        start: "2026-11-01T00:00:00Z"
        users:
          u: {timezone: UTC, addresses: {push: a}}
          v: {timezone: UTC, addresses: {push: b}, last_active: "2026-10-31T00:00:00Z"}
        """
    late = '  - {at: "2026-11-02T12:00:00Z", user: v, type: _session.start}\n'
    body = BACK + late + "expect_sends: []\n"
    assert sends(body, SHORT_REST, head) == ["08T12:00:00 push", "09T12:00:00 push"]
    assert sends(late.join(["events:\n", "expect_sends: []\n"]), SHORT_REST, head) != []


def test_a_test_ends_where_it_says() -> None:
    assert sends(VISIT + 'end: "2026-11-10T12:00:00Z"\n' + NOTHING_EXPECTED) == WHOLE[:2]
    assert sends(VISIT + 'end: "2026-11-10T11:59:59Z"\n' + NOTHING_EXPECTED) == WHOLE[:1]


def test_the_order_in_which_events_are_written_does_not_matter() -> None:
    visits = [
        '{at: "2026-11-01T12:00:00Z", user: u, type: _session.start}',
        '{at: "2026-11-09T12:00:00Z", user: u, type: _session.start}',
        '{at: "2026-11-09T13:00:00Z", user: u, change: {opted_out: [email]}}',
    ]
    told = [
        sends(f"events: [{', '.join(order)}]\n{NOTHING_EXPECTED}")
        for order in (visits, visits[::-1])
    ]
    assert told == [["08T12:00:00 push"]] * 2


def test_a_send_to_somebody_no_expectation_is_about_fails_the_test() -> None:
    assert not passes(VISIT + NOTHING_EXPECTED)
    body = """\
        events:
          - {at: "2026-11-01T12:00:00Z", user: u, type: _session.start}
          - {at: "2026-11-01T12:00:00Z", user: v, type: _session.start}
        expect_sends: [{at: "2026-11-08T12:00:00Z", user: u, stage: push}]
        """
    head = """\
        start: "2026-11-01T00:00:00Z"
        users:
          u: {timezone: UTC, addresses: {push: a}}
          v: {timezone: UTC, addresses: {push: b}}
        """
    assert not passes(body, head=head)
    assert passes(body, head=head.replace(", addresses: {push: b}", ""))


def test_because_is_about_the_very_stage_before() -> None:
    body = """\
        events: [{at: "2026-11-01T12:00:00Z", user: u, type: _session.start}]
        expect_sends:
          - {at: "2026-11-08T12:00:00Z", user: u, stage: email, because: no_address}
          - {at: "2026-11-11T12:00:00Z", user: u, stage: smsBECAUSE}
        """
    head = """\
        start: "2026-11-01T00:00:00Z"
        users: {u: {timezone: UTC, addresses: {email: u@x.test, sms: "+33600000000"}}}
        """
    assert passes(body.replace("BECAUSE", ""), head=head)
    assert not passes(body.replace("BECAUSE", ", because: no_address"), head=head)


def test_an_answer_for_another_rule_is_not_for_this_one() -> None:
    second = RULES[RULES.index("      - rule: winback") :].replace("rule: winback", "rule: other")
    rules = RULES.rstrip() + "\n" + second.replace("inactive_for: 7d", "inactive_for: 8d")
    body = """\
        events: [{at: "2026-11-01T12:00:00Z", user: u, type: _session.start}]
        deliveries: [{user: u, rule: other, stage: push, result: permanent_failure}]
        end: "2026-11-09T12:00:00Z"
        expect_sends:
          - {at: "2026-11-08T12:00:00Z", user: u, stage: push, rule: winback}
          - {at: "2026-11-09T12:00:00Z", user: u, stage: push, rule: other}
          - {at: "2026-11-09T12:00:00Z", user: u, stage: email, rule: other}
        """
    head = """\
        start: "2026-11-01T00:00:00Z"
        users: {u: {timezone: UTC, addresses: {push: token, email: u@x.test}}}
        """
    assert passes(body, rules, head)
    # A dead token is dead for every rule: what an answer does is not for one rule alone.
    dead = body.replace("rule: other, stage: push, result", "rule: winback, stage: push, result")
    assert not passes(dead, rules, head)


def test_an_empty_list_takes_an_attribute_away() -> None:
    rules = RULES.replace("cooldown:", "match: ['plan=\"gold\"']\n        cooldown:")
    head = """\
        start: "2026-11-01T00:00:00Z"
        users: {u: {timezone: UTC, addresses: {push: token}, attributes: {plan: gold, x: y}}}
        """
    change = '{at: "2026-11-02T00:00:00Z", user: u, change: {attributes: {plan: []}}}'
    visit = '{at: "2026-11-01T12:00:00Z", user: u, type: _session.start}'
    assert sends(f"events: [{visit}]\n{NOTHING_EXPECTED}", rules, head) == ["08T12:00:00 push"]
    assert sends(f"events: [{visit}, {change}]\n{NOTHING_EXPECTED}", rules, head) == []


def test_an_expectation_that_says_little_leaves_its_send_to_one_that_says_more() -> None:
    second = RULES[RULES.index("      - rule: winback") :].replace("rule: winback", "rule: other")
    rules = RULES.rstrip() + "\n" + second
    body = """\
        events: [{at: "2026-11-01T12:00:00Z", user: u, type: _session.start}]
        end: "2026-11-08T12:00:00Z"
        expect_sends:
          - {at: "2026-11-08T12:00:00Z", user: u, stage: push}
          - {at: "2026-11-08T12:00:00Z", user: u, stage: push, rule: winback}
        """
    assert passes(body, rules)
    assert passes(body.replace("rule: winback", "rule: other"), rules)


TWO_RULES = """\
    apiVersion: v1
    law_windows: ignore
    quiet_hours: [{name: night, from: "21:00", to: "08:00"}]
    rules:
      - rule: winback
        match: ['plan="gold"']
        inactive_for: 7d
        stages:
          - {name: push, channel: push, message: {title: Hello, body: Come back.}}
      - rule: other
        match: ['plan="free"']
        inactive_for: 7d
        stages:
          - {name: mail, channel: email, message: {subject: Hello, text: Come back.}}
    """


def test_what_came_instead_is_of_the_rule_that_was_meant_and_names_it() -> None:
    head = """\
        start: "2026-11-01T00:00:00Z"
        users:
          u: {timezone: UTC, attributes: {plan: gold}, addresses: {push: t, email: u@x.test}}
        """
    body = """\
        events: [{at: "2026-11-01T22:00:00Z", user: u, type: _session.start}]
        expect_sends:
          - {at: "2026-11-08T22:00:00Z", user: u, stage: mail}
          - {at: "2026-11-09T09:00:00Z", user: u, stage: push}
        expect_decisions:
          - {at: "2026-11-08T22:00:00Z", user: u, decision: send, reason: inactive}
          - {at: "2026-11-08T22:00:00Z", user: u, decision: skip, stage: push}
        """
    verdict, _ = outcome_of(body, TWO_RULES, head)
    sent, decided = verdict.sections
    missing, late = sent.rows
    assert missing.note == (
        "the last word of rule other: 2026-11-08T22:00:00Z u wait reason=not_matched"
    )
    assert late.got == "2026-11-09T08:00:00Z u push rule=winback deferred_by=quiet_hours"
    held = "2026-11-08T22:00:00Z u hold rule=winback stage=push reason=quiet_hours"
    assert [row.got for row in decided.rows][1:] == [held]
    assert "rule=winback" in decided.rows[0].got


def test_a_decision_is_held_against_the_rule_that_has_its_stage() -> None:
    sms = "\n          - {name: sms, after: 1d, channel: sms, message: {body: Come back.}}"
    push = "message: {title: Hello, body: Come back.}}"
    rules = TWO_RULES.replace("rule: other", "rule: other\n        priority: 5")
    rules = rules.replace('plan="free"', 'plan="gold"').replace(push, push + sms)
    head = """\
        start: "2026-11-01T00:00:00Z"
        users:
          u: {timezone: UTC, attributes: {plan: gold}, addresses: {push: t, email: u@x.test}}
        """
    body = """\
        events: [{at: "2026-11-01T22:00:00Z", user: u, type: _session.start}]
        expect_decisions: [{at: "2026-11-08T22:00:00Z", user: u, decision: hold, stage: sms}]
        """
    verdict, _ = outcome_of(body, rules, head)
    (row,) = verdict.sections[0].rows
    assert row.got == "2026-11-08T22:00:00Z u hold rule=winback stage=push reason=quiet_hours"


def test_every_rule_gets_its_time_within_one_silence() -> None:
    rules = TWO_RULES.replace("free", "gold")
    head, _, tail = rules.rpartition("inactive_for: 7d")
    user = "{timezone: UTC, attributes: {plan: gold}, addresses: {push: t, email: u@x.test}}"
    world = f'start: "2026-11-01T00:00:00Z"\nusers:\n  u: {user}\n'
    came = sends(VISIT + NOTHING_EXPECTED, f"{head}inactive_for: 20d{tail}", world)
    assert came == ["08T12:00:00 push", "21T12:00:00 mail"]
    seen = 'expect_sends: [{at: "2026-11-09T00:00:00Z", user: u, stage: push}]\n'
    assert sends(VISIT + seen, f"{head}inactive_for: 20d{tail}", world) == came
