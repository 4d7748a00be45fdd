"""A folder of files becomes one rule set: what takes part, what it says, when it counts as new."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest

from worker.model import DAY_MS, HOUR_MS, MINUTE_MS, Channel, Endpoint, UserView
from worker.rules.facts import render_context
from worker.rules.folder import FILES_MAX, Folder, Reading, fingerprint
from worker.rules.law import law_windows
from worker.rules.limits import Cap, Window
from worker.rules.load import inspect, load
from worker.rules.ruleset import ExitOn, Mode, RuleSet, open_but

SHIPPED = Path(__file__).parents[2] / "rules"
NOBODY = render_context(UserView(user_id="u", last_active_ms=None))


def rule(name: str, more: str = "") -> str:
    return dedent(f"""\
        apiVersion: v1
        rules:
          - rule: {name}
            inactive_for: 7d
            stages: [{{name: s, channel: sms, message: {{body: "{name}"}}}}]
        """) + dedent(more)


FULL = """\
apiVersion: v1
defaults:
  activity: {events: ["app.*"], not_events: ["app.background"], max_future_skew: 5m}
limits:
  user:
    - {max: 1, per: 2d, window: calendar}
    - {max: 3, per: 7d}
    - {min_gap: 4h}
quiet_hours:
  - name: night
    from: 21:00
    to: 8:05
    match: ['country="FR"']
    unknown_timezone: {assume: [phone_prefix], else: Europe/Paris}
  - {name: noon, from: "12:00", to: "13:00"}
rules:
  - rule: full
    owner: growth-team
    labels: {goal: winback, version: 1.10}
    mode: live
    match: ['plan="premium"', 'app!~"test.*"']
    inactive_for: 7d
    max_inactive: 60d
    cooldown: 30d
    exit_on: [activity, match_lost]
    stages:
      - {name: first, channel: push, message: {title: no, body: 007, data: {n: 1.10}}}
      - {name: second, channel: email, after: 2d, template: mail}
