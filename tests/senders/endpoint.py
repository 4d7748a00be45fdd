"""Makes the Pinpoint client of a test talk to a server of the test."""

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

    monkeypatch.setattr("worker.senders.pinpoint_client.get_session", session)
    monkeypatch.setenv("AWS_ENDPOINT_URL_PINPOINT", url)
