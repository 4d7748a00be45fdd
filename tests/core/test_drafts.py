"""Values made by way of drafts are the values they say they are."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from worker.drafts import changed
from worker.model import Arm, Episode, Reason

EPISODE = Episode(
    episode_id="e",
    user_id="u",
    rule="r",
    revision="1",
    silence_since_ms=1,
    opened_ms=2,
    stage="push",
    stage_due_ms=3,
    arm=Arm.HOLDOUT,
)


def test_a_changed_value_is_what_replace_makes() -> None:
    made = changed(EPISODE, hold=Reason.CAP, held_ms=7)
    assert made == replace(EPISODE, hold=Reason.CAP, held_ms=7)
    assert hash(made) == hash(replace(EPISODE, hold=Reason.CAP, held_ms=7))
    assert type(made) is Episode
    assert EPISODE.hold is None


def test_it_is_frozen_and_takes_no_other_names() -> None:
    with pytest.raises(FrozenInstanceError):
        changed(EPISODE).stage = "sms"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        changed(EPISODE, stge="sms")
