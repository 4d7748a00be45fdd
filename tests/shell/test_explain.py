"""`comeback explain`: the story without its rules, and no word said twice."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.shell.lived_state import LivedState, folder_of, rules_text
from tests.store.world import World, day, open_store, phone, seen
from worker.cli.explain import explain
from worker.cli.words import SENTENCES, sentence_of
from worker.errors import UsageError
from worker.model import Reason, SilenceKind
from worker.rules.load import load
from worker.store.silencebook import SilenceBook
from worker.testing import FakeClock

command = import_module("worker.cli.explain")
"""The module: the package has the command under the same name."""

NOW = 8.0
"""Ann got her push on day 7; her e-mail is due on day 9, at noon UTC."""

GOOD = Path(__file__).resolve().parents[2] / "rules"


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """Ann was there, went quiet, and is on a ladder."""
    path = tmp_path / "state.db"
    store = await open_store(path)
    world = await World(store).begin()
    await world.tell(seen("ann", 0), phone("ann"))
    await world.claimed("ann")
    await store.close()
    return path


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The day on which is asked, where the test does not say."""
    monkeypatch.setattr(command, "SystemClock", lambda: FakeClock(now_ms=day(NOW - 2)))


def ask(state: Path, rules: Path, *words: str) -> Result:
    environment = {"COMEBACK_STATE": str(state), "COMEBACK_RULES": str(rules)}
    return CliRunner().invoke(explain, ["ann", *words], env=environment, catch_exceptions=False)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A folder with one typo."""
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "shop.yaml").write_text("apiVersion: v1\nruels: []\n")
    return folder


def test_what_comes_next_says_what_it_does_not_know(state: Path) -> None:
    story = ask(state, GOOD)
    assert story.exit_code == 0
    _, standing, coming = re.split("how it stands|what comes next", story.stdout)
    assert "shop-comeback (shadow, not on its ladder)" in standing
    assert coming.startswith(" (by the rules, if the user does not come back; a stale stream")
    # The rule the user is on a ladder of is in no file any more.
    assert re.search("winback +nudge +rule_changed", coming)
    assert story.stderr == ""


def test_a_typo_in_the_rules_does_not_hide_what_happened(state: Path, bad: Path) -> None:
    story = ask(state, bad)
    assert story.exit_code == 0
    assert "what happened" in story.stdout
    assert "sends" in story.stdout
    assert "what comes next" not in story.stdout
    assert "ruels" in story.stderr
    assert "shop.yaml:2:1" in story.stderr


def test_for_machines_what_is_not_known_is_null(state: Path, bad: Path) -> None:
    (known,) = json.loads(ask(state, GOOD, "--json").stdout)
    assert isinstance(known["next"], list)
    answer = ask(state, bad, "--json")
    (unknown,) = json.loads(answer.stdout)
    assert unknown["next"] is None
    assert unknown["sends"] == known["sends"] != []
    assert "ruels" in answer.stderr


def test_a_sentence_that_only_repeats_its_reason_is_left_out() -> None:
    assert sentence_of(Reason.NOT_YET_DUE) == ""
    assert sentence_of(Reason.SENT) == SENTENCES[Reason.SENT]
    assert sentence_of("nobody_knows") == ""


# --- a user under real rules --------------------------------------------------------------------

QUIET = """
quiet_hours:
  - {{name: siesta, from: "{begin}", to: "{end}"}}
"""
CAPPED = "limits: {user: [{max: 1, per: 7d}]}\n"


@pytest.fixture
async def lived(tmp_path: Path) -> AsyncIterator[LivedState]:
    """Ann, who uses her phone in Seoul, where it is 21:00 at noon UTC."""
    rules = folder_of(tmp_path / "rules", rules_text())
    lived = await LivedState.begin(tmp_path / "lived.db", rules)
    await lived.user("ann", 0)
    await lived.until(NOW)
    yield lived
    await lived.close()


Told = Callable[..., str]


@pytest.fixture
def told(lived: LivedState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the command says of Ann, on a day."""

    def tell(*words: str, on: float = NOW) -> str:
        monkeypatch.setattr(command, "SystemClock", lambda: FakeClock(now_ms=day(on)))
        environment = {"COMEBACK_STATE": str(lived.path), "COMEBACK_RULES": str(tmp_path / "none")}
        result = CliRunner().invoke(
            explain, ["ann", *words], env=environment, catch_exceptions=False
        )
        assert result.exit_code == 0
        assert "token-" not in result.output
        assert "@x.test" not in result.output
        return result.stdout

    return tell