"""


@pytest.fixture
def full(tmp_path: Path) -> RuleSet:
    (tmp_path / "full.yaml").write_text(FULL)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "mail.yml").write_text("subject: S\ntext: T\n")
    return load(tmp_path)


def test_every_key_arrives(full: RuleSet, tmp_path: Path) -> None:
    assert full.limits.caps == (
        Cap(max=1, per_ms=2 * DAY_MS, window=Window.CALENDAR),
        Cap(max=3, per_ms=7 * DAY_MS, window=Window.ROLLING),
    )
    assert full.limits.min_gap_ms == 4 * HOUR_MS
    assert full.activity.events == ("app.*",)
    assert full.activity.not_events == ("app.background",)
    assert full.activity.max_future_skew_ms == 5 * MINUTE_MS
    night, noon = (window for window in full.quiet_hours if not window.is_law)
    assert (night.name, night.open_week) == ("night", open_but(21 * 60, 8 * 60 + 5))
    assert (night.assume, night.otherwise) == (("phone_prefix",), "Europe/Paris")
    assert [str(matcher) for matcher in night.matchers] == ['country="FR"']
    assert (noon.assume, noon.otherwise) == (("country", "phone_prefix"), "defer_to_utc_midday")
    (told,) = full.rules
    assert (told.name, told.mode, told.file, told.line) == (
        ("full", Mode.LIVE, str(tmp_path / "full.yaml"), 17)
    )
    assert told.inactive_for_ms == 7 * DAY_MS
    assert told.max_inactive_ms == 60 * DAY_MS
    assert told.cooldown_ms == 30 * DAY_MS
    assert told.exit_on == {ExitOn.ACTIVITY, ExitOn.MATCH_LOST}
    assert [str(matcher) for matcher in told.matchers] == ['plan="premium"', 'app!~"test.*"']
    assert [(s.name, s.channel, s.after_ms) for s in told.stages] == [
        ("first", Channel.PUSH, 0),
        ("second", Channel.EMAIL, 2 * DAY_MS),
    ]


def test_text_stays_as_it_was_written(full: RuleSet) -> None:
    message = full.rules[0].stages[0].variants[0].template.render(NOBODY)
    assert (message.title, message.body, message.data) == ("no", "007", {"n": "1.10"})


def test_a_template_file_is_the_message_of_its_stage(full: RuleSet) -> None:
    message = full.rules[0].stages[1].variants[0].template.render(NOBODY)
    assert (message.title, message.body) == ("S", "T")


def test_what_is_not_stated_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(rule("shop"))
    rules = load(tmp_path)
    (shop,) = rules.rules
    assert shop.mode is Mode.SHADOW
    assert shop.exit_on == {ExitOn.ACTIVITY, ExitOn.OPT_OUT_ALL}
    assert (shop.max_inactive_ms, shop.cooldown_ms, shop.matchers) == (None, 0, ())
    assert (rules.limits.caps, rules.limits.min_gap_ms) == ((), 0)
    assert rules.quiet_hours == law_windows()
    assert rules.activity.max_future_skew_ms == 10 * MINUTE_MS


def test_the_files_of_a_folder_are_one_rule_set(tmp_path: Path) -> None:
    quiet = "quiet_hours: [{{name: {}, from: '21:00', to: '08:00'}}]\n"
    (tmp_path / "b.yml").write_text(rule("two", quiet.format("q2")))
    (tmp_path / "a.yaml").write_text(rule("one", quiet.format("q1")))
    (tmp_path / "limits.yaml").write_text("apiVersion: v1\nlimits: {user: [{min_gap: 4h}]}\n")
    rules = load(tmp_path)
    assert [r.name for r in rules.rules] == ["one", "two"]
    assert [q.name for q in rules.quiet_hours if not q.is_law] == ["q1", "q2"]
    assert rules.limits.min_gap_ms == 4 * HOUR_MS


def test_files_that_are_no_rules_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(rule("shop"))
    before = load(tmp_path).revision
    for name in (".hidden.yaml", "shop.test.yaml", "shop.test.yml", "notes.txt", "shop.yaml~"):
        (tmp_path / name).write_text("not: [rules")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "unused.yaml").write_text("not: [used")
    os.mkfifo(tmp_path / "pipe.yaml")
    assert load(tmp_path).revision == before


def test_a_mounted_config_map_is_read_through_its_links(tmp_path: Path) -> None:
    version = tmp_path / "..2026_11_01"
    version.mkdir()
    (version / "shop.yaml").write_text(rule("shop"))
    (tmp_path / "..data").symlink_to(version.name)
    (tmp_path / "shop.yaml").symlink_to("..data/shop.yaml")
    (told,) = load(tmp_path).rules
    assert told.file == str(tmp_path / "shop.yaml")


def test_anchors_save_repetition(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(
        rule("one").replace("stages: ", "stages: &s ")
        + "  - {rule: two, inactive_for: 9d, stages: *s}\n"
    )
    one, two = load(tmp_path).rules
    assert two.stages[0].variants[0].template.render(NOBODY) == one.stages[0].variants[
        0
    ].template.render(NOBODY)


def test_the_same_files_are_the_same_revision_wherever_they_lie(tmp_path: Path) -> None:
    revisions = set()
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "shop.yaml").write_text(rule("shop"))
        rules = load(tmp_path / place)
        revisions.add((rules.revision, rules.rules[0].revision))
    assert len(revisions) == 1


def test_a_comment_makes_a_new_set_but_leaves_the_rule_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(rule("shop"))
    before = load(tmp_path)
    (tmp_path / "shop.yaml").write_text("# a word\n" + rule("shop"))
    after = load(tmp_path)
    assert after.revision != before.revision
    assert after.rules[0].revision == before.rules[0].revision


def test_a_change_to_one_rule_or_its_template_changes_only_that_rule(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(rule("one"))
    stage = "    stages: [{name: s, channel: sms, template: words}]\n"
    two = "".join([*rule("two").splitlines(keepends=True)[:4], stage])
    (tmp_path / "two.yaml").write_text(two)
    (tmp_path / "templates").mkdir()
    seen = []
    for body in ("hello", "goodbye"):
        (tmp_path / "templates" / "words.yaml").write_text(f"body: {body}\n")
        seen.append(load(tmp_path))
    assert seen[0].revision != seen[1].revision
    assert seen[0].rules[0].revision == seen[1].rules[0].revision
    assert seen[0].rules[1].revision != seen[1].rules[1].revision


def test_a_link_that_leads_nowhere_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gone.yaml").symlink_to("nowhere.yaml")
    (tmp_path / "shop.yaml").write_text(rule("shop"))
    assert inspect(tmp_path).problems == ()


def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").mkdir()
    reading = Reading(Folder(tmp_path))
    assert reading.read("shop.yaml") is None
    assert [str(problem) for problem in reading.problems] == [
        f"{tmp_path}/shop.yaml:1:1: cannot be read: Is a directory; check owner and permissions"
    ]


def test_more_files_than_the_bound_are_refused(tmp_path: Path) -> None:
    for number in range(FILES_MAX + 1):
        (tmp_path / f"{number}.yaml").write_text("apiVersion: v1\n")
    assert [problem.message for problem in inspect(tmp_path).problems] == [
        f"more than {FILES_MAX} files; merge some"
    ]


# --- the rules that ship ----------------------------------------------------------------------


def test_the_shipped_rules_are_sound_and_send_nothing_until_somebody_says_so() -> None:
    inspection = inspect(SHIPPED)
    assert inspection.problems == ()
    assert inspection.rule_set is not None
    (shop,) = inspection.rule_set.rules
    assert shop.mode is Mode.SHADOW
    assert [(s.channel, s.after_ms) for s in shop.stages] == [
        (Channel.PUSH, 0),
        (Channel.EMAIL, 2 * DAY_MS),
        (Channel.SMS, 3 * DAY_MS),
    ]


@pytest.mark.parametrize(
    "attributes", [{}, {"first_name": ("Ann",), "interests": ("tea & co", "shoes")}]
)
def test_the_shipped_messages_read_well_with_and_without_attributes(
    attributes: dict[str, tuple[str, ...]],
) -> None:
    endpoint = Endpoint(endpoint_id="e", at_ms=1, user_attributes=attributes)
    view = UserView(user_id="u", last_active_ms=None, endpoints=(endpoint,))
    push, email, sms = (
        stage.variants[0].template.render(render_context(view))
        for stage in load(SHIPPED).rules[0].stages
    )
    name = "Ann" if attributes else "there"
    assert push.body.startswith(f"Hello {name}, ")
    assert email.body.startswith(f"Hello {name},\n")
    assert f"<p>Hello {name},</p>" in str(email.html)
    assert ("tea &amp; co" in str(email.html)) is bool(attributes)
    assert "\n\n\n" not in email.body
    assert len(sms.body) <= 160


def test_a_file_name_that_is_not_utf_8_is_told_and_kills_nobody(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(FULL)
    with open(bytes(tmp_path) + b"/caf\xe9.yaml", "w") as file:  # noqa: PTH123 - bytes
        file.write("apiVersion: v1\n")
    before = fingerprint(tmp_path)
    told = [str(problem) for problem in inspect(tmp_path).problems]
    assert "caf\\udce9.yaml is not UTF-8; rename it" in "".join(told)
    assert before == fingerprint(tmp_path)
