"""`comeback state`: whether the folder is what is in force, and what came of the ladders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.shell.lived_state import LivedState, folder_of, rules_text
from tests.store.world import seen
from worker.cli import commands
from worker.model import Conversion

GOAL = "    conversion: {event: order.placed, within: 7d}\n    stages:"


class Asked:
    """A state and a rules folder, and what the command says of both."""

    def __init__(self, state: Path, rules: Path) -> None:
        self.state, self.rules = state, rules

    def text(self, *words: str) -> str:
        environment = {"COMEBACK_STATE": str(self.state), "COMEBACK_RULES": str(self.rules)}
        result = CliRunner().invoke(
            commands, ["state", *words], env=environment, catch_exceptions=False
        )
        assert result.exit_code == 0
        return result.stdout

    def folder(self) -> str:
        """What the head says of the rules folder."""
        (line,) = [line for line in self.text().splitlines() if line.startswith("rules folder")]
        return line.removeprefix("rules folder").strip()

    def document(self) -> Any:
        return json.loads(self.text("--json"))


@pytest.fixture
async def lived(tmp_path: Path) -> LivedState:
    """Ann got push and e-mail and came back; Cid got both and did not."""
    rules = rules_text() + rules_text().split("rules:\n")[1].replace("winback", "hopeful").replace(
        "    stages:", GOAL
    )
    lived = await LivedState.begin(tmp_path / "state.db", folder_of(tmp_path / "rules", rules))
    await lived.user("ann", 0)
    await lived.user("cid", 0)
    await lived.until(8)
    await lived.world.tell(seen("ann", 8), on=8)
    await lived.until(9)
    return lived


@pytest.fixture
def asked(lived: LivedState, tmp_path: Path) -> Asked:
    return Asked(lived.path, tmp_path / "rules")


def test_a_folder_that_is_in_force_is_the_same(asked: Asked) -> None:
    assert asked.folder() == f"{asked.rules}, the same"
    assert asked.document()["rules_folder"]["in_force"] is True


def test_a_folder_that_was_edited_differs(asked: Asked) -> None:
    folder_of(asked.rules, rules_text(days=8))
    assert asked.folder().startswith(f"{asked.rules}, DIFFERS: revision ")
    told = asked.document()["rules_folder"]
    assert told["in_force"] is False
    assert told["revision"] in asked.folder()


def test_a_folder_with_problems_is_said_to_have_them_and_the_rest_is_told(asked: Asked) -> None:
    folder_of(asked.rules, rules_text().replace("inactive_for", "inactve_for"))
    assert " problem" in asked.folder()
    assert "what is in force stays" in asked.folder()
    assert "hopeful" in asked.text()
    assert asked.document()["rules_folder"]["problems"] > 0


def test_a_folder_that_is_not_there_is_said_not_to_be(asked: Asked, tmp_path: Path) -> None:
    asked.rules = tmp_path / "none"
    assert asked.folder() == f"{tmp_path}/none is not there"


def test_outcomes_are_counted_by_rule(asked: Asked) -> None:
    assert "ladders that ended (rule, outcome)\n  hopeful  exhausted  1\n" in asked.text()
    counts = {(e["rule"], e["outcome"]): e["count"] for e in asked.document()["episodes_ended"]}
    assert counts == {
        (rule, outcome): 1
        for rule in ("winback", "hopeful")
        for outcome in ("returned", "exhausted")
    }


async def test_conversions_are_told_of_rules_that_hope_for_one_or_had_one(
    asked: Asked, lived: LivedState
) -> None:
    def rules() -> set[str]:
        return {told["rule"] for told in asked.document()["conversions"]}

    assert rules() == {"hopeful"}
    bought = Conversion(
        at_ms=lived.world.clock.now_ms() + 8 * 86_400_000,
        rule="winback",
        within_ms=30 * 86_400_000,
        user_id="ann",
        endpoint_id=None,
    )
    await lived.world.tell(bought, on=9)
    assert rules() == {"hopeful", "winback"}
