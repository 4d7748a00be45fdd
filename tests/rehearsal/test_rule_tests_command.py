"""`comeback test`: what it prints, writes and answers; and how fast it is."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree as Xml

import pytest
from click.testing import CliRunner, Result

from tests.rehearsal.rule_tests import RULES
from worker.cli import commands
from worker.errors import ProblemsFound, UsageError
from worker.model import DAY_MS, Episode
from worker.rules.folder import Kept
from worker.rules.load import inspect_files
from worker.ruletests.case_forms import CaseForm
from worker.ruletests.cases import Case
from worker.ruletests.timeline import play_case
from worker.ruletests.verdict import judge

WINBACK = Path(__file__).parent / "winback"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, ["test", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WINBACK, tmp_path / "rules"))


def breaks(folder: Path, said: str, instead: str, name: str = "winback.yaml") -> None:
    path = folder / name
    assert said in path.read_text()
    path.write_text(path.read_text().replace(said, instead))


def test_tests_that_pass_are_counted_a_file(folder: Path) -> None:
    result = run(folder)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        f"{folder}/winback.test.yaml",
        "  SUCCESS  5 tests",
        "",
        "SUCCESS: 5 tests in 1 file",
    ]


def test_a_test_that_fails_shows_what_was_expected_beside_what_came(folder: Path) -> None:
    breaks(folder, "after: 2d", "after: 3d")
    result = run(folder)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{folder}/winback.test.yaml",
        "  FAILED  1 of 5 tests",
        "",
        f"  Paris user, quiet hours push the whole ladder  ({folder}/winback.test.yaml:4)",
        "    expect_sends",
        f"      {'  expected':{SENDS}}got",
        f"      = {PUSH:{SENDS - 2}}{PUSH}",
        f"      {'! 2026-11-11T07:00:00Z u1 email':{SENDS}}2026-11-12T07:00:00Z u1 email",
        "          1d later",
        f"      {'! 2026-11-14T07:00:00Z u1 sms':{SENDS}}2026-11-16T07:00:00Z u1 sms {LAW}",
        "          2d later",
        "    expect_states",
        f"      {'  expected':{STATES}}got",
        f"      {'= 2026-11-08T20:30:00Z u1 due reason=quiet_hours':{STATES}}{DUE}",
        f"      ! {REST:{STATES - 2}}{WAITING}",
        f"          {STATE_OFF}",
        "",
        "FAILED: 5 tests in 1 file, 1 failed",
    ]


PUSH = "2026-11-09T07:00:00Z u1 push template=winback_push_a deferred_by=quiet_hours"
LAW = "deferred_by=law_window"
"""The 15th is a Sunday, and this user lives in France."""
DUE = "2026-11-08T20:30:00Z u1 due stage=push reason=quiet_hours until=2026-11-09T07:00:00Z"
WAITING = "2026-11-14T07:01:00Z u1 waiting stage=sms reason=not_yet_due until=2026-11-15T07:00:00Z"
REST = "2026-11-14T07:01:00Z u1 cooldown until=2026-12-14T07:00:00Z"
STATE_OFF = (
    "state is waiting, not cooldown; until is 2026-11-15T07:00:00Z, not 2026-12-14T07:00:00Z"
)
SENDS = len(f"= {PUSH}   ")
STATES = len(f"! {REST}   ")
"""How wide the left side is."""


def test_a_send_that_is_missing_comes_with_the_last_word_of_its_rule(folder: Path) -> None:
    breaks(folder, "max_inactive: 60d", "max_inactive: 6d\n    enabled_from: 2027-01-01T00:00:00Z")
    breaks(folder, "max_inactive: 6d", "max_inactive: 8d")
    told = run(folder, "-k", "budget").output
    assert "- 2026-11-14T08:00:00Z u5 sms deferred_by=budget   nothing" in told
    assert (
        "the last word of rule premium-winback: 2026-11-13T10:00:00Z u5 wait reason=not_enabled"
        in told
    )


def test_a_send_nobody_expected_is_a_row_of_its_own(folder: Path) -> None:
    breaks(folder, "      - {at: \"2026-11-11T07:00:00Z\", user: u1, stage: email}\n", "",
           "winback.test.yaml")  # fmt: skip
    told = run(folder, "-k", "Paris").output
    row = next(line for line in told.splitlines() if line.startswith("      + nothing"))
    assert row.split()[2:] == [
        "2026-11-11T07:00:00Z", "u1", "email", "rule=premium-winback", "template=winback_email",
    ]  # fmt: skip


def test_only_tests_with_a_word_in_their_name_are_run(folder: Path) -> None:
    assert "SUCCESS  1 test\n" in run(folder, "-k", "new york").output
    result = run(folder, "-k", "nowhere")
    assert isinstance(result.exception, ProblemsFound)
    assert "'nowhere'" in str(result.exception)


def test_files_without_such_a_test_are_not_spoken_of(folder: Path) -> None:
    text = (folder / "winback.test.yaml").read_text()
    (folder / "other.test.yaml").write_text(text.replace("holdout gets", "nobody gets"))
    told = run(folder, "-k", "holdout").output
    assert "other.test.yaml" not in told
    assert told.endswith("SUCCESS: 1 test in 1 file\n")


def test_stages_that_no_test_sends_are_named_when_all_tests_are_run(folder: Path) -> None:
    assert "no test sends" not in run(folder, "-k", "holdout").output
    assert json.loads(run(folder, "-k", "holdout", "--json").output)["never_sent"] == []
    tests = folder / "winback.test.yaml"
    text = tests.read_text()
    head, holdout = text.index("  - name"), text.index("  - name: holdout")
    tests.write_text(text[:head] + text[holdout : text.index("  - name: SMS budget")])
    told = run(folder).output
    assert "no test sends: premium-winback/email, premium-winback/sms" in told
    assert len(json.loads(run(folder, "--json").output)["never_sent"]) == 2


def test_a_file_that_cannot_be_read_fails_and_the_others_are_run(folder: Path) -> None:
    shutil.copy(folder / "winback.test.yaml", folder / "other.test.yaml")
    breaks(folder, "user: u2, stage", "user: me, stage", "other.test.yaml")
    result = run(folder)
    assert result.exit_code == 1
    assert f"{folder}/other.test.yaml:28:44: expect_sends: there is no user" in result.output
    assert "SUCCESS  5 tests" in result.output
    assert result.output.endswith("FAILED: 5 tests in 2 files, 1 file with problems\n")


def test_json_says_the_same(folder: Path) -> None:
    breaks(folder, "after: 2d", "after: 3d")
    result = run(folder, "--json")
    assert result.exit_code == 1
    told = json.loads(result.output)
    assert (told["passed"], told["tests"], told["failed"]) == (False, 5, 1)
    first = told["files"][0]["tests"][0]
    assert (first["line"], first["passed"]) == (4, False)
    row = first["expectations"][0]["rows"][1]
    assert row["mark"] == "!"
    assert row["note"] == "1d later"


def test_junit_is_written_for_build_servers(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "winback.test.yaml", folder / "broken.test.yaml")
    breaks(folder, "expect_sends:", "expect_sendz:", "broken.test.yaml")
    breaks(folder, "after: 2d", "after: 3d")
    breaks(folder, "name: holdout gets nothing", 'name: "\\x01 <holdout> & nothing"\n    #',
           "winback.test.yaml")  # fmt: skip
    report = tmp_path / "report.xml"
    result = run(folder, "--junit", report)
    assert result.exit_code == 1
    root = Xml.fromstring(report.read_bytes())  # noqa: S314 - written by us a moment ago
    assert [root.get(key) for key in ("tests", "failures", "errors")] == ["6", "1", "1"]
    broken, winback = root.findall("testsuite")
    (error,) = broken.iter("error")
    assert "did you mean" in (error.get("message") or "")
    assert [case.find("failure") is not None for case in winback] == [True, *[False] * 4]
    assert winback[3].get("name") == "� <holdout> & nothing"
    assert "1d later" in (winback[0][0].text or "")


def test_a_report_that_cannot_be_written_is_told(folder: Path, tmp_path: Path) -> None:
    result = run(folder, "--junit", tmp_path / "no" / "report.xml")
    assert isinstance(result.exception, UsageError)
    assert "cannot be written" in str(result.exception)


def test_a_folder_without_tests_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text("apiVersion: v1\n")
    result = run(tmp_path)
    assert isinstance(result.exception, ProblemsFound)
    assert str(result.exception).startswith(f"no tests in {tmp_path}: a test file is named like")


@pytest.mark.parametrize("name", ["winback.yaml", "missing"])
def test_what_is_no_test_file_is_wrong_usage(folder: Path, name: str) -> None:
    result = run(folder / name)
    assert isinstance(result.exception, UsageError)


def test_one_file_may_be_named(folder: Path) -> None:
    assert run(folder / "winback.test.yaml").exit_code == 0


def test_a_ladder_of_45_days_over_a_thousand_users_takes_less_than_a_second() -> None:
    rules = inspect_files(Kept({"shop.yaml": _long(RULES).encode()})).rule_set
    assert rules is not None
    visits = {f"u{n}": f"2026-11-01T{n % 24:02}:{n % 60:02}:00Z" for n in range(1_000)}
    zone = "Europe/Paris"
    form = CaseForm.model_validate(
        {
            "name": "a crowd",
            "start": "2026-11-01T00:00:00Z",
            "users": {u: {"timezone": zone, "addresses": _addresses(u)} for u in visits},
            "events": [{"at": at, "user": u, "type": "_session.start"} for u, at in visits.items()],
            "expect_outcomes": [{"user": u, "outcome": "exhausted"} for u in visits],
        }
    )
    taken, slowed = [], []
    for _ in range(3):
        slowed.append(max(1.0, _seconds_for_copies(form.start) / COPIES_SECONDS))
        begun = time.process_time()
        story = play_case(form, rules)
        verdict = judge(Case(form=form, file="", line=1), story)
        taken.append((time.process_time() - begun) / slowed[-1])
        assert verdict.passed
        assert len(story.sends) == 3_000
        assert story.end_ms - form.start >= 45 * DAY_MS
    print(
        f"1,000 users over 45 days: {min(taken):.2f} s; this machine is {min(slowed):.1f} x slowed"
    )
    assert min(taken) < 1


COPIES = 50_000
COPIES_SECONDS = 0.15
"""What so many changed copies of an episode take on a core of today that has nothing else to do:
tests run beside other work, and are not to fail of it. The ladder is made of such copies."""


def _seconds_for_copies(at_ms: int) -> float:
    episode = Episode(
        episode_id="e",
        user_id="u",
        rule="r",
        revision="r",
        silence_since_ms=at_ms,
        opened_ms=at_ms,
        stage="push",
        stage_due_ms=at_ms,
    )
    begun = time.process_time()
    for number in range(COPIES):
        replace(episode, stage_due_ms=number)
    return time.process_time() - begun


def _addresses(user: str) -> dict[str, str]:
    return {"push": f"token-{user}", "email": f"{user}@x.test", "sms": f"+336{user[1:]:0>8}"}


def _long(rules: str) -> str:
    """A ladder whose last stage is due 45 days after the visit."""
    text = dedent(rules)
    assert text.count("after: 2d") == text.count("after: 3d") == 1
    return text.replace("after: 2d", "after: 18d").replace("after: 3d", "after: 20d")
