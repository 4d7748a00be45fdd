"""The whole rule language: every word arrives as a value, and says what docs/rules.md promises."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import RulesError
from worker.model import DAY_MS, HOUR_MS, SECOND_MS, Channel, UserView
from worker.rules.amounts import MICROS, parse_amount
from worker.rules.facts import render_context
from worker.rules.instants import instant, parse_instant
from worker.rules.law import law_windows
from worker.rules.limits import Budget, OnHit, SendRate
from worker.rules.load import inspect, load, load_contents
from worker.rules.problems import Refused
from worker.rules.ruleset import (
    Clocked,
    ExitOn,
    Goal,
    OnEdit,
    OnFailed,
    OnUncertain,
    OnUndeliverable,
    RuleGoal,
    RuleSet,
    Share,
    open_but,
)

NOBODY = render_context(UserView(user_id="u", last_active_ms=None))

WINBACK = """\
apiVersion: v1
defaults:
  timezone: UTC
  activity:
    events: ["_session.start", "app.*"]
    not_events: ["_campaign.*", "_email.*", "_SMS.*"]
    clock: event_time
    max_future_skew: 10m

limits:
  user:
    - {max: 1, per: 1d, window: calendar}
    - {max: 3, per: 7d, window: rolling}
    - {min_gap: 4h}
  send_rate:
    - {max: 500, per: 1s}
    - {channel: sms, max: 20, per: 1s}
  budget:
    - {channel: sms, max: 200 USD, per: 1d, timezone: UTC, on_exhausted: defer}

prices:
  sms: {default: 0.05 USD, US: 0.00581 USD}

quiet_hours:
  - name: default
    from: "21:00"
    to: "08:00"
    clock: user_local
    unknown_timezone: {assume: [country, phone_prefix], else: defer_to_utc_midday}
    on_hit: defer
  - name: us-texas-sms
    match: ['country="US"', 'region="TX"', 'channel="sms"']
    allow: {mon-sat: "09:00-21:00", sun: "12:00-21:00"}

rules:
  - rule: premium-winback
    revision: 7
    owner: growth-team
    labels: {goal: winback, severity: promo}
    priority: 50
    match: ['plan="premium"', 'consent.marketing="true"']
    inactive_for: 7d
    max_inactive: 60d
    cooldown: 30d
    exit_on: [activity, opt_out_all, user_deleted, match_lost]
    holdout: {percent: 10, salt: winback-2026, log_as: would_send}
    conversion: {event: "_session.start", within: 7d, compare: intent_to_treat}
    on_edit: finish_old
    stages:
      - name: push
        channel: push
        variants:
          - {name: a, weight: 50, template: winback_push_a}
          - {name: b, weight: 50, template: winback_push_b}
        ttl: 12h
        on_undeliverable: next_stage
      - name: email
        after: 2d
        channel: email
        template: winback_email
        on_undeliverable: next_stage
      - name: sms
        after: 3d
        channel: sms
        template: winback_sms
        only_if: ['ltv>="50"']
        max_price: 0.08 USD
        on_undeliverable: end
