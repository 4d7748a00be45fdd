"""One call of an AWS operation that sends, and what its end says about the messages in it.

Three things can come of a call: a body to be read (`bytes`), an answer that refuses it (`Refused`),
or no answer one could read (`Broken`). Only what is *certain* is ever called not sent, for none of
these operations can be repeated without risk: docs/sending.md, "A call's answer", has the table.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import aiohttp
from botocore import exceptions as sdk
from botocore import xform_name
from botocore.parsers import ResponseParserError

from worker.model import Delivery, Outcome, Reason, Retry, Uncertain
from worker.senders.client import Client, carry_bodies

THROTTLED_CODES = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling"})
REFUSED_STATUSES = frozenset({400, 413})
"""The service did not take the call because of something in it."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The operation answered with an error."""

    status: int
    """HTTP status, 300 or more."""
    code: str
    """The name of the exception; empty when the answer names none."""
    message: str
    """The service's own words. They may quote addresses: read them, never pass them on."""
    members: Mapping[str, Any]
    """What the service's model says about the error besides: `Reason`, `Fields`, ..."""

    @property
    def detail(self) -> str:
        """The status in a word."""
        return f"http_{self.status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Nothing was answered, or nobody could read it."""

    detail: str
    certain: bool
    """True: certainly not sent."""


CallEnd: TypeAlias = bytes | Refused | Broken


class Operation:
    """One operation of one client."""

    def __init__(self, client: Client, name: str, *, timeout_seconds: float) -> None:
        """Takes the operation of the client over (see `carry_bodies`). `timeout_seconds` bounds one
        call from waiting for a connection to the last byte."""
        assert timeout_seconds > 0
        carry_bodies(client, name)
        self.name = name
        self.timeout_seconds = timeout_seconds
        self._client = client
        self._method = xform_name(name)

    async def call(self, body: bytes, **path: str) -> CallEnd:
        """Sends the body; `path` are the parts of the address the model wants. Cancelling leaves
        the end unknown."""
        method = getattr(self._client, self._method)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                response = await method(Body=body, **path)
        except sdk.ClientError as error:
            return self._refused(error)
        except (sdk.BotoCoreError, ResponseParserError, RuntimeError, TimeoutError) as error:
            return _broken(error)
        answer: bytes = response["Body"]
        return answer

    def _refused(self, error: sdk.ClientError) -> Refused | Broken:
        response = error.response
        status = int(response["ResponseMetadata"]["HTTPStatusCode"])
        if error.operation_name != self.name:
            # Asking for credentials failed (AssumeRoleWithWebIdentity); nothing was even tried.
            return Broken(detail=f"http_{status}", certain=True)
        said = response.get("Error", {})
        return Refused(
            status=status,
            code=str(said.get("Code", "")),
            message=str(said.get("Message", "")),
            members=response,
        )


def _broken(error: Exception) -> Broken:
    certain = (
        isinstance(error, BEFORE_THE_CALL)
        or _is_stale_credentials(error)
        or _never_connected(error)
    )
    return Broken(detail=type(error).__name__, certain=certain)


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


def after_failure(
    deliveries: Sequence[Delivery], failure: Refused | Broken
) -> list[Outcome] | None:
    """What a failed call means for its deliveries, as far as it follows from status and code that
    all services share. None: certainly not accepted, and something in the call is to blame."""
    if isinstance(failure, Broken):
        if failure.certain:
            return retry(deliveries, Reason.CHANNEL_PAUSED, failure.detail)
        return uncertain(deliveries, failure.detail)
    if failure.status >= 500 or failure.status in UNCERTAIN_STATUSES:
        return uncertain(deliveries, failure.detail)
    if failure.status == 429 or failure.code in THROTTLED_CODES:
        return retry(deliveries, Reason.PROVIDER_THROTTLED, failure.detail)
    if failure.status in REFUSED_STATUSES and failure.code not in CREDENTIAL_CODES:
        return None
    return retry(deliveries, Reason.CHANNEL_PAUSED, failure.detail)


def uncertain(deliveries: Sequence[Delivery], detail: str) -> list[Outcome]:
    """Nobody knows of any of them."""
    return [Uncertain(send_id=delivery.claim.send_id, detail=detail) for delivery in deliveries]


def retry(deliveries: Sequence[Delivery], reason: Reason, detail: str) -> list[Outcome]:
    """None was accepted, all may be tried again."""
    return [
        Retry(send_id=delivery.claim.send_id, reason=reason, detail=detail)
        for delivery in deliveries
    ]
