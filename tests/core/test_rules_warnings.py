"""What is allowed and probably not meant is said, with its place; and nothing else is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.rules import doubts
from worker.rules.exclusive import choices_of, disjoint, exclude
from worker.rules.load import Inspection, inspect
from worker.rules.matchers import parse_matcher
from worker.rules.unknown_names import unknown_names

MARK = "¶"
FILE = """\
apiVersion: v1
law_windows: ignore
limits:
  user:
    - {max: 1, per: 1d, window: calendar}
    #user
  #limits
prices:
  sms: {default: 0.05 USD, US: 0.01 USD}
  push: {default: 0.001 USD}
quiet_hours:
  - {name: night, from: "21:00", to: "08:00"}
  #hours
rules:
  - rule: first
    #first
    match: ['plan="a"', 'country="FR"']
    inactive_for: 7d
    max_inactive: 60d
    stages:
      - name: push
        channel: push
        #push
        message: {title: Hello, body: Come back}
      - name: sms
        after: 2d
        channel: sms
        #sms
        message: {body: Come back}
  #rules
"""
SAME = """\
- ¶rule: second
    match: ['{}']
    {}
    inactive_for: 7d
    stages: [{{name: s, {}}}]"""


@dataclass(frozen=True)
class Doubt:
    """`text` put where `#at` stands gives one warning at ¶, in which every word of `told` is."""

    at: str
    text: str
    told: tuple[str, ...]


def second(match: str, more: str = "", says: str = "channel: sms, message: {body: x}") -> str:
    text = SAME.format(match, more, says)
    return text if more else text.replace("    \n", "")


DOUBTS = {
    "windows that leave a channel no minute": Doubt(
        "hours",
        "- {name: noon, match: ['channel=\"sms\"'], allow: {mon-sun: '06:00-07:00'}}",
        ('stage "sms" of rule "first" is never sent', "night, noon leave no minute"),
    ),
    "windows that close the one country of a rule": Doubt(
        "hours",
        "- {name: fr, match: ['channel!=\"push\"', 'country=~\"FR|BE\"'], from: 07:00, to: 22:00}",
        ('stage "sms" of rule "first" is never sent', "night, fr leave no minute"),
    ),
    "a condition the rule excludes": Doubt(
        "sms",
        "¶only_if: ['plan=~\"b|c\"']",
        ("never sent: its only_if excludes the match",),
    ),
    "a condition that excludes itself": Doubt(
        "sms", "¶only_if: ['ltv>10', 'ltv<=10']", ("never sent: its only_if excludes",)
    ),
    "a highest price below the cheapest": Doubt(
        "push", "¶max_price: 0.0005 USD", ("never sent: the cheapest price of push is above",)
    ),
    "a highest price below that of the one country": Doubt(
        "sms", "¶max_price: 0.03 USD", ("never sent: the cheapest price of sms is above",)
    ),
    "a budget below the price of one message": Doubt(
        "limits",
        "budget: [{channel: sms, max: 0.02 USD}]",
        ('stage "sms" of rule "first" is never sent', "more than limits.budget has for a day"),
    ),
    "a ladder longer than its season": Doubt(
        "first",
        "enabled_from: 2026-12-01T00:00:00Z\n    enabled_until: 2026-12-02T12:00:00Z",
        ('stage "sms"', "2d after the first", "enabled for 1d12h, until 2026-12-02T12:00:00Z"),
    ),
    "a cap that outlasts every hold": Doubt(
        "user",
        "- {max: 1, per: 40d}",
        ('stage "sms"', "limits.user hold it for 38d at least, and a stage waits 30d at most"),
    ),
    "a gap that outlasts every hold": Doubt(
        "user", "- {min_gap: 33d}", ('stage "sms"', "limits.user hold it for 31d at least")
    ),
    "a match that is for nobody": Doubt(
        "first",
        "inactive_for: 7d\n    ¶match: ['country=\"DE\"', 'country=\"FR\"']\n    #",
        ('rule "first" is for nobody', 'wants country="DE" and country="FR"', "=~"),
    ),
    "a goal that Pinpoint does not have": Doubt(
        "first",
        "conversion: {event: ¶_sesion.start, within: 7d}",
        ("conversion: Pinpoint has no event", 'did you mean "_session.start"?'),
    ),
    "activity that Pinpoint does not have": Doubt(
        "limits",
        "#\ndefaults: {activity: {events: [_session.*, shop.buy, ¶_sesion.*]}}",
        ('events: Pinpoint has no event that fits "_sesion.*"; did you mean "_session.*"?',),
    ),
    "weights that are no percentages": Doubt(
        "sms",
        "¶variants: [{name: a, weight: 50, message: {body: x}}, {name: b, weight: 40, message: "
        "{body: y}}]\n        #",
        ('the weights of stage "sms" of rule "first" sum to 90, not to 100',),
    ),
    "two rules for the same users": Doubt(
        "rules",
        second("plan!=b"),
        ('rule "second" and rule "first"', ":15) may both want a user on sms", "stands first"),
    ),
    "two rules that share one of several values": Doubt(
        "rules", second('plan=~"z|a"'), ('rule "second" and rule "first"',)
    ),
}
DOUBTLESS = {
    "other plan": second("plan=b"),
    "other country": second('country=~"BE|DE"'),
    "any but that plan": second("plan!=a"),
    "any but such plans": second('plan!~"a|b"'),
    "a plan the pattern leaves out": second('plan=~"[b-z].*"'),
    "lower priority": second("ltv>5", more="priority: -3"),
    "higher priority": second("x=y", more="priority: 9"),
    "live beside shadow": second("x=y", more="mode: live\n    max_inactive: 60d"),
    "no country": second('country=""'),
    "other channel": second("x=y", says="channel: email, message: {subject: s, text: t}"),
}


def inspected(folder: Path, text: str) -> Inspection:
    (folder / "shop.yaml").write_text(text.replace(MARK, ""))
    inspection = inspect(folder)
    assert inspection.problems == ()
    return inspection


def test_a_sound_file_raises_no_doubt(tmp_path: Path) -> None:
    assert inspected(tmp_path, FILE).warnings == ()


@pytest.mark.parametrize("kind", DOUBTS)
def test_a_doubt_is_told_at_its_place(kind: str, tmp_path: Path) -> None:
    doubt = DOUBTS[kind]
    assert FILE.count(f"#{doubt.at}\n") == 1
    text = FILE.replace(f"#{doubt.at}\n", f"{doubt.text}\n")
    if "for nobody" in kind:
        text = text.replace(
            "#\n    match: ['plan=\"a\"', 'country=\"FR\"']\n    inactive_for: 7d\n", "#\n"
        )
    if "variants" in text:
        text = text.replace("#\n        message: {body: Come back}\n", "\n")
    (warning,) = inspected(tmp_path, text).warnings
    for word in doubt.told:
        assert word in warning.message
    line = text.replace(MARK, "").splitlines()[warning.line - 1]
    if MARK in text:
        before = text[: text.index(MARK)]
        place = before.count("\n") + 1, len(before) - before.rfind("\n")
        assert (warning.line, warning.column) == place
    else:
        assert line[warning.column - 1 :] == "name: sms"


@pytest.mark.parametrize("kind", DOUBTLESS)
def test_rules_that_cannot_meet_are_let_be(kind: str, tmp_path: Path) -> None:
    text = FILE.replace("#rules\n", f"{DOUBTLESS[kind]}\n")
    assert inspected(tmp_path, text).warnings == ()


def test_one_salt_for_rollout_and_holdout_is_told(tmp_path: Path) -> None:
    for salt, count in (("same", 1), ("other", 0)):
        shares = f"holdout: {{percent: 10, salt: same}}\n    rollout: {{percent: 10, salt: {salt}}}"
        warnings = inspected(tmp_path, FILE.replace("#first\n", f"{shares}\n")).warnings
        assert ["have one salt" in warning.message for warning in warnings] == [True] * count


def test_rules_of_different_seasons_do_not_meet(tmp_path: Path) -> None:
    text = FILE.replace("#first\n", "enabled_until: 2026-11-01T00:00:00Z\n")
    for begin, count in (("2026-11-01T00:00:00Z", 0), ("2026-10-31T00:00:00Z", 1)):
        later = text.replace("#rules\n", second("x=y", more=f"enabled_from: {begin}") + "\n")
        assert len(inspected(tmp_path, later).warnings) == count


def test_two_live_rules_of_one_priority_are_told(tmp_path: Path) -> None:
    live = "mode: live\n    max_inactive: 60d\n    priority: 3"
    text = FILE.replace("#first\n", "mode: live\n    priority: 3\n")
    text = text.replace("#rules\n", second("x=y", more=live) + "\n")
    (warning,) = inspected(tmp_path, text).warnings
    assert '"first" goes first, because it stands first and both have priority 3' in warning.message


def test_a_template_that_no_stage_names_is_told(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    for name in ("used", "left"):
        (tmp_path / "templates" / f"{name}.yaml").write_text("title: Hello\nbody: Come back\n")
    text = FILE.replace("message: {title: Hello, body: Come back}", "template: used")
    (warning,) = inspected(tmp_path, text).warnings
    told = "templates/left.yaml:1:1: no stage names this template; name it in a stage, or remove"
    assert told in str(warning)


NOT_FOR_SMS = 'to: "08:00", match: [\'channel="push"\']}'
LIVE = FILE.replace("#first\n", "mode: live\n")


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("    max_inactive: 60d\n", "is live without max_inactive"),
        (
            'quiet_hours:\n  - {name: night, from: "21:00", to: "08:00"}\n',
            "no quiet_hours hold for",
        ),
        ("    - {max: 1, per: 1d, window: calendar}\n", "nothing caps what one user gets"),
    ],
)
def test_a_live_rule_without_its_fence_is_told(gone: str, told: str, tmp_path: Path) -> None:
    assert gone in LIVE
    assert inspected(tmp_path, LIVE).warnings == ()
    bare = LIVE.replace(gone, "").replace("  user:\n    #user\n", "  user: []\n")
    (warning,) = inspected(tmp_path, bare).warnings
    assert told in warning.message
    assert (warning.line, warning.column) == (
        bare.splitlines().index("    mode: live") + 1,
        len("    mode: ") + 1,
    )
    shadow = bare.replace("mode: live", "mode: shadow")
    assert inspected(tmp_path, shadow).warnings == ()


def test_quiet_hours_of_another_channel_are_no_fence_for_sms(tmp_path: Path) -> None:
    text = LIVE.replace('to: "08:00"}', 'to: "08:00", match: [\'channel="push"\']}')
    (warning,) = inspected(tmp_path, text).warnings
    assert "no quiet_hours hold for SMS" in warning.message


def test_legal_hours_of_some_country_are_no_fence_for_sms(tmp_path: Path) -> None:
    text = LIVE.replace("law_windows: ignore\n", "").replace('to: "08:00"}', NOT_FOR_SMS)
    (warning,) = inspected(tmp_path, text).warnings
    assert "no quiet_hours hold for SMS" in warning.message


def test_a_folder_of_many_rules_that_meet_is_told_of_some_of_them(tmp_path: Path) -> None:
    stages = "stages: [{name: s, channel: sms, message: {body: x}}]"
    rules = "".join(f"  - {{rule: r{n}, inactive_for: 7d, {stages}}}\n" for n in range(40))
    warnings = inspected(tmp_path, f"apiVersion: v1\nrules:\n{rules}").warnings
    assert len(warnings) == doubts.OVERLAPS_MAX


# --- exclusion, against all values there are ----------------------------------------------------

VALUES = ("", "a", "b", "1", "2", "2.5", "3", "-1")
OPERATORS = ("=", "!=", "=~", "!~", ">", ">=", "<", "<=")


@given(
    st.lists(st.tuples(st.sampled_from(OPERATORS), st.sampled_from(["1", "2", "3"])), max_size=3),
    st.lists(st.tuples(st.sampled_from(OPERATORS), st.sampled_from(["1", "2", "3"])), max_size=3),
)
def test_lists_said_to_exclude_one_another_fit_no_value(
    mine: list[tuple[str, str]], others: list[tuple[str, str]]
) -> None:
    one, other = (
        [parse_matcher(f'x{op}"{value}"') for op, value in side] for side in (mine, others)
    )
    quick = disjoint(choices_of(one), choices_of(other))
    assert exclude(one, other) or not quick
    if exclude(one, other):
        for value in VALUES:
            facts = {"x": (value,)}
            assert not all(matcher.matches(facts) for matcher in (*one, *other))


@pytest.mark.parametrize(
    ("one", "other", "excluded"),
    [
        ("ltv>=50", "ltv<50", True),
        ("ltv>=50", "ltv<=50", False),
        ("ltv>50", "ltv>100", False),
        ("plan=a", "ltv<50", False),
        ("plan=~a|b", "plan=~b|c", False),
        ("plan=~a.*", "plan=~b.*", False),
        ('vip=""', "vip>3", True),
    ],
)
def test_only_what_is_certain_excludes(one: str, other: str, *, excluded: bool) -> None:
    sides = [[parse_matcher(one)], [parse_matcher(other)]]
    assert exclude(sides[0], sides[1]) is excluded
    assert exclude(sides[1], sides[0]) is excluded


# --- names nobody has --------------------------------------------------------------------------

NAMES = """\
apiVersion: v1
quiet_hours:
  - {name: q, from: 21:00, to: 08:00, match: ['zone_no="1"', 'channel="sms"']}