"""
"""The sketch the language was designed from, with its stage words spelled as they are now."""

TEMPLATES = {
    "winback_push_a": "title: A\nbody: text\n",
    "winback_push_b": "title: B\nbody: text\n",
    "winback_email": "subject: S\ntext: T\n",
    "winback_sms": "body: SMS\n",
}


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


WINBACK_FILES = {
    "winback.yaml": WINBACK,
    **{f"templates/{name}.yaml": text for name, text in TEMPLATES.items()},
}


@pytest.fixture
def winback(tmp_path: Path) -> RuleSet:
    return load(written(tmp_path, WINBACK_FILES))


def test_the_sketch_arrives_word_for_word(winback: RuleSet) -> None:
    (rule,) = winback.rules
    assert (rule.priority, rule.owner, rule.on_edit) == (50, "growth-team", OnEdit.FINISH_OLD)
    assert rule.exit_on == set(ExitOn)
    assert rule.holdout == Share(percent=10, salt="winback-2026")
    assert rule.rollout is None
    assert rule.goal == Goal(event="_session.start", within_ms=7 * DAY_MS)
    push, email, sms = rule.stages
    assert [(v.name, v.weight, v.template_name) for v in push.variants] == [
        ("a", 50, "winback_push_a"),
        ("b", 50, "winback_push_b"),
    ]
    assert [v.template.render(NOBODY).title for v in push.variants] == ["A", "B"]
    assert (push.ttl_ms, email.ttl_ms) == (12 * HOUR_MS, None)
    assert [v.name for v in email.variants] == [""]
    assert sms.on_undeliverable is OnUndeliverable.END
    assert [str(matcher) for matcher in sms.only_if] == ['ltv>="50"']
    assert sms.max_price_micros == 80_000


def test_what_holds_over_all_rules_arrives(winback: RuleSet) -> None:
    assert winback.timezone == "UTC"
    assert winback.limits.send_rates == (
        SendRate(max=500, per_ms=SECOND_MS),
        SendRate(max=20, per_ms=SECOND_MS, channel=Channel.SMS),
    )
    assert winback.limits.budgets == (Budget(max_micros=200 * MICROS, channel=Channel.SMS),)
    assert winback.prices.micros(Channel.SMS, "US") == 5_810
    assert winback.prices.micros(Channel.SMS, "FR") == 50_000
    assert winback.prices.micros(Channel.PUSH, "FR") == 0
    assert winback.activity.clock is Clocked.EVENT_TIME
    (goal,) = winback.activity.goals
    assert goal == RuleGoal(rule="premium-winback", goal=winback.rules[0].goal or goal.goal)
    night, texas, *law = winback.quiet_hours
    assert night.open_week == open_but(21 * 60, 8 * 60)
    assert texas.open_week == (((540, 1260),),) * 6 + (((720, 1260),),)
    assert tuple(law) == law_windows()


SMALL = """\
apiVersion: v1
rules:
  - rule: one
    inactive_for: 7d
    #rule
    stages:
      - name: s
        channel: sms
        #stage
        message: {body: hello}
"""


def small(folder: Path, *, rule: str = "", stage: str = "", top: str = "") -> RuleSet:
    text = SMALL.replace("#rule", rule).replace("#stage", stage) + top
    return load(written(folder, {"small.yaml": text}))


def test_what_is_left_out_has_the_default_that_is_told(tmp_path: Path) -> None:
    rules = small(tmp_path)
    (rule,) = rules.rules
    assert (rule.priority, rule.holdout, rule.rollout, rule.goal) == (0, None, None, None)
    assert (rule.enabled_from_ms, rule.enabled_until_ms) == (None, None)
    (stage,) = rule.stages
    assert stage.on_undeliverable is OnUndeliverable.NEXT_STAGE
    assert stage.on_uncertain is OnUncertain.KEEP
    assert (stage.only_if, stage.max_price_micros, stage.ttl_ms) == ((), None, None)
    assert (rules.timezone, rules.legal_texts, rules.limits.budgets) == (None, (), ())


def test_shares_have_salts_of_their_own_so_that_the_two_draws_are_independent(
    tmp_path: Path,
) -> None:
    (rule,) = small(tmp_path, rule="holdout: {percent: 12.5}\n    rollout: 25").rules
    assert rule.holdout == Share(percent=12.5, salt="one/holdout")
    assert rule.rollout == Share(percent=25, salt="one/rollout")
    (rule,) = small(tmp_path, rule="rollout: {percent: 25%, salt: 2026}").rules
    assert rule.rollout == Share(percent=25, salt="2026")


def test_move_has_two_spellings(tmp_path: Path) -> None:
    for word in ("move", "move_to_new"):
        assert small(tmp_path, rule=f"on_edit: {word}").rules[0].on_edit is OnEdit.MOVE


def test_an_instant_counts_in_its_zone(tmp_path: Path) -> None:
    (rule,) = small(
        tmp_path,
        rule="enabled_from: 2026-11-27T09:00:00+01:00\n    enabled_until: 2026-11-28T00:00:00Z",
    ).rules
    assert rule.enabled_from_ms == parse_instant("2026-11-27T08:00:00Z")
    assert (rule.enabled_until_ms or 0) - (rule.enabled_from_ms or 0) == 16 * HOUR_MS


@given(st.integers(0, 253_402_300_799))
def test_an_instant_is_read_as_it_is_written(seconds: int) -> None:
    assert parse_instant(instant(seconds * 1000)) == seconds * 1000


@given(st.integers(0, 999_999_999), st.integers(0, 999_999))
def test_an_amount_is_exact_to_the_millionth(whole: int, micros: int) -> None:
    assert parse_amount(f"{whole}.{micros:06} USD") == (whole * MICROS + micros, "USD")


@given(st.text(max_size=20))
def test_any_text_is_an_amount_and_an_instant_or_refused(text: str) -> None:
    for parse in (parse_amount, parse_instant):
        with suppress(Refused):
            assert parse(text)


def test_weeks_are_written_by_days_ranges_and_lists(tmp_path: Path) -> None:
    allow = '{"mon-wed,fri": "08:00-12:00, 14:00-24:00", sat: none}'
    rules = small(tmp_path, top=f"quiet_hours: [{{name: w, on_hit: skip, allow: {allow}}}]\n")
    window = rules.quiet_hours[0]
    open_day = ((480, 720), (840, 1440))
    assert window.open_week == (open_day, open_day, open_day, (), open_day, (), ())
    assert window.on_hit is OnHit.SKIP


def test_legal_windows_can_be_left_to_others(tmp_path: Path) -> None:
    assert small(tmp_path).quiet_hours == law_windows()
    assert small(tmp_path, top="law_windows: ignore\n").quiet_hours == ()
    assert small(tmp_path, top="law_windows: enforce\n").quiet_hours == law_windows()


def test_legal_texts_keep_their_blanks(tmp_path: Path) -> None:
    top = "legal_texts: [{match: ['country=\"KR\"'], prefix: '(광고) ', suffix: ' 무료거부'}]\n"
    (text,) = small(tmp_path, top=top).legal_texts
    assert (text.prefix, text.suffix) == ("(광고) ", " 무료거부")
    assert [str(matcher) for matcher in text.matchers] == ['country="KR"']


def test_rules_are_asked_by_priority_then_by_file_and_line(tmp_path: Path) -> None:
    rule = "  - {{rule: {}, {} inactive_for: 7d, stages: *s}}\n"
    first = SMALL.replace("stages:", "stages: &s").replace("rule: one", "rule: c")
    files = {
        "b.yaml": first + rule.format("d", "priority: 5,") + rule.format("e", "priority: -1,"),
        "a.yaml": first.replace("rule: c", "rule: a") + rule.format("b", "priority: 5,"),
    }
    assert [r.name for r in load(written(tmp_path, files)).rules] == ["b", "d", "a", "c", "e"]


# --- defaults ----------------------------------------------------------------------------------

DEFAULTS = """\
apiVersion: v1
defaults:
  rule: {inactive_for: 9d, max_inactive: 60d, exit_on: [activity], rollout: 50, match: [a=b]}
  stage:
    {after: 1d, ttl: 6h, on_undeliverable: wait, only_if: ['x="y"'], on_failed: next_stage,
     soft_bounces: 3}
