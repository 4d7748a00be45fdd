"""A worked example whole: its rules, its five tests, and what each test notices.

Every test of the file passes, and fails when its rule is broken in the obvious way.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.rules.folder import Folder, Kept
from worker.ruletests.cases import Suite, read_suite
from worker.ruletests.timeline import play_case
from worker.ruletests.verdict import judge

HERE = Path(__file__).parent / "winback"
SHOP = Path(__file__).parents[2] / "rules"

PARIS = "Paris user, quiet hours push the whole ladder"
RETURN = "return between push and email stops the ladder"
DEAD = "dead token goes to email at once, clocks change in New York"
HOLDOUT = "holdout gets nothing and is logged"
BUDGET = "SMS budget is used up, SMS waits for the next day"


def suite_of(folder: Path, broken: tuple[str, str] = ("", "")) -> Suite:
    """The tests of a folder, with one piece of its rules put in another's place."""
    (tests,) = folder.glob("*.test.yaml")
    contents = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*.yaml")
        if path != tests
    }
    (rules,) = [name for name in contents if "/" not in name]
    pattern, instead = broken
    if pattern:
        text, count = re.subn(pattern, instead, contents[rules].decode())
        assert count == 1, f"{pattern} is there {count} times"
        contents[rules] = text.encode()
    suite = read_suite(tests.read_bytes(), tests.name, Kept(contents))
    assert suite.problems == (), "\n".join(map(str, suite.problems))
    return suite


def failing(suite: Suite) -> set[str]:
    assert suite.rules is not None
    verdicts = [judge(case, play_case(case.form, suite.rules)) for case in suite.cases]
    assert verdicts
    return {verdict.case.form.name for verdict in verdicts if not verdict.passed}


def test_all_five_tests_pass() -> None:
    suite = suite_of(HERE)
    assert [case.form.name for case in suite.cases] == [PARIS, RETURN, DEAD, HOLDOUT, BUDGET]
    assert failing(suite) == set()


@pytest.mark.parametrize(
    ("test", "pattern", "instead"),
    [
        (PARIS, r'(?s)quiet_hours:\n.*?(?=  - name: us-texas)', "quiet_hours:\n"),
        (PARIS, r'from: "21:00"', 'from: "22:00"'),
        (PARIS, "cooldown: 30d", "cooldown: 29d"),
        (PARIS, r"(?s)push_a}(.*?)push_b}", r"push_b}\1push_a}"),
        (PARIS, "after: 3d", "after: 4d"),
        (RETURN, r'not_events: \["_campaign', 'not_events: ["_session.*", "_campaign'),
        (RETURN, r'event: "_session.start"', 'event: "purchase"'),
        (RETURN, "within: 7d", "within: 12h"),
        (RETURN, "inactive_for: 7d", "inactive_for: 6d"),
        (DEAD, r"(template: winback_push_b}\n.*\n +on_undeliverable:) next_stage", r"\1 end"),
        (DEAD, r'to: "08:00"', 'to: "09:00"'),
        (HOLDOUT, r"    holdout: .*\n", ""),
        (HOLDOUT, r"inactive_for: 7d", "inactive_for: 8d"),
        (BUDGET, "max: 200 USD", "max: 201 USD"),
        (BUDGET, "(?s)  budget:.*?defer}", "  budget: []"),
        (BUDGET, "on_exhausted: defer", "on_exhausted: next_stage"),
        (BUDGET, r"only_if: \['ltv>=\"50\"'\]", """only_if: ['ltv>="90"']"""),
    ],
)  # fmt: skip
def test_each_test_fails_when_its_rule_is_broken(test: str, pattern: str, instead: str) -> None:
    assert test in failing(suite_of(HERE, (pattern, instead)))


def test_the_tests_of_the_shipped_rules_pass() -> None:
    suite = suite_of(SHOP)
    assert 6 <= len(suite.cases) <= 10
    assert failing(suite) == set()


@pytest.mark.parametrize(
    ("test", "pattern", "instead"),
    [
        ("three messages", "after: 2d", "after: 1d"),
        ("came back", "inactive_for: 7d", "inactive_for: 9d"),
        ("came back", "within: 7d", "within: 1h"),
        ("at night", 'to: "08:00"', 'to: "07:00"'),
        ("at night", 'from: "21:00"', 'from: "23:00"'),
        ("a phone that is gone", "on_undeliverable: next_stage", "on_undeliverable: end"),
        ("says stop", r"exit_on: \[activity, opt_out_all\]", "exit_on: [activity]"),
        ("away for long", "max_inactive: 60d", "max_inactive: 300d"),
        ("held out", r"holdout: {percent: 10}", ""),
        ("money for SMS", "max: 200 USD", "max: 300 USD"),
    ],
)
def test_each_test_of_the_shipped_rules_can_fail(test: str, pattern: str, instead: str) -> None:
    assert any(test in name for name in failing(suite_of(SHOP, (pattern, instead))))


def test_the_files_can_be_read_where_they_stand() -> None:
    for folder in (HERE, SHOP):
        (tests,) = folder.glob("*.test.yaml")
        suite = read_suite(tests.read_bytes(), str(tests), Folder(folder))
        assert suite.problems == ()
        assert suite.cases