legal_texts:
  - {match: ['ad_no="1"', 'region="TX"'], prefix: Ad}
rules:
  - rule: r
    inactive_for: 7d
    match: ['plan="a"', 'user.plan="a"', 'user.seen="a"', 'endpoint.seen="a"', 'pln="a"']
    stages:
      - name: s
        channel: sms
        only_if: ['ltv>=50', 'app="x"']
        message: {body: 'Hi {{User.UserAttributes.fist_name|default("x")}} {{Attributes.seen}}'}
      - {name: m, after: 1d, channel: email, template: mail}
      - name: v
        after: 1d
        channel: sms
        variants:
          - {name: a, message: {body: '{{Attributes["plan"]}}{{User.UserId}}'}}
"""


def test_names_that_no_user_has_are_told_with_the_nearest_that_one_has(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "mail.yaml").write_text(
        "subject: x\ntext: |\n  {% for x in User.UserAttributes.likes %}{{x}}{% endfor %}\n"
    )
    inspection = inspected(tmp_path, NAMES)
    warnings = unknown_names(inspection, {"plan", "first_name"}, {"seen"})
    assert [(Path(w.file).name, w.line, w.message.partition("; ")[0]) for w in warnings] == [
        ("shop.yaml", 3, 'match: no user has the attribute "zone_no"'),
        ("shop.yaml", 5, 'match: no user has the attribute "ad_no"'),
        ("shop.yaml", 9, 'match: no user has the attribute "seen"'),
        ("shop.yaml", 9, 'match: no user has the attribute "pln"'),
        ("shop.yaml", 13, 'only_if: no user has the attribute "ltv"'),
        ("shop.yaml", 14, "no user has {{User.UserAttributes.fist_name}}"),
        ("shop.yaml", 20, "no user has {{Attributes.plan}}"),
        ("mail.yaml", 2, "no user has {{User.UserAttributes.likes}}"),
    ]
    assert 'did you mean "first_name"?' in warnings[5].message
    assert 'did you mean "plan"?' in warnings[3].message
    assert "it is one of User.UserAttributes" in warnings[6].message
    everything = {"plan", "first_name", "fist_name", "zone_no", "ad_no", "seen", "pln", "ltv"}
    assert unknown_names(inspection, everything | {"likes"}, {"seen", "plan"}) == ()