def standing(text: str) -> list[str]:
    """The lines that tell how it stands."""
    return text.split("how it stands\n")[1].split("\n\n")[0].splitlines()


def coming(text: str) -> list[list[str]]:
    """The lines that tell what comes next: instant, rule, stage, reason."""
    lines = text.split("what comes next")[1].splitlines()[1:]
    return [re.split(" {2,}", line.strip()) for line in lines]


def test_the_conditions_that_hold_stand_before_the_first_that_blocks(told: Told) -> None:
    lines = standing(told())
    assert lines[0] == (
        "  winback (live, on its ladder since 2026-11-07 12:00:00Z, at stage email)"
    )
    assert lines[1] == "    ok  the user has not come back"
    assert all(line.startswith("    ok  ") for line in lines[1:-2])
    assert lines[-2] == ("    NO  the stage is due: not_yet_due until 2026-11-09 12:00:00Z (in 1d)")


def test_the_future_is_told_to_its_end(told: Told) -> None:
    assert [(row[0], *row[2:5]) for row in coming(told())] == [
        ("2026-11-09 12:00:00Z", "winback", "email", "sent"),
        ("2026-11-09 12:00:00Z", "winback", "-", "ladder_done"),
    ]


async def test_an_edited_ladder_is_told_as_the_one_the_user_is_on(
    told: Told, lived: LivedState, tmp_path: Path
) -> None:
    edited = rules_text(text="other").replace("after: 2d", "after: 30d")
    await lived.world.store.adopt(load(folder_of(tmp_path / "edited", edited)).adoption)
    text = told()
    assert "which was edited since: the user finishes the one it was" in standing(text)[0]
    assert coming(text)[0][0] == "2026-11-09 12:00:00Z"


async def in_force(lived: LivedState, tmp_path: Path, text: str) -> None:
    await lived.world.store.adopt(load(folder_of(tmp_path / "other", text)).adoption)


async def test_quiet_hours_are_told_with_their_name_and_the_zone(
    told: Told, lived: LivedState, tmp_path: Path
) -> None:
    quiet = QUIET.format(begin="20:00", end="23:00")
    await in_force(lived, tmp_path, rules_text() + quiet)
    blocked, ground = standing(told(on=9.01))[-2:]
    assert "NO  quiet hours and legal windows are open: quiet_hours until 2026-11-09 14:00:00Z" in (
        blocked
    )
    assert "quiet hours siesta, zone Asia/Seoul (told by the app); open" in ground


async def test_a_cap_is_told_with_the_sends_that_fill_it(
    told: Told, lived: LivedState, tmp_path: Path
) -> None:
    await in_force(lived, tmp_path, rules_text() + CAPPED)
    blocked, ground = standing(told(on=9.01))[-2:]
    assert "the user's caps leave a slot: cap until 2026-11-14 12:00:00Z" in blocked
    assert "at most 1 in 7d, filled by push of winback at 2026-11-07 12:00:00Z" in ground


def test_a_silence_is_told_with_who_made_it_and_why(told: Told, lived: LivedState) -> None:
    book = SilenceBook(str(lived.path), clock=FakeClock(now_ms=day(NOW)))
    made = book.add(
        SilenceKind.SILENCE,
        ['channel="email"'],
        ends_ms=day(12),
        author="sam",
        comment="mail strike",
    )
    text = told(on=9.01)
    blocked, ground = standing(text)[-2:]
    assert "nobody has silenced, paused or stopped it: silenced until 2026-11-12" in blocked
    assert (
        f'silence {made.silence_id} on channel="email", by sam at 2026-11-08 12:00:00Z: '
        '"mail strike"' in ground
    )
    assert ["2026-11-12 12:00:00Z", "winback", "email", "sent"] in [
        [row[0], *row[2:5]] for row in coming(text)
    ]


