"""What an edit changes: no key is overlooked, and each says whom it touches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from tests.core.timeline import Text, rule, rule_set, stage
from worker.model import DAY_MS, HOUR_MS, Channel
from worker.rules.diff import Change, ChangeKind, Reach, difference, summary
from worker.rules.keytree import written_week
from worker.rules.limits import Budget, Cap, Limits, Prices, SendRate, Window
from worker.rules.load import load
from worker.rules.ruleset import (
    ActivityPolicy,
    ExitOn,
    Goal,
    LegalText,
    Matcher,
    Mode,
    OnEdit,
    QuietHours,
    RuleSet,
    Share,
    Stage,
    Variant,
    open_but,
)

PREMIUM = Matcher(name="plan", operator="=", value="premium")
KOREA = Matcher(name="country", operator="=", value="KR")

SMS = Stage(
    name="sms",
    channel=Channel.SMS,
    after_ms=3 * DAY_MS,
    variants=(
        Variant(name="a", template=Text(body="hi"), weight=60, template_name="winback_a"),
        Variant(name="b", template=Text(body="ho"), weight=40, template_name="winback_b"),
    ),
    only_if=(Matcher(name="ltv", operator=">=", value="50", number=50),),
    max_price_micros=80_000,
    ttl_ms=HOUR_MS,
)
FULL = RuleSet(
    revision="s1",
    rules=(
        rule(
            stages=(stage("push"), SMS),
            matchers=(PREMIUM, KOREA),
            max_inactive_ms=60 * DAY_MS,
            cooldown_ms=30 * DAY_MS,
            exit_on=frozenset({ExitOn.ACTIVITY, ExitOn.OPT_OUT_ALL}),
            priority=50,
            holdout=Share(percent=10, salt="winback/holdout"),
            rollout=Share(percent=25, salt="winback/rollout"),
            goal=Goal(event="_session.start", within_ms=7 * DAY_MS),
            enabled_from_ms=1_793_448_000_000,
            enabled_until_ms=1_795_000_000_000,
            owner="growth",
            file="shop.yaml",
            line=12,
        ),
    ),
    limits=Limits(
        caps=(Cap(max=3, per_ms=7 * DAY_MS, window=Window.ROLLING),),
        min_gap_ms=4 * HOUR_MS,
        send_rates=(SendRate(max=20, per_ms=1_000, channel=Channel.SMS),),
        budgets=(Budget(max_micros=200_000_000, channel=Channel.SMS),),
    ),
    quiet_hours=(
        QuietHours(name="night", open_week=open_but(1260, 480), matchers=(KOREA,)),
        QuietHours(name="korea", open_week=open_but(1260, 480), is_law=True),
    ),
    legal_texts=(LegalText(matchers=(KOREA,), prefix="(ad)", suffix="080"),),
    prices=Prices(
        otherwise={Channel.SMS: 50_000}, by_country={Channel.SMS: {"US": 5_810, "KR": 25_000}}
    ),
    activity=ActivityPolicy(events=("app.*",), not_events=("app.ping",)),
    timezone="UTC",
)

NO_KEYS = {
    ("RuleSet", "revision"),
    ("RuleSet", "contents"),
    ("RuleSet", "retired"),
    ("Rule", "line"),
    # Told of the rule whose goal it is.
    ("ActivityPolicy", "goals"),
    # What a matcher is compiled to.
    ("Matcher", "pattern"),
    ("Matcher", "number"),
}
"""The fields no file states: a change of them alone is none."""


def others(value: Any) -> Iterator[Any]:
    """Values that are not this one."""
    match value:
        case bool():
            yield not value
        case Enum():
            yield next(member for member in type(value) if member is not value)
        case int() | float():
            yield value + 60_000
        case str():
            yield f"{value}-other"
        case None | ():
            return
        case frozenset():
            yield frozenset(list(value)[1:])
        case tuple():
            yield value[1:]
        case Mapping():
            yield {}
        case _ if is_dataclass(value) and not isinstance(value, type):
            yield None
        case _:
            raise AssertionError(f"teach this test to vary {value!r}")


def edits(value: Any) -> Iterator[tuple[str, Any]]:
    """Every value that differs in one field, at any depth, with the name of the field."""
    kind = type(value)
    for entry in fields(value):
        if (kind.__name__, entry.name) in NO_KEYS:
            continue
        name = f"{kind.__name__}.{entry.name}"
        before = getattr(value, entry.name)
        optional = "None" in str(entry.type)
        replaceable = not is_dataclass(before) or optional
        for after in others(before) if replaceable else ():
            yield name, replace(value, **{entry.name: after})
        below = before if isinstance(before, tuple) else (before,)
        for number, item in enumerate(below):
            if is_dataclass(item):
                for inner, changed in edits(item):
                    many = (*below[:number], changed, *below[number + 1 :])
                    put = many if isinstance(before, tuple) else changed
                    yield f"{name} > {inner}", replace(value, **{entry.name: put})


EDITS = list(edits(FULL))


def test_every_kind_of_value_a_rule_set_is_made_of_is_varied() -> None:
    seen = {name.rpartition(" > ")[2].partition(".")[0] for name, _ in EDITS}
    assert seen == {
        "ActivityPolicy", "Budget", "Cap", "Goal", "LegalText", "Limits", "Matcher", "Prices",
        "QuietHours", "Rule", "RuleSet", "SendRate", "Share", "Stage", "Text", "Variant",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "edited"), EDITS, ids=[name for name, _ in EDITS])
def test_a_change_of_any_field_is_told_in_both_directions(name: str, edited: RuleSet) -> None:
    there, back = difference(FULL, edited), difference(edited, FULL)
    assert there
    assert back
    assert all(str(change) for change in (*there, *back))


def test_what_no_file_states_is_no_change() -> None:
    moved = replace(FULL.rules[0], line=99)
    assert difference(FULL, replace(FULL, revision="s2", rules=(moved,))) == ()


def told(before: RuleSet, after: RuleSet) -> list[str]:
    return [str(change) for change in difference(before, after)]


EMAIL = "{channel: email, after: 2d, on_undeliverable: next_stage, on_uncertain: keep}"


def test_the_words_are_those_of_the_files() -> None:
    before = rule_set(rule(mode=Mode.SHADOW, matchers=(PREMIUM,)))
    after = rule_set(
        rule(
            inactive_for_ms=5 * DAY_MS,
            matchers=(KOREA,),
            holdout=Share(percent=10, salt="w"),
            stages=(stage("push"), stage("sms", 3)),
        ),
        limits=Limits(caps=(Cap(max=1, per_ms=DAY_MS, window=Window.CALENDAR),)),
    )
    assert told(before, after) == [
        "winback: mode: shadow -> live",
        "winback: inactive_for: 7d -> 5d",
        f"winback: stages.email: removed {EMAIL}",
        'winback: match: removed plan="premium"',
        'winback: match: added country="KR"',
        "winback: holdout: none -> {percent: 10, salt: w}",
        "limits.user: added {max: 1, per: 1d, window: calendar}",
    ]


def test_rules_that_come_and_go_are_told_as_a_whole() -> None:
    assert told(rule_set(rule("old")), rule_set(rule("new"))) == [
        "new: added (live): push -> email -> sms",
        "old: removed (live): push -> email -> sms",
    ]


def test_stages_that_change_places_are_moved() -> None:
    turned = rule(stages=(stage("email"), stage("push")))
    (change,) = difference(rule_set(rule(stages=(stage("push"), stage("email")))), rule_set(turned))
    assert (change.kind, change.key) == (ChangeKind.MOVED, "stages")
    assert str(change) == "winback: stages: order push, email -> email, push"


def test_two_rules_of_one_priority_that_change_places_are_told() -> None:
    a, b = rule("a"), rule("b")
    (change,) = difference(rule_set(a, b), rule_set(b, a))
    assert str(change) == "rules: order a, b -> b, a"
    (change,) = difference(rule_set(a, b), rule_set(replace(b, priority=1), a))
    assert str(change) == "b: priority: 0 -> 1"


LONG = "a text that nobody may find in a log " * 3


def reworded(body: str) -> RuleSet:
    words = replace(stage("push"), variants=(Variant(name="", template=Text(body=body)),))
    return rule_set(rule(stages=(words,), revision=body))


def test_a_text_is_quoted_shortly_for_people_and_not_at_all_in_a_log() -> None:
    changes = difference(reworded("come back"), reworded(LONG))
    (shown,) = map(str, changes)
    assert shown.startswith('winback: stages.push.message.body: "come back" -> "a text that nobody')
    assert len(shown) < 140
    assert summary(changes) == "winback: stages.push.message.body: changed"


def test_a_log_line_has_an_end() -> None:
    many = difference(rule_set(), rule_set(*(rule(f"r{n}") for n in range(50))))
    assert summary(many).endswith("; and 31 more")
    assert summary(()) == "none in the rules"


@pytest.mark.parametrize(
    ("on_edit", "reach"),
    [
        (OnEdit.FINISH_OLD, Reach.NEW),
        (OnEdit.MOVE, Reach.MOVED),
        (OnEdit.CANCEL, Reach.CANCELLED),
    ],
)
def test_an_edited_ladder_reaches_users_on_it_as_the_rule_says(
    on_edit: OnEdit, reach: Reach
) -> None:
    before = rule_set(rule(on_edit=on_edit))
    after = rule_set(rule(on_edit=on_edit, stages=(stage("push"),), revision="r2"))
    assert {change.reach for change in difference(before, after)} == {reach}


def test_a_ladder_renewed_by_hand_is_told() -> None:
    moves = rule(on_edit=OnEdit.MOVE)
    (change,) = difference(rule_set(moves), rule_set(replace(moves, revision="r2")))
    assert (change.key, change.reach) == ("revision", Reach.MOVED)


@pytest.mark.parametrize(
    ("changes", "reach"),
    [
        ({"mode": Mode.SHADOW}, Reach.EVERYBODY),
        ({"inactive_for_ms": DAY_MS}, Reach.NEW),
        ({"owner": "somebody"}, Reach.NOBODY),
        ({"enabled_until_ms": 1_795_000_000_000}, Reach.EVERYBODY),
    ],
)
def test_switches_hold_at_once_and_entry_keys_for_those_who_come(
    changes: dict[str, Any], reach: Reach
) -> None:
    (change,) = difference(rule_set(rule()), rule_set(rule(**changes)))
    assert change.reach is reach


def test_legal_windows_are_one_switch() -> None:
    law = QuietHours(name="korea", open_week=open_but(1260, 480), is_law=True)
    enforced = replace(rule_set(), quiet_hours=(law,))
    assert told(enforced, rule_set()) == ["law_windows: enforce -> ignore"]


def test_open_hours_are_written_as_in_the_files() -> None:
    assert written_week(open_but(1260, 480)) == "mon-sun: 08:00-21:00"
    assert written_week(open_but(480, 1260)) == "mon-sun: 00:00-08:00 and 21:00-24:00"
    assert written_week((((480, 720),),) * 5 + ((), ((600, 720),))) == (
        "mon-fri: 08:00-12:00, sun: 10:00-12:00"
    )
    assert written_week(((),) * 7) == "never"


RULES = """
apiVersion: v1
rules:
  - rule: winback
    inactive_for: 7d
    stages: [{name: push, channel: push, message: {title: t, body: "Hi {{Attributes.name}}"}}]
"""


def test_two_readings_of_the_same_files_do_not_differ(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(RULES)
    before = load(tmp_path)
    assert difference(before, load(tmp_path)) == ()
    (tmp_path / "shop.yaml").write_text("# a comment\n" + RULES.replace("Hi", "Ho"))
    (change,) = difference(before, load(tmp_path))
    assert change == Change(
        kind=ChangeKind.CHANGED,
        rule="winback",
        key="stages.push.message.body",
        before="Hi {{Attributes.name}}",
        after="Ho {{Attributes.name}}",
        reach=Reach.NEW,
        is_text=True,
    )