"""
LADDERS = """\
apiVersion: v1
rules:
  - rule: taker
    stages: &three
      - {name: p, channel: push, message: {title: t, body: b}}
      - {name: m, channel: email, message: {subject: s, text: t}}
      - {name: s, channel: sms, after: 2d, message: {body: b}}
  - rule: stater
    inactive_for: 1d
    match: [c=d]
    rollout: 10
    stages: *three
"""


def test_a_rule_takes_from_the_defaults_of_any_file_what_it_does_not_state(tmp_path: Path) -> None:
    taker, stater = load(written(tmp_path, {"z.yaml": DEFAULTS, "a.yaml": LADDERS})).rules
    assert (taker.inactive_for_ms, stater.inactive_for_ms) == (9 * DAY_MS, DAY_MS)
    assert taker.max_inactive_ms == stater.max_inactive_ms == 60 * DAY_MS
    assert taker.exit_on == {ExitOn.ACTIVITY}
    assert [str(m) for m in taker.matchers + stater.matchers] == ['a="b"', 'c="d"']
    assert (taker.rollout, stater.rollout) == (
        Share(percent=50, salt="taker/rollout"),
        Share(percent=10, salt="stater/rollout"),
    )
    for rule in (taker, stater):
        push, email, sms = rule.stages
        assert [s.after_ms for s in rule.stages] == [0, DAY_MS, 2 * DAY_MS]
        assert [s.ttl_ms for s in (push, email, sms)] == [6 * HOUR_MS, None, None]
        assert {s.on_undeliverable for s in rule.stages} == {OnUndeliverable.WAIT}
        early = OnFailed.NEXT_STAGE
        assert [s.on_failed for s in (push, email, sms)] == [None, early, early]
        assert [s.soft_bounces for s in (push, email, sms)] == [None, 3, None]
        assert [len(s.only_if) for s in rule.stages] == [1, 1, 1]


def test_a_rule_that_clashes_with_a_default_is_told_at_the_rule(tmp_path: Path) -> None:
    files = {"z.yaml": DEFAULTS, "a.yaml": LADDERS.replace("1d\n    match", "90d\n    match")}
    (problem,) = inspect(written(tmp_path, files)).problems
    assert (Path(problem.file).name, problem.line, problem.column) == ("a.yaml", 8, 5)
    assert "max_inactive 60d must be longer than inactive_for 90d" in problem.message


# --- revisions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "is_new_edition"),
    [
        ('plan="premium"\'', 'plan="basic"\'', True),
        ("exit_on: [activity, opt_out_all,", "exit_on: [activity,", True),
        ("revision: 7", "revision: 8", True),
        ("after: 2d", "after: 3d", True),
        ("ltv>=", "ltv>", True),
        ("        channel: sms", "        channel: sms\n        on_failed: next_stage", True),
        ("max_price: 0.08 USD", "max_price: 0.09 USD", True),
        ("weight: 50, template: winback_push_a", "weight: 40, template: winback_push_a", True),
        ("priority: 50", "priority: 51", False),
        ("mode:", "mode:", False),
        ("percent: 10", "percent: 20", False),
        ("cooldown: 30d", "cooldown: 40d", False),
        ("max_inactive: 60d", "max_inactive: 90d", False),
        ("inactive_for: 7d", "inactive_for: 8d", False),
        ("on_edit: finish_old", "on_edit: cancel", False),
        ("owner: growth-team", "owner: sales", False),
        ("max: 500", "max: 400", False),
        ("exit_on: [activity, opt_out_all", "exit_on: [opt_out_all, activity", False),
    ],
)
def test_only_a_change_to_the_ladder_makes_a_new_edition_of_a_rule(
    old: str, new: str, is_new_edition: bool, tmp_path: Path, winback: RuleSet
) -> None:
    assert old in WINBACK or old == "mode:"
    text = WINBACK.replace(old, new, 1)
    if old == "mode:":
        text = WINBACK.replace("    priority:", "    mode: live\n    priority:")
    after = load(written(tmp_path, {"winback.yaml": text}))
    assert after.revision != winback.revision
    assert (after.rules[0].revision != winback.rules[0].revision) is is_new_edition


def test_a_text_of_a_variant_makes_a_new_edition(tmp_path: Path, winback: RuleSet) -> None:
    after = load(written(tmp_path, {"templates/winback_push_b.yaml": "title: C\nbody: text\n"}))
    assert after.rules[0].revision != winback.rules[0].revision


def test_a_default_taken_by_a_stage_is_part_of_its_ladder(tmp_path: Path) -> None:
    files = {"z.yaml": DEFAULTS, "a.yaml": LADDERS}
    before = load(written(tmp_path, files)).rules[0]
    changed = DEFAULTS.replace("on_undeliverable: wait", "on_undeliverable: end")
    after = load(written(tmp_path, {**files, "z.yaml": changed})).rules[0]
    stated = LADDERS.replace("channel: push,", "channel: push, on_undeliverable: wait,")
    same = load(written(tmp_path, {**files, "a.yaml": stated})).rules[0]
    assert before.revision != after.revision
    assert before.revision == same.revision


# --- kept rule sets ----------------------------------------------------------------------------


def test_a_kept_rule_set_is_the_same_again(winback: RuleSet) -> None:
    assert sorted(winback.contents) == sorted(WINBACK_FILES)
    again = load_contents(winback.contents)
    assert again.revision == winback.revision
    assert [(r.name, r.revision, r.file) for r in again.rules] == [
        (r.name, r.revision, "winback.yaml") for r in winback.rules
    ]
    assert again.limits == winback.limits
    assert again.contents == winback.contents


def test_kept_rules_that_this_version_cannot_read_are_told_as_files_are() -> None:
    with pytest.raises(RulesError, match=r"^shop\.yaml:1:13: apiVersion: unknown value"):
        load_contents({"shop.yaml": b"apiVersion: v0\n"})
    with pytest.raises(RulesError, match="no rule file"):
        load_contents({})
    with pytest.raises(RulesError, match=r"there is no file templates/winback_sms\.yaml"):
        load_contents({"winback.yaml": WINBACK.encode()})


def test_files_that_take_no_part_are_not_kept(tmp_path: Path) -> None:
    files = {**WINBACK_FILES, "templates/unused.yaml": "x", "winback.test.yaml": "tests: []\n"}
    assert sorted(load(written(tmp_path, files)).contents) == sorted(WINBACK_FILES)
