"""The HTTP port, asked over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from worker.errors import SettingsError
from worker.health import LOOP_SILENT_SECONDS_MAX, Health
from worker.metrics import Metrics
from worker.testing import FakeClock
from worker.web import PAGE, Web


class Port:
    """A web server of its own, and who asks it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.health = Health(clock=self.clock)
        self.metrics = Metrics()
        self.web = Web(bind="127.0.0.1:0", metrics=self.metrics, health=self.health)
        self.url = ""

    async def get(self, path: str) -> tuple[int, str, str]:
        """Status, content type, text."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, answer.headers["Content-Type"], await answer.text()


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    one = Port()
    one.url = await one.web.start()
    yield one
    await one.web.stop()


async def test_healthy_while_no_loop_is_stuck_and_503_names_those_that_are(port: Port) -> None:
    port.health.beat("ingest")
    port.health.beat("outbox")
    status, _, text = await port.get("/-/healthy")
    assert (status, text) == (200, "healthy\n")
    await port.clock.advance(LOOP_SILENT_SECONDS_MAX + 1)
    status, _, text = await port.get("/-/healthy")
    assert (status, text) == (503, "stuck: ingest, outbox\n")


async def test_ready_says_why_it_is_not(port: Port) -> None:
    status, _, text = await port.get("/-/ready")
    assert (status, text) == (503, "not ready: starting\n")
    port.health.not_ready_because = None
    status, _, text = await port.get("/-/ready")
    assert (status, text) == (200, "ready\n")


async def test_alive_and_ready_are_two_questions(port: Port) -> None:
    assert (await port.get("/-/healthy"))[0] == 200, "it only starts, which is no reason to kill it"
    port.health.not_ready_because = None
    port.health.beat("outbox")
    await port.clock.advance(LOOP_SILENT_SECONDS_MAX + 1)
    assert (await port.get("/-/ready"))[0] == 200


async def test_metrics_come_as_prometheus_reads_them_and_brought_up_to_date(port: Port) -> None:
    port.web.refresh = lambda: port.metrics.oldest_due.set(42)
    status, content_type, text = await port.get("/metrics")
    assert status == 200
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "comeback_oldest_due_seconds 42.0\n" in text


async def test_the_front_page_names_the_others_and_there_is_nothing_else(port: Port) -> None:
    assert (await port.get("/"))[2] == PAGE
    for path in ("/metrics", "/-/healthy", "/-/ready"):
        assert path in PAGE
    assert (await port.get("/users"))[0] == 404


async def test_an_address_in_use_is_a_mistake_in_the_settings(port: Port) -> None:
    bind = port.url.removeprefix("http://")
    other = Web(bind=bind, metrics=port.metrics, health=port.health)
    with pytest.raises(SettingsError, match=rf"cannot listen on {bind}: .*COMEBACK_HTTP"):
        await other.start()


async def test_a_port_that_was_closed_answers_no_more(port: Port) -> None:
    await port.web.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await port.get("/-/healthy")
    await Web(bind="127.0.0.1:0", metrics=port.metrics, health=port.health).stop()
