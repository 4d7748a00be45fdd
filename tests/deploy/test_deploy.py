"""deploy/: what it names exists, and what it allows is what the worker asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from worker.kinesis.stream import _METHODS
from worker.rules.durations import parse_duration
from worker.senders import end_user_messaging, pinpoint, ses
from worker.settings import PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def service() -> dict[str, Any]:
    document = YAML(typ="safe").load(DEPLOY / "compose.yaml")
    service: dict[str, Any] = document["services"]["comeback"]
    return service


def test_every_comeback_variable_is_a_setting(service: dict[str, Any]) -> None:
    names = [name for name in service["environment"] if name.startswith(PREFIX)]
    assert names
    assert all(name.removeprefix(PREFIX).lower() in Settings.model_fields for name in names)


def test_what_a_worker_cannot_do_without_is_demanded(service: dict[str, Any]) -> None:
    needed = [PREFIX + name.upper() for name in ("stream", *Settings().needed_to_send)]
    for name in (*needed, "AWS_REGION"):
        assert re.fullmatch(rf"\$\{{{name}:\?.+\}}", service["environment"][name])


def test_the_container_is_given_longer_than_its_drain(service: dict[str, Any]) -> None:
    drain_ms = parse_duration(service["environment"]["COMEBACK_DRAIN_TIMEOUT"])
    assert parse_duration(service["stop_grace_period"]) > drain_ms


def test_paths_lead_to_what_is_there(service: dict[str, Any]) -> None:
    assert (DEPLOY / service["build"] / "Dockerfile").is_file()
    sources = [volume.split(":")[0] for volume in service["volumes"]]
    assert (DEPLOY / sources[1]).is_dir()


def test_the_policy_allows_exactly_the_calls_that_are_made() -> None:
    policy = json.loads((DEPLOY / "iam-policy.json").read_text())
    actions = {action for statement in policy["Statement"] for action in statement["Action"]}
    calls = {f"kinesis:{operation}" for operation in _METHODS}
    sends = {
        f"mobiletargeting:{pinpoint.OPERATION}",
        f"ses:{ses.SEND_EMAIL}",
        f"ses:{ses.SEND_BULK_EMAIL}",
        f"sms-voice:{end_user_messaging.OPERATION}",
    }
    assert actions == calls | sends | {"kms:Decrypt"}
    assert all("*" not in json.dumps(statement) for statement in policy["Statement"])
