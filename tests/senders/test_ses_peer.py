"""SES by somebody else: moto, which takes mail from verified senders only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiobotocore.session import get_session

from tests.peers.servers import running
from tests.senders.deliveries import crowd
from tests.senders.endpoint import point_at
from tests.senders.outcomes import kinds
from tests.senders.services import MAIL_ORIGIN
from worker.model import Channel, Sent
from worker.senders.ses import open_ses

pytestmark = pytest.mark.peer("moto")


@pytest.fixture(scope="module")
def peer() -> Iterator[str]:
    with running("moto") as url:
        yield url


@pytest.fixture
async def console(peer: str) -> AsyncIterator[Any]:
    """SES's older API, by which people verify senders and look at what went out."""
    async with get_session().create_client(
        "ses", endpoint_url=peer, region_name="eu-west-1"
    ) as client:
        yield client


async def test_a_verified_sender_is_taken_and_another_pauses_the_channel(
    peer: str, console: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(peer, monkeypatch)
    people = crowd(2, Channel.EMAIL)
    async with open_ses(MAIL_ORIGIN) as sender:
        assert kinds(await sender.send(people[:1])) == {"Retry channel_paused MessageRejected"}
        await console.verify_email_identity(EmailAddress="shop@example.com")
        sent = [*await sender.send(people[:1]), *await sender.send(people[1:])]
    assert len({one.message_id for one in sent if isinstance(one, Sent)}) == 2
    assert (await console.get_send_quota())["SentLast24Hours"] == 2
