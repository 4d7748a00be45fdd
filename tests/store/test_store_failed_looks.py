"""Looks that fail: told to the log with a count and their place, however many users they hit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.store.world import World, day, open_store, seen
from worker.caps import limit_in_the_way
from worker.errors import place_of
from worker.model import Look, UserView
from worker.rules.durations import parse_duration
from worker.rules.load import load
from worker.store.looks import LOOK_FAILED_LINES_MAX, FailedLooks

CROWD = 30


@pytest.fixture
def logs() -> Iterator[Any]:
    with capture_logs() as captured:
        yield captured


def failed(logs: Any) -> list[Any]:
    return [line for line in logs if line["event"] == "look_failed"]


def raised(fail: Callable[[], object]) -> Exception:
    try:
        fail()
    except Exception as error:  # noqa: BLE001  the test is about any
        return error
    raise AssertionError("it did not fail")


async def test_a_bug_that_hits_everybody_is_one_line_with_their_number(
    tmp_path: Path, logs: Any
) -> None:
    store = await open_store(tmp_path / "state.db")
    world = await World(store).begin()
    await world.tell(*(seen(f"user-{number}", 0) for number in range(CROWD)))

    def look(view: UserView) -> Look:
        limit_in_the_way(None, (), day(7), None)  # type: ignore[arg-type] # this is the bug
        raise AssertionError(f"unreachable for {view.user_id}")

    await world.sweep(look, on=7)
    await store.close()
    (line,) = failed(logs)
    assert line["users"] == CROWD
    assert line["error"] == "AttributeError"
    assert line["at"].startswith("worker/caps.py:"), "where it failed, and not who called"
    assert "user-" not in str(line)


def test_lines_a_minute_are_bounded_and_what_was_left_out_is_counted_later(logs: Any) -> None:
    failures = FailedLooks()
    for second in range(120):
        for number in range(10):
            failures.add(f"user-{number}", raised(lambda: 1 // 0))
        failures.tell(second * 1_000)
        if second == 59:
            assert len(failed(logs)) == LOOK_FAILED_LINES_MAX
    assert len(failed(logs)) == 2 * LOOK_FAILED_LINES_MAX
    failures.tell(1_000_000)
    assert sum(line["users"] for line in failed(logs)) == 1_200


def test_the_place_of_an_error_in_a_library_names_our_line_too() -> None:
    place = place_of(raised(lambda: World.__init__()))  # type: ignore[call-arg]
    assert place.startswith("/")
    assert "test_store_failed_looks.py:" in place
    place = place_of(raised(lambda: parse_duration(None)))  # type: ignore[arg-type]
    assert place.startswith("worker/rules/durations.py:")
    place = place_of(raised(lambda: load(Path("a\0b"))))
    assert re.fullmatch(r"worker/rules/folder\.py:\d+ \(in \w+\.py:\d+\)", place)
