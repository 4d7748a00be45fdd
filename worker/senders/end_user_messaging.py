"""Sends SMS by AWS End User Messaging, `SendTextMessage` (service `pinpoint-sms-voice-v2`).

What Pinpoint's SendMessages cannot say is said here: how long the carriers may try, so that a late
SMS cannot land in the night, and what it may cost at most. Like every sender it must not decide
what is sent or whether to send again, and repeats nothing of which it does not know that it was
not accepted: there is no idempotency token. Which answer means what is in docs/senders.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager

from worker.model import SECOND_MS, Channel, Delivery, Outcome, Reason, Retry
from worker.ports import Clock
from worker.senders import end_user_messaging_answer as answer
from worker.senders import end_user_messaging_request as request
from worker.senders.calls import Operation
from worker.senders.client import Client, open_client
from worker.senders.end_user_messaging_request import TTL_SECONDS_MIN, TextOrigin
from worker.senders.refusals import Answers, Refusals

SERVICE = "pinpoint-sms-voice-v2"
OPERATION = "SendTextMessage"

TOO_LATE = "too_late"
"""Detail of a delivery whose time is up before the service could take it."""


class EndUserMessagingSender:
    """SMS from one origination identity (ports.Sender)."""

    channels = frozenset({Channel.SMS})
    batch_max = 1
    """SendTextMessage has one destination."""

    def __init__(
        self,
        client: Client,
        origin: TextOrigin,
        *,
        clock: Clock,
        call_timeout_seconds: float = 10.0,
    ) -> None:
        """Takes over the `SendTextMessage` of `client` and closes it in the end.

        `call_timeout_seconds` bounds one call from waiting for a connection to the last byte.
        """
        self._client = client
        self._origin = origin
        self._clock = clock
        self._send_text = Operation(client, OPERATION, timeout_seconds=call_timeout_seconds)
        self._refusals = Refusals()

    def call_kind(self, delivery: Delivery) -> Hashable:
        """A kind of its own for each (ports.Sender)."""
        return delivery.claim.send_id

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Sends one delivery (ports.Sender)."""
        assert len(deliveries) == self.batch_max, "one call, one text"
        assert deliveries[0].claim.channel is Channel.SMS, "this sender has SMS only"
        return await self._refusals.send(deliveries, self._call)

    async def check(self, number: str) -> str | None:
        """Asks by a dry run whether a text to `number` would be taken; nothing is sent or charged.

        None when it would; otherwise what is in the way for the moment, in one word. Raises
        SettingsError or AccessDenied for what a person must change first.
        """
        end = await self._send_text.call(request.dry_run(number, self._origin))
        return None if isinstance(end, bytes) else answer.trouble(end)

    async def close(self) -> None:
        """Closes the client and its connections; again is harmless."""
        await self._client.close()

    async def _call(self, deliveries: Sequence[Delivery]) -> Answers | None:
        """One call. None: certainly not accepted, and something in the call is to blame."""
        (delivery,) = deliveries
        ttl_seconds = None
        if delivery.ttl_ms is not None:
            ttl_seconds = request.ttl_seconds_of(self._time_left_ms(delivery, delivery.ttl_ms))
            if ttl_seconds is None:
                return [_too_late(delivery)]
        try:
            body = request.text_message(delivery, self._origin, ttl_seconds)
        except UnicodeEncodeError:
            return None
        end = await self._send_text.call(body)
        if isinstance(end, bytes):
            return answer.of_sent(delivery, end)
        return answer.of_failure(delivery, end)

    def _time_left_ms(self, delivery: Delivery, ttl_ms: int) -> int:
        """How long the service may try once it has the message, which may be as late as the end of
        the call: `ttl_ms` counts from when the ladder decided."""
        passed_ms = max(0, self._clock.now_ms() - delivery.claim.sent_at_ms)
        return ttl_ms - passed_ms - round(self._send_text.timeout_seconds * SECOND_MS)


def _too_late(delivery: Delivery) -> Retry:
    """Put off for longer than the time that was left, so that the ladder decides anew."""
    ttl_ms = delivery.ttl_ms or 0
    return Retry(
        send_id=delivery.claim.send_id,
        reason=Reason.TEMPORARY_FAILURE,
        detail=TOO_LATE,
        delay_ms=max(ttl_ms, TTL_SECONDS_MIN * SECOND_MS),
    )


@asynccontextmanager
async def open_end_user_messaging(
    origin: TextOrigin,
    *,
    clock: Clock,
    calls_in_flight_max: int = 8,
    call_timeout_seconds: float = 10.0,
) -> AsyncIterator[EndUserMessagingSender]:
    """A sender with a client of its own, closed at the end. Raises SettingsError without a region.

    No more than `calls_in_flight_max` calls should be made at once: each needs a connection.
    """
    async with open_client(
        SERVICE, calls_in_flight_max=calls_in_flight_max, call_timeout_seconds=call_timeout_seconds
    ) as client:
        yield EndUserMessagingSender(
            client, origin, clock=clock, call_timeout_seconds=call_timeout_seconds
        )
