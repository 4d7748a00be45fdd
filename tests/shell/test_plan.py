"""`comeback plan`: who enters, moves and leaves, what is sent and what it costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.shell.lived_state import LivedState, folder_of, rules_text
from tests.store.world import day
from worker.errors import ChangesFound, ProblemsFound, UsageError
from worker.testing import FakeClock

command = import_module("worker.cli.plan")
"""The module: the package has the command under the same name."""

NOW = 8.0
"""The day on which the plan is asked for."""


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """On day 8: Ann got her push on day 7 and waits for her e-mail; Cid has been silent for 4 days,
    Dan for 1; Bob is not matched."""
    lived = await LivedState.begin(
        tmp_path / "state.db", folder_of(tmp_path / "rules", rules_text())
    )
    await lived.user("ann", 0)
    await lived.user("cid", 4)
    await lived.user("dan", 7)
    await lived.until(NOW)
    await lived.close()
    return lived.path


Ask = Callable[..., Result]


@pytest.fixture
def ask(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs the command on a folder of its own with the text given."""
    monkeypatch.setattr(command, "SystemClock", lambda: FakeClock(now_ms=day(NOW)))
    environment = {"COMEBACK_STATE": str(state), "COMEBACK_RULES": str(tmp_path / "rules")}

    def asked(text: str, *words: str) -> Result:
        new = folder_of(tmp_path / "new", text)
        return CliRunner().invoke(command.plan, [str(new), *words], env=environment)

    return asked


def exit_code(result: Result) -> int:
    """As `main` makes it of what the command raised."""
    return getattr(result.exception, "exit_code", result.exit_code)


def told(result: Result) -> Any:
    return json.loads(result.stdout)


def test_the_same_rules_are_no_change(ask: Ask) -> None:
    result = ask("# a comment\n" + rules_text(), "--json")
    assert exit_code(result) == 0
    document = told(result)
    assert document["changes"] == []
    assert document["moves"] == document["leaves"] == []
    assert all(s["sends"]["in_force"] == s["sends"]["proposed"] for s in document["stages"])
    assert "no change" in ask(rules_text()).stdout


def test_a_shorter_silence_lets_more_users_in(ask: Ask) -> None:
    result = ask(rules_text(days=4), "--json", "--days", "3")
    assert isinstance(result.exception, ChangesFound)
    assert exit_code(result) == 3
    document = told(result)
    (change,) = document["changes"]
    assert (change["key"], change["before"], change["after"]) == ("inactive_for", "7d", "4d")
    (rule,) = document["rules"]
    # In force: Cid on day 11. Proposed: Cid now, Dan on day 11.
    assert rule["enters"] == {"in_force": 1, "proposed": 2}
    assert rule["on_ladder"] == 1
    assert rule["moves"] == 0


def test_sends_and_money_are_told_by_day_and_channel(ask: Ask) -> None:
    document = told(ask(rules_text(days=4), "--json", "--days", "3"))
    by_day = {
        (entry["day"], entry["channel"]): (entry["sends"], entry["cost_micros"])
        for entry in document["by_day"]
    }
    both = {"in_force": 1, "proposed": 1}
    money = {"in_force": 500_000, "proposed": 500_000}
    assert by_day == {
        # Day 8 is 2026-11-08. Cid's push comes now and not on day 11, his e-mail 2 days after.
        ("2026-11-08", "push"): ({"in_force": 0, "proposed": 1}, {"in_force": 0, "proposed": 0}),
        ("2026-11-09", "email"): (both, money),
        ("2026-11-10", "email"): (
            {"in_force": 0, "proposed": 1},
            {"in_force": 0, "proposed": 500_000},
        ),
        ("2026-11-11", "push"): (both, {"in_force": 0, "proposed": 0}),
    }


def test_users_on_a_ladder_that_is_edited_finish_it_move_or_leave(ask: Ask) -> None:
    finish = told(ask(rules_text(text="other"), "--json"))
    assert finish["moves"] == finish["leaves"] == []
    move = told(ask(rules_text(text="other", on_edit="move"), "--json"))
    assert move["moves"] == [{"rule": "winback", "from": "email", "to": "email", "users": 1}]
    cancel = told(ask(rules_text(text="other", on_edit="cancel"), "--json"))
    (left,) = cancel["leaves"]
    assert left == {"rule": "winback", "stage": "email", "reason": "rule_changed", "users": 1}


def test_users_whom_the_new_matchers_do_not_fit_leave(ask: Ask) -> None:
    other = rules_text(on_edit="move").replace('name!="Bob"', 'name="Bob"')
    (left,) = told(ask(other, "--json"))["leaves"]
    assert (left["stage"], left["reason"], left["users"]) == ("email", "match_lost", 1)


