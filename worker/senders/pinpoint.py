"""Sends by Pinpoint `SendMessages` (AWS End User Messaging): push, SMS and e-mail.

It must not decide what is sent or whether to send again, and it must not make a call that could
double one whose fate is unknown: the SDK's own retries are off, for `SendMessages` has no
idempotency token. Deliveries come from the outbox, outcomes go back to it. Which answer means
what, and what is certain about it, is the table in docs/sending.md.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager

import aiohttp
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from worker.model import Channel, Delivery, Outcome, Reason, Rejected, Sent
from worker.senders import pinpoint_answer as answer
from worker.senders import pinpoint_request as request
from worker.senders.pinpoint_client import NO_REQUEST, Client, carry_bodies, pinpoint_client
from worker.senders.pinpoint_request import Origin

REFUSED_CALLS_MAX = 31
"""Calls of one `send` that may be refused while none is taken. That is all of it, its halves and
so on to its sixteenths: when each of sixteen parts is refused, the addresses are not to blame."""
REFUSED_IN_A_ROW_MAX = 5
"""Single deliveries refused one after the other, with none accepted between them, after which the
fault is taken to be ours and no longer theirs."""

OPERATION = "SendMessages"
THROTTLED_CODES = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling"})
REFUSED_STATUSES = frozenset({400, 413})
"""Pinpoint did not take the call because of something in it."""
UNCERTAIN_STATUSES = frozenset({408})
"""Besides 5xx. Every other status below 500 says that we may not call like this at all."""
CREDENTIAL_CODES = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "UnrecognizedClientException",
    }
)
"""Errors of AWS's front door that some services answer with 400: no fault of a delivery."""

BEFORE_THE_CALL = (
    sdk.CredentialRetrievalError,
    sdk.EndpointProviderError,
    sdk.LoginError,
    sdk.MetadataRetrievalError,
    sdk.NoAuthTokenError,
    sdk.NoCredentialsError,
    sdk.ParamValidationError,
    sdk.PartialCredentialsError,
    sdk.SSOError,
    sdk.TokenRetrievalError,
)
"""What the SDK raises before it opens a connection. A list of what is certain; whatever else it
raises leaves the call uncertain."""


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
        """Takes over the `SendMessages` of `client` (see `carry_bodies`) and closes it in the end.

        `call_timeout_seconds` bounds one call from waiting for a connection to the last byte.
        """
        assert application_id, "settings ask for the application id"
        assert call_timeout_seconds > 0
        carry_bodies(client)
        self.channels = channels
        self._client = client
        self._application_id = application_id
        self._origin = origin or Origin()
        self._call_timeout_seconds = call_timeout_seconds
        self._refused_in_a_row: Counter[Channel] = Counter()

    def call_kind(self, delivery: Delivery) -> Hashable:
        """Everything Pinpoint cannot say per address (ports.Sender)."""
        return request.call_kind(delivery)

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Sends deliveries of one kind (ports.Sender).

        One call, unless Pinpoint refuses it as a whole because of something in it: then halves of
        it are tried, the larger first, so that one poison address harms only itself. A refused
        call accepted nobody, so no address is in two calls that may both be accepted. `n`
        deliveries make at most `2 n - 1` calls, `REFUSED_CALLS_MAX` when none is taken, and about
        `2 log2 n` for one poison address.
        """
        assert 1 <= len(deliveries) <= self.batch_max, "a call has its bounds"
        assert len({delivery.address for delivery in deliveries}) == len(deliveries)
        channel = deliveries[0].claim.channel
        assert channel in self.channels, f"this sender has no {channel}"
        outcomes = await self._taken_apart(deliveries)
        refused = [d for d in deliveries if d.claim.send_id not in outcomes]
        any_sent = any(isinstance(outcome, Sent) for outcome in outcomes.values())
        outcomes.update(self._judge(channel, refused, any_sent=any_sent))
        assert len(outcomes) == len(deliveries), "one outcome for each delivery"
        return [outcomes[delivery.claim.send_id] for delivery in deliveries]

    async def _taken_apart(self, deliveries: Sequence[Delivery]) -> dict[str, Outcome]:
        """Outcomes by send id. Those without one were refused, alone or as a whole."""
        outcomes: dict[str, Outcome] = {}
        refused_calls = 0
        parts = deque([deliveries])
        while parts and (outcomes or refused_calls < REFUSED_CALLS_MAX):
            part = parts.popleft()
            result = await self._call(part)
            if result is not None:
                outcomes.update((outcome.send_id, outcome) for outcome in result)
                continue
            refused_calls += 1
            if len(part) > 1:
                middle = len(part) // 2
                parts.extend((part[:middle], part[middle:]))
        return outcomes

    def _judge(
        self, channel: Channel, refused: Sequence[Delivery], *, any_sent: bool
    ) -> dict[str, Outcome]:
        """Whose fault refusals are: a delivery's, as long as others on its channel are taken."""
        run = 0 if any_sent else self._refused_in_a_row[channel] + len(refused)
        self._refused_in_a_row[channel] = run
        if run >= REFUSED_IN_A_ROW_MAX:
            verdicts = answer.retry(refused, Reason.CHANNEL_PAUSED, "bad_request")
        else:
            verdicts = [Rejected(send_id=d.claim.send_id, detail="bad_request") for d in refused]
        return {verdict.send_id: verdict for verdict in verdicts}

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
        try:
            async with asyncio.timeout(self._call_timeout_seconds):
                response = await self._client.send_messages(
                    ApplicationId=self._application_id, MessageRequest=NO_REQUEST, Body=body
                )
        except sdk.ClientError as error:
            return _refusal(deliveries, error)
        except (sdk.BotoCoreError, ResponseParserError, RuntimeError, TimeoutError) as error:
            return _breakdown(deliveries, error)
        return answer.outcomes_of(deliveries, response["Body"])


