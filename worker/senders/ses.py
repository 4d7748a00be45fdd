"""Sends e-mail by Amazon SES (service `sesv2`).

Like every sender it must not decide what is sent or whether to send again, and repeats nothing of
which it does not know that it was not accepted: neither operation has an idempotency token. Which
answer means what is in docs/senders.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager

from worker.model import Channel, Delivery, Outcome
from worker.senders import ses_answer as answer
from worker.senders import ses_request as request
from worker.senders.calls import Operation
from worker.senders.client import Client, open_client
from worker.senders.refusals import Answers, Refusals
from worker.senders.ses_request import MailOrigin, Unsendable

SERVICE = "sesv2"
SEND_EMAIL = "SendEmail"
SEND_BULK_EMAIL = "SendBulkEmail"


class SesSender:
    """Mail from one identity (ports.Sender)."""

    channels = frozenset({Channel.EMAIL})
    batch_max = request.RECIPIENTS_MAX

    def __init__(
        self, client: Client, origin: MailOrigin, *, call_timeout_seconds: float = 10.0
    ) -> None:
        """Takes over the sending operations of `client` and closes it in the end.

        `call_timeout_seconds` bounds one call from waiting for a connection to the last byte.
        """
        assert origin.email_from, "settings ask for the sender"
        self._client = client
        self._send_email = Operation(client, SEND_EMAIL, timeout_seconds=call_timeout_seconds)
        self._send_bulk = Operation(client, SEND_BULK_EMAIL, timeout_seconds=call_timeout_seconds)
        self._envelope = origin.envelope()
        self._unsubscribe_url = origin.unsubscribe_url
        self._refusals = Refusals()

    def call_kind(self, delivery: Delivery) -> Hashable:
        """The text: one call says the same to everybody (ports.Sender)."""
        return request.call_kind(delivery)

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Sends deliveries of one kind (ports.Sender): one call, unless SES refuses it as a whole
        (see `Refusals.send`)."""
        assert 1 <= len(deliveries) <= self.batch_max, "a call has its bounds"
        assert len({delivery.address for delivery in deliveries}) == len(deliveries)
        assert deliveries[0].claim.channel is Channel.EMAIL, "this sender has e-mail only"
        return await self._refusals.send(deliveries, self._call)

    async def close(self) -> None:
        """Closes the client and its connections; again is harmless."""
        await self._client.close()

    async def _call(self, deliveries: Sequence[Delivery]) -> Answers | None:
        """One call. None: certainly not accepted, and something in the call is to blame."""
        body = self._body(deliveries)
        if body is None or (len(body) > request.REQUEST_BYTES_MAX and len(deliveries) > 1):
            return None
        if len(deliveries) == 1:
            end = await self._send_email.call(body)
        else:
            end = await self._send_bulk.call(body)
        if not isinstance(end, bytes):
            return answer.of_failure(deliveries, end)
        if len(deliveries) == 1:
            return answer.of_one(deliveries[0], end)
        return answer.of_bulk(deliveries, end)

    def _body(self, deliveries: Sequence[Delivery]) -> bytes | None:
        try:
            if len(deliveries) == 1:
                return request.one_message(deliveries[0], self._envelope, self._unsubscribe_url)
            return request.bulk_message(deliveries, self._envelope, self._unsubscribe_url)
        except (UnicodeEncodeError, Unsendable):
            return None


@asynccontextmanager
async def open_ses(
    origin: MailOrigin, *, calls_in_flight_max: int = 8, call_timeout_seconds: float = 10.0
) -> AsyncIterator[SesSender]:
    """A sender with a client of its own, closed at the end. Raises SettingsError without a region.

    No more than `calls_in_flight_max` calls should be made at once: each needs a connection.
    """
    async with open_client(
        SERVICE, calls_in_flight_max=calls_in_flight_max, call_timeout_seconds=call_timeout_seconds
    ) as client:
        yield SesSender(client, origin, call_timeout_seconds=call_timeout_seconds)