def test_a_rule_put_to_shadow_sends_nothing_and_is_told_as_what_it_would_send(ask: Ask) -> None:
    document = told(ask(rules_text(mode="shadow"), "--json", "--days", "3"))
    push, email = document["stages"]
    assert push["sends"] == {"in_force": 1, "proposed": 0}
    assert push["would_send"] == {"in_force": 0, "proposed": 1}
    assert email["cost_micros"] == {"in_force": 500_000, "proposed": 0}


def test_users_to_whom_nothing_can_happen_are_not_played(ask: Ask) -> None:
    document = told(ask(rules_text(), "--json", "--days", "1"))
    # Cid is due on day 11, Dan on day 14.
    assert (document["users"], document["users_affected"]) == (3, 1)


def test_a_sample_is_said_to_be_one_and_is_the_same_every_time(ask: Ask) -> None:
    words = "--sample", "1", "--days", "10"
    first = ask(rules_text(days=4), "--json", *words)
    document = told(first)
    assert document["estimate"] is True
    assert (document["users_affected"], document["users_played"]) == (3, 1)
    assert told(ask(rules_text(days=4), "--json", *words)) == document
    text = ask(rules_text(days=4), *words).stdout
    assert "a sample of 1 of them was played, 1 in 3.0" in text
    assert "~3" in text
    assert told(ask(rules_text(days=4), "--json", "--all"))["estimate"] is False


def test_mistakes_are_listed_and_nothing_is_planned(ask: Ask) -> None:
    result = ask(rules_text().replace("inactive_for", "inactve_for"))
    assert isinstance(result.exception, ProblemsFound)
    assert exit_code(result) == 1
    assert 'did you mean "inactive_for"' in result.stdout
    assert "users" not in result.stdout


def test_a_file_is_no_folder(ask: Ask, tmp_path: Path) -> None:
    result = ask(rules_text(), "--against", str(tmp_path / "new" / "shop.yaml"))
    assert isinstance(result.exception, UsageError)
    assert "name its folder" in str(result.exception)


def test_another_folder_can_stand_for_what_is_in_force(ask: Ask, tmp_path: Path) -> None:
    against = folder_of(tmp_path / "old", rules_text(days=9))
    document = told(ask(rules_text(), "--json", "--against", str(against)))
    (change,) = document["changes"]
    assert (change["before"], change["after"]) == ("9d", "7d")
    assert document["in_force"]["found"] == str(against)


def test_what_the_worker_took_into_force_counts_not_what_its_folder_holds_now(
    ask: Ask, tmp_path: Path
) -> None:
    folder_of(tmp_path / "rules", rules_text(days=30))
    assert exit_code(ask(rules_text())) == 0


def test_for_people_the_difference_stands_beside_the_numbers(ask: Ask) -> None:
    text = ask(rules_text(days=4), "--days", "3").stdout
    assert "winback: inactive_for: 7d -> 4d  (for ladders that begin from now on)" in text
    assert "3 users; something can happen to 3 of them within 3 days" in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("  winback  1 ")]
    assert row == ["winback", "1", "1", "2", "(+1)", "0", "0"]


def test_a_rule_to_whom_nothing_happens_is_told_too(ask: Ask) -> None:
    added = rules_text() + rules_text().split("rules:\n")[1].replace("winback", "later").replace(
        "inactive_for: 7d", "inactive_for: 300d"
    )
    result = ask(added)
    (row,) = [
        line.split() for line in result.stdout.splitlines() if line.startswith("  later    0")
    ]
    assert row == ["later", "0", "0", "0", "0", "0"]
    rules = told(ask(added, "--json"))["rules"]
    assert [rule["rule"] for rule in rules] == ["later", "winback"]


def test_money_is_left_out_where_no_rule_set_has_prices(ask: Ask, tmp_path: Path) -> None:
    def unpriced(**changes: Any) -> str:
        lines = rules_text(**changes).splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("prices"))

    against = folder_of(tmp_path / "old", unpriced())
    words = "--against", str(against), "--days", "3"
    text = ask(unpriced(days=4), *words).stdout
    assert "sends by stage" in text
    assert "USD" not in text
    assert "0.00" not in text
    assert told(ask(unpriced(days=4), "--json", *words))["currency"] is None
    priced = ask(rules_text(days=4), *words).stdout
    assert "USD: in force" in priced, "one of the two has prices"
    mixed = ask(rules_text(mode="shadow"), *words).stdout
    assert "would be sent" in mixed


async def test_it_reads_beside_a_worker_and_changes_nothing(
    ask: Ask, state: Path, tmp_path: Path
) -> None:
    lived = await LivedState.begin(state, tmp_path / "rules")
    before = await lived.world.store.next_due_ms()
    assert exit_code(ask(rules_text(days=4))) == 3
    assert await lived.world.store.next_due_ms() == before
    await lived.user("eve", NOW)
    await lived.close()