async def test_a_matcher_that_fails_is_named_and_the_users_value_is_not(
    told: Told, lived: LivedState, tmp_path: Path
) -> None:
    other = rules_text().replace("winback", "other").replace('name!="Bob"', 'name="Bob"')
    await in_force(lived, tmp_path, other)
    text = told("--why-not", "other")
    assert "other is not sending anything because: the rule's matchers do not fit this user" in text
    assert 'name="Bob" does not fit the user\'s name' in text
    assert "Ann" not in text.split("how it stands")[1]


def test_why_not_tells_one_rule_from_its_end(told: Told) -> None:
    text = told("--why-not", "winback")
    assert (
        "winback is not sending email because: not yet due (stage email is due "
        "2026-11-09 12:00:00Z (in 1d)).\n"
        "It is asked again 2026-11-09 12:00:00Z (in 1d)." in text
    )
    (document,) = json.loads(told("--why-not", "winback", "--json"))
    assert document["why_not"][0].startswith("winback is not sending email because")
    assert [rule["rule"] for rule in document["rules"]] == ["winback"]


def test_why_not_tells_the_answer_and_its_conditions_and_no_sends(told: Told) -> None:
    text = told("--why-not", "winback")
    assert "how it stands" in text
    for other in ("what happened", "sends\n", "what comes next"):
        assert other in told()
        assert other not in text


async def test_a_rule_that_sent_in_this_silence_is_not_said_to_have_sent_nothing(
    told: Told, lived: LivedState
) -> None:
    await lived.until(NOW + 2)
    text = told("--why-not", "winback", on=NOW + 2)
    assert "not sending" in text
    assert "not sent" not in text


async def test_a_rule_in_shadow_is_said_to_send_nothing_whatever_happens(
    told: Told, lived: LivedState, tmp_path: Path
) -> None:
    await in_force(lived, tmp_path, rules_text(mode="shadow"))
    assert "it is in mode: shadow, which sends nothing" in told("--why-not", "winback")


def test_a_misspelt_rule_is_met_with_the_nearest_name(told: Told) -> None:
    with pytest.raises(UsageError, match='did you mean "winback"'):
        told("--why-not", "winbak")


def test_the_past_is_told_as_it_stood(told: Told) -> None:
    before = told("--at", "-2d")
    assert "what happened" not in before
    assert "on no ladder" in before
    told_for, *head = before.splitlines()[1:5]
    assert told_for.split(maxsplit=2)[:2] == ["told", "for"]
    assert all(line.startswith("  now: ") for line in head), "the head is of today"
    assert "now: " not in told()
    after = told("--at", "2026-11-07T12:00:00Z")
    assert "winback  on its ladder since 2026-11-07 12:00:00Z  last: push: " in after
    assert "what comes next" not in after


def test_the_future_is_told_as_it_will_stand(told: Told) -> None:
    text = told("--at", "2d")
    happens = text.split("what happens until then")[1].split("\n\n")[0]
    assert "winback  email  sent" in happens
    assert "how it will stand then\n  winback (live, not on its ladder)" in text
    assert "NO  no ladder yet in this silence: once_per_silence" in text


@pytest.mark.parametrize(
    ("at", "needle"),
    [
        ("yesterday", "or a distance, such as 2h or -3d"),
        ("2026-11-07", "has no time and no zone"),
        ("5x", "is not a duration"),
        ("900d", "nothing is foreseen for longer than 400 days"),
    ],
)
def test_an_instant_that_cannot_be_read_says_how_to_write_it(
    told: Told, at: str, needle: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(needle)):
        told("--at", at)


def test_machines_get_the_conditions_too(told: Told) -> None:
    (document,) = json.loads(told("--json"))
    (rule,) = document["rules"]
    assert rule["reason"] == "not_yet_due"
    assert rule["deciding"] == "the stage is due"
    assert "match still fits the user" in rule["holds"]
    assert rule["ladder"]["stage"] == "email"
    assert [step["reason"] for step in document["next"]] == ["sent", "ladder_done"]
