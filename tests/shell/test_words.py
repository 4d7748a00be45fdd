"""Every reason has a sentence, and times read as people write them."""

from __future__ import annotations

import pytest

from worker.cli.words import SENTENCES, columns, moment, relative, span
from worker.model import DAY_MS, HOUR_MS, Reason
from worker.store.journal import CONVERTED, LOOK_FAILED, STOPPED_MID_CALL


def test_every_reason_has_a_sentence_of_its_own() -> None:
    assert set(SENTENCES) == {*Reason, CONVERTED, LOOK_FAILED, STOPPED_MID_CALL}
    assert len(set(SENTENCES.values())) == len(SENTENCES)


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(0, "0s"), (999, "0s"), (61_000, "1m 1s"), (8 * DAY_MS + 3 * HOUR_MS + 5, "8d 3h")],
)
def test_a_span_has_its_two_largest_units(duration_ms: int, text: str) -> None:
    assert span(duration_ms) == text


def test_moments_are_utc_and_relative_to_now() -> None:
    assert moment(1_793_448_000_000) == "2026-10-31 12:00:00Z"
    assert moment(None) == "-"
    assert relative(0, HOUR_MS) == "1h ago"
    assert relative(2 * HOUR_MS, HOUR_MS) == "in 1h"


def test_columns_line_up_and_end_without_blanks() -> None:
    assert columns([("a", "bb", ""), ("ccc", "d", "e")], indent="") == "a    bb\nccc  d   e"
