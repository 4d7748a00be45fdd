"""The stores the contract is held against, each with a world around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.store.world import STORES, World, open_store


@pytest.fixture(params=STORES)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    path = STORES[request.param]
    store = await open_store(path if path == ":memory:" else tmp_path / path)
    yield await World(store).begin()
    await store.close()