def _refusal(deliveries: Sequence[Delivery], error: sdk.ClientError) -> list[Outcome] | None:
    """What an HTTP status of 300 or more means for a call."""
    status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    code = error.response.get("Error", {}).get("Code")
    detail = f"http_{status}"
    if error.operation_name != OPERATION:
        # Asking for credentials failed (AssumeRoleWithWebIdentity); no message was even tried.
        return answer.retry(deliveries, Reason.CHANNEL_PAUSED, detail)
    if status >= 500 or status in UNCERTAIN_STATUSES:
        return answer.uncertain(deliveries, detail)
    if status == 429 or code in THROTTLED_CODES:
        return answer.retry(deliveries, Reason.PROVIDER_THROTTLED, detail)
    if status in REFUSED_STATUSES and code not in CREDENTIAL_CODES:
        return None
    return answer.retry(deliveries, Reason.CHANNEL_PAUSED, detail)


def _breakdown(deliveries: Sequence[Delivery], error: Exception) -> list[Outcome]:
    """What a call without any readable status means."""
    detail = type(error).__name__
    if (
        isinstance(error, BEFORE_THE_CALL)
        or _is_stale_credentials(error)
        or _never_connected(error)
    ):
        return answer.retry(deliveries, Reason.CHANNEL_PAUSED, detail)
    return answer.uncertain(deliveries, detail)


def _is_stale_credentials(error: Exception) -> bool:
    """botocore has no class of its own for "Credentials were refreshed, but the refreshed
    credentials are still expired" (botocore.credentials); nothing was sent with them."""
    return type(error) is RuntimeError and "credentials" in str(error)


def _never_connected(error: Exception) -> bool:
    """True when no connection was made, so that the request cannot have been read.

    aiobotocore's EndpointConnectionError alone does not say so: it also wraps a connection that
    was reset after the request went out. Only its cause tells.
    """
    if isinstance(error, sdk.ConnectTimeoutError | sdk.SSLError | sdk.ProxyConnectionError):
        return True
    cause = error.kwargs.get("error") if isinstance(error, sdk.EndpointConnectionError) else None
    return isinstance(cause, aiohttp.ClientConnectorError | socket.gaierror)


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
    async with pinpoint_client(
        calls_in_flight_max=calls_in_flight_max, call_timeout_seconds=call_timeout_seconds
    ) as client:
        yield PinpointSender(
            client,
            application_id,
            channels=channels,
            origin=origin,
            call_timeout_seconds=call_timeout_seconds,
        )
