"""Makes the clients of a test talk to a server of the test."""

from __future__ import annotations

from typing import Any

import pytest
from aiobotocore.session import get_session

_MODELS: Any = get_session().get_component("data_loader")
"""Reads botocore's service models; it keeps what it has read, and reading takes 0.1 s."""


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients made from now on use `url`, and share the service models they read."""

    def session() -> Any:
        made = get_session()
        made.register_component("data_loader", _MODELS)
        return made

    monkeypatch.setattr("worker.senders.client.get_session", session)
    for service in ("PINPOINT", "SESV2", "PINPOINT_SMS_VOICE_V2"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", url)
