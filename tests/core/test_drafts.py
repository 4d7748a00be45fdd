"""Values made by way of drafts are the values they say they are."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from worker.drafts import changed, quick
from worker.model import Arm, Episode, Message, Reason, UserView

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


def test_a_value_made_quickly_is_the_value_that_is_made() -> None:
    made = quick(Episode)(
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
    assert made == EPISODE
    assert type(made) is Episode
    with pytest.raises(FrozenInstanceError):
        made.stage = "sms"  # type: ignore[misc]


def test_what_is_not_given_is_as_the_class_says_and_nobody_elses() -> None:
    new_message = quick(Message)
    one, other = new_message(body="b"), new_message(body="b")
    assert one == Message(body="b")
    assert one.data is not other.data
    assert new_message(data={"k": "v"}) == Message(data={"k": "v"})


def test_it_takes_the_same_keywords_and_no_others() -> None:
    new_view = quick(UserView)
    with pytest.raises(TypeError, match="last_active_ms"):
        new_view(user_id="u")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="stge"):
        new_view(user_id="u", last_active_ms=None, stge="sms")  # type: ignore[call-arg]
