"""What becomes of a call as a whole, with every service: at its stub, and at servers that do one
bad thing."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias
from unittest.mock import AsyncMock

import pytest
from botocore import exceptions as sdk
from botocore.session import get_session as get_botocore_session

from tests.senders.deliveries import crowd
from tests.senders.endpoint import point_at
from tests.senders.outcomes import judged, kinds
from tests.senders.services import SERVICES, AnySender, Service
from worker.model import Delivery, Outcome, Reason, Retry, Uncertain
from worker.sandbox.provider import ProviderStub
from worker.senders.calls import Operation
from worker.senders.refusals import Refusals

Case: TypeAlias = tuple[Service, list[Delivery]]
"""A service, and what one call of it carries."""

CASES = [
    (service, crowd(size, service.channel))
    for service in SERVICES
    for size in ((1,) if service.name == "end_user_messaging" else (1, 2))
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].name}-{len(case[1])}")
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
async def stub(case: Case, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProviderStub]:
    server = case[0].stub()
    point_at(await server.start(), monkeypatch)
    yield server
    await server.stop()


@pytest.fixture
async def sender(case: Case, stub: ProviderStub) -> AsyncIterator[AnySender]:
    async with case[0].open() as opened:
        yield opened


# --- answers with a status --------------------------------------------------------------------

Wire: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server_that(act: Wire, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[int]]:
    """A server whose connections all do one thing. Yields a list that grows with each of them."""
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        try:
            await act(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    point_at(f"http://127.0.0.1:{port}", monkeypatch)
    async with server:
        yield connections


async def read_request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    length = next(int(x.partition(":")[2]) for x in lines if x.startswith("content-length"))
    await reader.readexactly(length)


def answers(status: int, kind: str = "", body: bytes | None = None) -> Wire:
    """The name of an exception is where either protocol looks for it, unless `body` is given."""
    said = json.dumps({"Message": "x"} | ({"__type": kind} if kind else {})).encode()
    body = said if body is None else body

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nx-amzn-ErrorType: {kind}"
        writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()

    return act


THROTTLED = "Retry provider_throttled "
PAUSED = "Retry channel_paused "
UNCERTAIN = "Uncertain  "
REFUSED = "Rejected  "

Status: TypeAlias = tuple[int, str]

EVERYWHERE: Mapping[Status, str] = {
    (429, "TooManyRequestsException"): THROTTLED + "http_429",
    (429, ""): THROTTLED + "http_429",
    (400, "ThrottlingException"): THROTTLED + "http_400",
    (400, "ExpiredTokenException"): PAUSED + "http_400",
    (403, "InvalidSignatureException"): PAUSED + "http_403",
    (413, "PayloadTooLargeException"): REFUSED + "bad_request",
    (418, ""): PAUSED + "http_418",
    (408, "RequestTimeoutException"): UNCERTAIN + "http_408",
    (500, "ThrottlingException"): UNCERTAIN + "http_500",
    (502, ""): UNCERTAIN + "http_502",
    (503, "ServiceUnavailable"): UNCERTAIN + "http_503",
    (504, ""): UNCERTAIN + "http_504",
}
OWN: Mapping[str, Mapping[Status, str]] = {
    "pinpoint": {
        (400, "BadRequestException"): REFUSED + "bad_request",
        (403, "ForbiddenException"): PAUSED + "http_403",
        (404, "NotFoundException"): PAUSED + "http_404",
        (405, "MethodNotAllowedException"): PAUSED + "http_405",
        (500, "InternalServerErrorException"): UNCERTAIN + "http_500",
    },
    "ses": {
        (400, "BadRequestException"): REFUSED + "bad_request",
        (400, "MessageRejected"): REFUSED + "MessageRejected",
        (403, "AccessDeniedException"): PAUSED + "http_403",
        **{
            (400, code): PAUSED + code
            for code in (
                "AccountSuspendedException",
                "MailFromDomainNotVerifiedException",
                "SendingPausedException",
            )
        },
        (404, "NotFoundException"): PAUSED + "NotFoundException",
        (400, "LimitExceededException"): THROTTLED + "LimitExceededException",
    },
    "end_user_messaging": {
        **{(400, code): REFUSED + code for code in ("ValidationException", "ConflictException")},
        **{
            (400, code): PAUSED + code
            for code in (
                "AccessDeniedException",
                "ResourceNotFoundException",
                "ServiceQuotaExceededException",
            )
        },
        (500, "InternalServerException"): UNCERTAIN + "http_500",
    },
}
"""What a status means to one service; its exceptions are those of botocore's model."""


