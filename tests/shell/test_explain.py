"""`comeback explain`: the story without its rules, and no word said twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.store.world import World, open_store, phone, seen
from worker.cli.explain import explain
from worker.cli.words import SENTENCES, sentence_of
from worker.model import Reason

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
    assert (
        "what comes next (by the rules; a stale stream or a paused channel can delay it)\n"
        in story.stdout
    )
    assert "shop-comeback" in story.stdout.split("what comes next")[1]
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
