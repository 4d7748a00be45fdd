"""A fake Kinesis for each test; a real peer of each kind for each test process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
import pytest_asyncio
from aiobotocore.session import get_session

from tests.kinesis.fake_kinesis import NOW_MS, FakeKinesis
from tests.kinesis.reading import Worker
from tests.peers.servers import running
from worker.kinesis.client import kinesis_client
from worker.testing import FakeClock


@pytest.fixture(scope="session")
def kinesis_local() -> Generator[str]:
    """Endpoint of a kinesis-local."""
    with running("kinesis-local") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def kinesalite() -> Generator[str]:
    """Endpoint of a kinesalite."""
    with running("kinesalite") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def session() -> Any:
    """Parsing the service model once takes most of the time of making clients."""
    return get_session()


@pytest_asyncio.fixture
async def client(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, session: Any
) -> AsyncGenerator[Any]:
    """A client to the peer the test is marked with; to nobody when it is marked with none."""
    monkeypatch.setattr("worker.kinesis.client.get_session", lambda: session)
    mark = request.node.get_closest_marker("peer")
    fixture = None if mark is None else mark.args[0].replace("-", "_")
    endpoint = request.getfixturevalue(fixture) if fixture else "http://127.0.0.1:1"
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", endpoint)
    async with kinesis_client() as one:
        yield one


@pytest.fixture
def clock() -> FakeClock:
    """Virtual time."""
    return FakeClock(NOW_MS)


@pytest.fixture
def service(clock: FakeClock) -> FakeKinesis:
    """A Kinesis with one stream of one shard."""
    return FakeKinesis(clock)


@pytest.fixture
def worker(client: Any, clock: FakeClock, service: FakeKinesis) -> Worker:
    """Starts readings of the fake Kinesis."""
    return Worker(client, clock, service)