@pytest.mark.parametrize("body", [None, b"<html>", b""])
async def test_a_status_means_one_thing_for_every_delivery_of_the_call(
    case: Case, body: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, deliveries = case
    if body is not None and service.name == "end_user_messaging":
        return  # its protocol names exceptions in the body alone
    now = (0, "")

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answers(*now, body)(reader, writer)

    statuses = {**EVERYWHERE, **OWN[service.name]}
    means = {}
    async with server_that(act, monkeypatch) as connections, service.open() as sender:
        for now in statuses:
            connections.clear()
            # Refusals in a row would be judged together.
            monkeypatch.setattr(sender, "_refusals", Refusals())
            means[now] = kinds(await sender.send(deliveries))
            # Halves of a refused call are tried; nothing else is ever tried again.
            is_split = statuses[now].startswith(REFUSED) and len(deliveries) == 2
            assert len(connections) == (3 if is_split else 1), now
    assert means == {status: {meaning} for status, meaning in statuses.items()}


def test_every_exception_of_the_models_has_a_meaning() -> None:
    for service in SERVICES:
        stub = service.stub()
        model = get_botocore_session().get_service_model(stub.service)
        operation = {"pinpoint": "SendMessages", "ses": "SendBulkEmail"}
        found = model.operation_model(operation.get(service.name, "SendTextMessage"))
        named = {shape.name for shape in found.error_shapes}
        known = {kind for _, kind in (*EVERYWHERE, *OWN[service.name])}
        assert named <= known, service.name


async def test_a_200_that_nobody_can_read_is_uncertain(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, deliveries = case
    async with server_that(answers(200, body=b"<html>"), monkeypatch), service.open() as sender:
        assert kinds(await sender.send(deliveries)) == {UNCERTAIN + "unreadable_answer"}


# --- no status at all -------------------------------------------------------------------------


async def hangs_up_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def hangs_up_after_the_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await read_request(reader)


async def resets_after_the_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await read_request(reader)
    # Closing without lingering sends RST instead of FIN; aiobotocore then says "could not connect".
    no_linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    writer.transport.abort()


async def breaks_off_its_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    await writer.drain()


async def speaks_no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    await writer.drain()


async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def answers_a_byte_at_a_time(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1_000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "act",
    [
        hangs_up_at_once,
        hangs_up_after_the_request,
        resets_after_the_request,
        breaks_off_its_answer,
        speaks_no_http,
    ],
)
async def test_a_connection_that_was_there_leaves_the_call_uncertain(
    case: Case, act: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, deliveries = case
    async with server_that(act, monkeypatch) as connections, service.open() as sender:
        outcomes = await sender.send(deliveries)
    assert {type(outcome) for outcome in outcomes} == {Uncertain}
    assert len(connections) == 1, "it is not tried again"


@pytest.mark.parametrize("act", [never_answers, answers_a_byte_at_a_time])
async def test_the_time_limit_is_for_the_whole_call(
    case: Case, act: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, deliveries = case

    async def throttles_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (answers(429) if len(connections) == 1 else act)(reader, writer)

    async with (
        server_that(throttles_once, monkeypatch) as connections,
        service.open() as sender,
    ):
        # The first call also loads certificates, which has nothing to do with the limit.
        assert judged(await sender.send(deliveries)) == {Reason.PROVIDER_THROTTLED}
        for operation in operations_of(sender):
            operation.timeout_seconds = 0.3
        assert kinds(await sender.send(deliveries)) == {UNCERTAIN + "TimeoutError"}
    assert len(connections) == 2, "it is not tried again"


async def test_a_refused_connection_is_certainly_not_sent(
    case: Case, stub: ProviderStub, sender: AnySender
) -> None:
    await stub.stop()
    assert kinds(await sender.send(case[1])) == {PAUSED + "EndpointConnectionError"}


async def test_a_failed_handshake_is_certainly_not_sent(
    case: Case, stub: ProviderStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(stub.url.replace("http:", "https:"), monkeypatch)
    async with case[0].open() as sender:
        assert kinds(await sender.send(case[1])) == {PAUSED + "SSLError"}


async def test_without_credentials_nothing_is_sent(
    case: Case, stub: ProviderStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with case[0].open() as sender:
        assert kinds(await sender.send(case[1])) == {PAUSED + "NoCredentialsError"}
    assert not stub.requests


def operations_of(sender: AnySender) -> list[Operation]:
    return [value for value in vars(sender).values() if isinstance(value, Operation)]


def fail(sender: AnySender, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    for operation in operations_of(sender):
        monkeypatch.setattr(operation._client, operation._method, AsyncMock(side_effect=error))


STS_UNAVAILABLE = sdk.ClientError(
    {"Error": {"Code": "ServiceUnavailable"}, "ResponseMetadata": {"HTTPStatusCode": 503}},
    "AssumeRoleWithWebIdentity",
)


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (sdk.ConnectTimeoutError(endpoint_url="x"), Retry),
        (sdk.ProxyConnectionError(proxy_url="x"), Retry),
        (sdk.EndpointConnectionError(endpoint_url="x", error=socket.gaierror(-2)), Retry),
        (sdk.CredentialRetrievalError(provider="x", error_msg="x"), Retry),
        (sdk.ParamValidationError(report="x"), Retry),
        (STS_UNAVAILABLE, Retry),
        (RuntimeError("the refreshed credentials are still expired"), Retry),
        (RuntimeError("Session is closed"), Uncertain),
        (sdk.EndpointConnectionError(endpoint_url="x", error=ConnectionResetError()), Uncertain),
        (sdk.EndpointConnectionError(endpoint_url="x"), Uncertain),
        (sdk.ReadTimeoutError(endpoint_url="x"), Uncertain),
        (sdk.ConnectionClosedError(endpoint_url="x"), Uncertain),
        (sdk.HTTPClientError(error="x"), Uncertain),
        (sdk.IncompleteReadError(actual_bytes=1, expected_bytes=2), Uncertain),
        (sdk.BotoCoreError(), Uncertain),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_only_what_certainly_happened_before_the_call_is_repeated(
    error: Exception,
    means: type[Outcome],
    case: Case,
    sender: AnySender,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail(sender, error, monkeypatch)
    outcomes = await sender.send(case[1])
    assert judged(outcomes) == {Reason.CHANNEL_PAUSED if means is Retry else means}


async def test_a_bug_is_not_taken_for_an_answer(
    case: Case, sender: AnySender, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(sender, KeyError("bug"), monkeypatch)
    with pytest.raises(KeyError):
        await sender.send(case[1])
