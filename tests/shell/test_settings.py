"""Settings: every mistake at once, in words for the person who made it."""

from __future__ import annotations

import pytest

from worker.errors import SettingsError
from worker.settings import Settings, read_settings


def test_defaults_need_no_environment() -> None:
    assert read_settings({}) == Settings()


def test_values_come_from_comeback_variables_only() -> None:
    settings = read_settings(
        {"COMEBACK_STREAM": "events", "COMEBACK_MAX_STALENESS": "2m30s", "STREAM": "other"}
    )
    assert settings.stream == "events"
    assert settings.max_staleness == 150_000


def test_a_misspelt_variable_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match=r"COMEBACK_STEAM is not a setting.*COMEBACK_STREAM\?"):
        read_settings({"COMEBACK_STEAM": "events"})


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(
            {
                "COMEBACK_HTTP": "nowhere",
                "COMEBACK_DRAIN_SECONDS": "soon",
                "COMEBACK_SWEEP_INTERVAL": "5",
                "COMEBACK_COLOUR": "red",
            }
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for variable in ("HTTP", "DRAIN_SECONDS", "SWEEP_INTERVAL", "COLOUR"):
        assert any(f"COMEBACK_{variable}" in line for line in lines)


def test_what_a_command_needs_is_named_with_its_meaning() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings().require("stream", "pinpoint_application_id")
    assert "COMEBACK_STREAM is not set: Kinesis stream to read" in str(caught.value)
    assert "COMEBACK_PINPOINT_APPLICATION_ID is not set" in str(caught.value)
