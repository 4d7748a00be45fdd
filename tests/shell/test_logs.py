"""The log: its two forms, its levels, and that a traceback holds no local variable (P11)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from worker import logs

Form = Literal["auto", "console", "json"]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def fail_with_a_secret_in_hand() -> None:
    # Put together here, so that no line of this file, which a traceback quotes, holds it.
    token = "-".join(("device", "token", "4711"))
    try:
        len(token) / 0
    except ZeroDivisionError as error:
        raise RuntimeError("a bug") from error


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_holds_no_local_variable(
    form: Form, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(form, "info")
    log = structlog.get_logger()
    try:
        fail_with_a_secret_in_hand()
    except RuntimeError:
        log.exception("sender_failed", deliveries=3)
    text = capsys.readouterr().err
    for part in ("sender_failed", "RuntimeError", "ZeroDivisionError", "fail_with_a_secret"):
        assert part in text
    assert "device-token-4711" not in text


@pytest.mark.parametrize("form", ["json", "auto"])
def test_off_a_terminal_an_event_is_one_json_line(
    form: Form, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(form, "info")
    structlog.get_logger().warning("state_unwritable", shard="s-1")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "state_unwritable", "level": "warning", "shard": "s-1"}


def test_a_console_gets_words(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("console", "info")
    structlog.get_logger().info("working", rules="s1")
    err = capsys.readouterr().err
    assert "working" in err
    assert "rules=s1" in err
    assert not err.startswith("{")


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "warning")
    log = structlog.get_logger()
    log.info("quiet")
    log.warning("loud")
    err = capsys.readouterr().err
    assert "loud" in err
    assert "quiet" not in err
