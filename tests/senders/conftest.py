"""A Pinpoint stub, and a sender that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.senders.endpoint import point_at
from worker.sandbox.pinpoint import PinpointStub
from worker.senders.pinpoint import PinpointSender, open_pinpoint


@pytest.fixture
async def stub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PinpointStub]:
    server = PinpointStub()
    point_at(await server.start(), monkeypatch)
    yield server
    await server.stop()


@pytest.fixture
async def sender(stub: PinpointStub) -> AsyncIterator[PinpointSender]:
    async with open_pinpoint("app-1") as opened:
        yield opened
