"""What can go wrong with a call, sorted by what to do about it, and how long to wait.

Every failure of the SDK becomes one `KinesisFault` with a kind and a code from a closed list, at
the one place where calls are made (`stream.py`). Nothing here makes a call. The codes are those of
the API reference (GetRecords, GetShardIterator, ListShards); unknown ones keep only their class.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own tree, in which it is called so
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from worker.errors import AccessDenied, ConfigurationError, StreamNotFound


class Kind(StrEnum):
    """What to do: the same call later, another iterator, a look at the stream, or call a person."""

    THROTTLED = "throttled"
    BROKEN = "broken"
    EXPIRED = "expired"
    REFUSED = "refused"
    FORBIDDEN = "forbidden"


RETRY_SECONDS: Mapping[Kind, tuple[float, float]] = {
    # One second is how long a throttled shard refuses (GetRecords, API reference).
    Kind.THROTTLED: (1.0, 10.0),
    Kind.BROKEN: (0.25, 10.0),
    Kind.EXPIRED: (0.25, 10.0),
    Kind.REFUSED: (1.0, 30.0),
    # Only a person can mend it; asking often would only fill the audit trail.
    Kind.FORBIDDEN: (5.0, 60.0),
}
"""First and longest pause before the call is made again; between them it doubles."""

NOT_FOUND = "ResourceNotFoundException"

_KINDS: Mapping[str, Kind] = {
    "ProvisionedThroughputExceededException": Kind.THROTTLED,
    "LimitExceededException": Kind.THROTTLED,
    "KMSThrottlingException": Kind.THROTTLED,
    "ThrottlingException": Kind.THROTTLED,
    "ExpiredIteratorException": Kind.EXPIRED,
    "InvalidArgumentException": Kind.REFUSED,
    NOT_FOUND: Kind.REFUSED,
    "KMSDisabledException": Kind.FORBIDDEN,
    "KMSInvalidStateException": Kind.FORBIDDEN,
    "KMSAccessDeniedException": Kind.FORBIDDEN,
    "KMSNotFoundException": Kind.FORBIDDEN,
    "KMSOptInRequired": Kind.FORBIDDEN,
    "AccessDeniedException": Kind.FORBIDDEN,
    "UnrecognizedClientException": Kind.FORBIDDEN,
    "InvalidSignatureException": Kind.FORBIDDEN,
    "ExpiredTokenException": Kind.FORBIDDEN,
    "NoCredentials": Kind.FORBIDDEN,
    "InternalFailureException": Kind.BROKEN,
    "ServiceUnavailableException": Kind.BROKEN,
    "ExpiredNextTokenException": Kind.BROKEN,
    # The stream is being created or resharded.
    "ResourceInUseException": Kind.BROKEN,
    # Ours: the connection failed, the body could not be read, a null iterator nobody confirms.
    "Connection": Kind.BROKEN,
    "InvalidBody": Kind.BROKEN,
    "UnconfirmedEnd": Kind.BROKEN,
    # Everything else, by its HTTP status.
    "OtherServerError": Kind.BROKEN,
    "OtherClientError": Kind.FORBIDDEN,
}

CODES: tuple[str, ...] = tuple(_KINDS)
"""All codes a fault can have: the label values of a metric."""

CALL_ERRORS = (
    ClientError,
    BotoCoreError,
    ResponseParserError,
    aiohttp.ClientError,
    OSError,  # TimeoutError is one
    ValueError,  # botocore's parser lets base64 errors through
    RuntimeError,  # expired credentials; others are raised again
)
"""What a call of an aiobotocore client can raise on account of the other side."""

_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
)


class KinesisFault(Exception):
    """A call failed. `operation` is its AWS name, `code` one of `CODES`; `said` is AWS's own code
    where `code` is a collective one."""

    def __init__(self, *, operation: str, code: str, said: str = "") -> None:
        super().__init__(f"{operation}: {code}")
        self.operation = operation
        self.code = code
        self.said = said or code

    @property
    def kind(self) -> Kind:
        """What to do about it."""
        return _KINDS[self.code]

    @property
    def not_found(self) -> bool:
        """The stream, or what was asked for in it, does not exist (any more)."""
        return self.code == NOT_FOUND

    def pause_seconds(self, attempt: int) -> float:
        """How long to wait after the `attempt`-th failure in a row, counted from 1."""
        first, longest = RETRY_SECONDS[self.kind]
        return min(longest, first * 2.0 ** min(attempt - 1, 16))


def fault_of(error: Exception, operation: str) -> KinesisFault:
    """The fault behind an exception of the SDK. Re-raises what only a bug of ours can cause."""
    said = ""
    if isinstance(error, ClientError):
        said = str(error.response.get("Error", {}).get("Code", "")).rpartition("#")[2]
    return KinesisFault(operation=operation, code=_code_of(error, said), said=said)


def _code_of(error: Exception, said: str) -> str:
    if isinstance(error, ClientError):
        response: Mapping[str, Any] = error.response
        if said in _KINDS:
            return said
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        return "OtherClientError" if 400 <= status < 500 else "OtherServerError"
    if isinstance(error, _CREDENTIALS) or _is_stale_credentials(error):
        return "NoCredentials"
    if isinstance(error, (HTTPClientError, ConnectionError, aiohttp.ClientError, OSError)):
        return "Connection"
    if isinstance(error, (IncompleteReadError, ResponseParserError, ValueError)):
        return "InvalidBody"
    raise error


def _is_stale_credentials(error: Exception) -> bool:
    """botocore has no class of its own for "Credentials were refreshed, but the refreshed
    credentials are still expired" (botocore.credentials)."""
    return type(error) is RuntimeError and "credentials" in str(error)


def explanation(fault: KinesisFault, *, stream: str, where: str) -> ConfigurationError | None:
    """What to tell a person, when only a person can help; None when waiting may help.

    `where` names region and endpoint.
    """
    if fault.not_found:
        return StreamNotFound(
            f"Kinesis has no stream {stream!r} in {where}. "
            "Check COMEBACK_STREAM (a name or an ARN), AWS_REGION, the account of the credentials "
            "and AWS_ENDPOINT_URL_KINESIS."
        )
    if fault.kind is not Kind.FORBIDDEN:
        return None
    if fault.code == "AccessDeniedException":
        return AccessDenied(
            f"AWS refuses kinesis:{fault.operation} on stream {stream!r} in {where}. "
            f"Allow the action kinesis:{fault.operation} on the stream for the role of this worker."
        )
    if fault.code == "NoCredentials":
        return AccessDenied(
            f"No AWS credentials were found to read stream {stream!r} in {where}. "
            "Give the container a task role or pod identity, or set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY."
        )
    return AccessDenied(
        f"AWS does not serve kinesis:{fault.operation} on stream {stream!r} in {where}: "
        f"{fault.said}. Check the credentials, the clock of this machine and, for codes that "
        "begin with KMS, the key of the stream and its policy."
    )
