"""Sends by Pinpoint `SendMessages` (AWS End User Messaging): push, SMS and e-mail.

It must not decide what is sent or whether to send again, and it must not make a call that could
double one whose fate is unknown: the SDK's own retries are off, for `SendMessages` has no
idempotency token. Deliveries come from the outbox, outcomes go back to it. Which answer means
what, and what is certain about it, is the table in docs/sending.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager

from worker.model import Channel, Delivery, Outcome
from worker.senders import pinpoint_answer as answer
from worker.senders import pinpoint_request as request
from worker.senders.calls import Operation, after_failure
from worker.senders.client import Client, open_client
from worker.senders.pinpoint_request import Origin
from worker.senders.refusals import Refusals

SERVICE = "pinpoint"
OPERATION = "SendMessages"


class PinpointSender:
    """One Pinpoint application (ports.Sender)."""

    batch_max = request.RECIPIENTS_MAX

    def __init__(
        self,
        client: Client,
        application_id: str,
        *,
        channels: frozenset[Channel] = frozenset(Channel),
        origin: Origin | None = None,
        call_timeout_seconds: float = 10.0,
    ) -> None:
        """Takes over the `SendMessages` of `client` and closes it in the end.

        `call_timeout_seconds` bounds one call from waiting for a connection to the last byte.
        """
        assert application_id, "settings ask for the application id"
        self.channels = channels
        self._client = client
        self._send_messages = Operation(client, OPERATION, timeout_seconds=call_timeout_seconds)
        self._application_id = application_id
        self._origin = origin or Origin()
        self._refusals = Refusals()

    def call_kind(self, delivery: Delivery) -> Hashable:
        """Everything Pinpoint cannot say per address (ports.Sender)."""
        return request.call_kind(delivery)

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Sends deliveries of one kind (ports.Sender): one call, unless Pinpoint refuses it as a
        whole (see `Refusals.send`)."""
        assert 1 <= len(deliveries) <= self.batch_max, "a call has its bounds"
        assert len({delivery.address for delivery in deliveries}) == len(deliveries)
        channel = deliveries[0].claim.channel
        assert channel in self.channels, f"this sender has no {channel}"
        return await self._refusals.send(deliveries, self._call)

    async def close(self) -> None:
        """Closes the client and its connections; again is harmless."""
        await self._client.close()

    async def _call(self, deliveries: Sequence[Delivery]) -> list[Outcome] | None:
        """One call. None: certainly not accepted, and something in the call is to blame."""
        try:
            body = request.message_request(deliveries, self._origin)
        except UnicodeEncodeError:
            return None
        if len(body) > request.REQUEST_BYTES_MAX and len(deliveries) > 1:
            return None
        end = await self._send_messages.call(body, ApplicationId=self._application_id)
        if not isinstance(end, bytes):
            return after_failure(deliveries, end)
        return answer.outcomes_of(deliveries, end)


@asynccontextmanager
async def open_pinpoint(
    application_id: str,
    *,
    channels: frozenset[Channel] = frozenset(Channel),
    origin: Origin | None = None,
    calls_in_flight_max: int = 8,
    call_timeout_seconds: float = 10.0,
) -> AsyncIterator[PinpointSender]:
    """A sender with a client of its own, closed at the end. Raises SettingsError without a region.

    No more than `calls_in_flight_max` calls should be made at once: each needs a connection.
    """
    async with open_client(
        SERVICE, calls_in_flight_max=calls_in_flight_max, call_timeout_seconds=call_timeout_seconds
    ) as client:
        yield PinpointSender(
            client,
            application_id,
            channels=channels,
            origin=origin,
            call_timeout_seconds=call_timeout_seconds,
        )
