"""Settings: every mistake at once, in words for the person who made it."""

from __future__ import annotations

import pytest

from worker.errors import SettingsError
from worker.model import DAY_MS
from worker.settings import PREFIX, Settings, in_words, read_settings


def refusal_of(variable: str, value: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read_settings({variable: value})
    return str(caught.value)


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
                "COMEBACK_DRAIN_TIMEOUT": "soon",
                "COMEBACK_SWEEP_INTERVAL": "5",
                "COMEBACK_COLOUR": "red",
            }
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for variable in ("HTTP", "DRAIN_TIMEOUT", "SWEEP_INTERVAL", "COLOUR"):
        assert any(f"COMEBACK_{variable}" in line for line in lines)


def test_what_a_command_needs_is_named_with_its_meaning() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings().require("stream", "pinpoint_application_id")
    assert "COMEBACK_STREAM is not set: Kinesis stream to read" in str(caught.value)
    assert "COMEBACK_PINPOINT_APPLICATION_ID is not set" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("COMEBACK_POLL_INTERVAL", "100ms", "it must be at least 200ms."),
        ("COMEBACK_POLL_INTERVAL", "2m", "it must be at most 1m."),
        ("COMEBACK_MAX_STALENESS", "25h", "it must be at most 1d."),
        ("COMEBACK_DRAIN_TIMEOUT", "2m", "it must be at most 1m55s."),
        ("COMEBACK_DRAIN_TIMEOUT", "25", '"25" has no unit; write whole numbers with units'),
        ("COMEBACK_CALLS_IN_FLIGHT_MAX", "0", "it must be at least 1."),
        ("COMEBACK_CALLS_IN_FLIGHT_MAX", "some", "it must be a whole number."),
        ("COMEBACK_STANDBY", "maybe", "it must be true or false."),
        ("COMEBACK_LOG_FORMAT", "xml", "it must be 'auto', 'console' or 'json'."),
        ("COMEBACK_HTTP", "0.0.0.0:65536", "the port must be at most 65535."),
        ("COMEBACK_HTTP", "127.0.0.1", "it must look like 0.0.0.0:9464 or 127.0.0.1:9464."),
    ],
)
def test_a_value_out_of_range_is_told_in_the_words_of_the_setting(
    variable: str, value: str, told: str
) -> None:
    message = refusal_of(variable, value)
    assert message.startswith(f'{variable}="{value}" cannot be used: {told}')


ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/pinpoint-events"


@pytest.mark.parametrize(
    "stream",
    ["", "e", "A.b_c-9", "x" * 128, ARN, ARN.replace("arn:aws:", "arn:aws-us-gov:")],
)
def test_a_stream_is_a_name_or_an_arn(stream: str) -> None:
    assert read_settings({"COMEBACK_STREAM": stream}).stream == stream


@pytest.mark.parametrize("stream", ["two words", "events\n", "x" * 129, "stream/events"])
def test_what_cannot_be_the_name_of_a_stream_is_refused(stream: str) -> None:
    assert "letters, digits, _ . - and at most 128" in refusal_of("COMEBACK_STREAM", stream)


@pytest.mark.parametrize(
    "arn",
    [
        ARN.replace("kinesis", "firehose"),
        ARN.replace("123456789012", ""),
        ARN.replace("stream/", ""),
        ARN + "/consumer/one:1",
    ],
)
def test_what_is_the_arn_of_something_else_is_refused(arn: str) -> None:
    told = refusal_of("COMEBACK_STREAM", arn)
    assert "it is not the ARN of a Kinesis stream, arn:aws:kinesis:REGION:ACCOUNT:stream/" in told


def test_every_default_is_read_back_from_the_words_it_is_shown_in() -> None:
    shown = {
        PREFIX + name.upper(): in_words(name, field.default)
        for name, field in Settings.model_fields.items()
    }
    assert read_settings(shown) == Settings()
    assert shown["COMEBACK_POLL_INTERVAL"] == "1s"
    assert shown["COMEBACK_STANDBY"] == "true"


def test_the_longest_staleness_is_a_day() -> None:
    assert read_settings({"COMEBACK_MAX_STALENESS": "24h"}).max_staleness == DAY_MS


def test_only_what_is_chosen_is_needed() -> None:
    def needed(**chosen: str) -> set[str]:
        variables = {f"COMEBACK_{name.upper()}": value for name, value in chosen.items()}
        return set(read_settings(variables).needed_to_send)

    assert needed() == {"pinpoint_application_id", "email_from"}
    assert needed(email_sender="pinpoint") == {"pinpoint_application_id"}
    assert needed(sms_sender="end_user_messaging") == {
        "pinpoint_application_id",
        "email_from",
        "sms_origination_identity",
    }


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://example.com/stop?u={user_id}&s={send_id}",
        "mailto:stop+{send_id}@example.com",
    ],
)
def test_a_way_to_unsubscribe_is_an_https_or_mailto_address(url: str) -> None:
    assert read_settings({"COMEBACK_UNSUBSCRIBE_URL": url}).unsubscribe_url == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.com/stop", "begin with https:// or mailto:"),
        ("https://", "begin with https:// or mailto:"),
        ("https://example.com/a b", "ASCII without spaces"),
        ("https://example.com/ü", "ASCII without spaces"),
        ("https://example.com/\r\nBcc:all", "ASCII without spaces"),
        ("https://example.com/{email}", "no other < > { }"),
        ("https://example.com/>", "no other < > { }"),
    ],
)
def test_what_no_header_can_carry_is_refused(url: str, told: str) -> None:
    assert told in refusal_of("COMEBACK_UNSUBSCRIBE_URL", url)


@pytest.mark.parametrize("number", ["4915112345678", "+0151", "+49 151 12345678", "+49\n"])
def test_the_number_to_check_with_is_complete(number: str) -> None:
    assert "it must be + and up to 15 digits" in refusal_of("COMEBACK_SMS_CHECK_NUMBER", number)
