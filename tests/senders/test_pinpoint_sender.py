"""What becomes of a call as a whole, over HTTP: against the stub, and against servers that do
nothing but one bad thing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest

from tests.senders.deliveries import delivery
from tests.senders.endpoint import point_at
from worker.errors import SettingsError
from worker.model import (
    Channel,
    Delivery,
    Message,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Sent,
    Uncertain,
)
from worker.sandbox.pinpoint import PinpointStub
from worker.sandbox.pinpoint_replies import ACCEPTED, Fault, Reply, always
from worker.senders.pinpoint import (
    REFUSED_CALLS_MAX,
    REFUSED_IN_A_ROW_MAX,
    PinpointSender,
    open_pinpoint,
)
from worker.senders.pinpoint_request import REQUEST_BYTES_MAX

POISON = always(Reply(fault=Fault.BAD_REQUEST))


@pytest.fixture
async def stub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PinpointStub]:
    server = PinpointStub()
    point_at(await server.start(), monkeypatch)
    yield server
    await server.stop()


@pytest.fixture
async def sender(stub: PinpointStub) -> AsyncIterator[PinpointSender]:
    async with open_pinpoint("app-1") as opened:
        yield opened


def crowd(size: int) -> list[Delivery]:
    return [delivery(f"token-{number}", user_id=f"user-{number}") for number in range(size)]


def poison(stub: PinpointStub, *deliveries: Delivery) -> None:
    stub.behaviours.update((one.address, POISON) for one in deliveries)


def kinds(outcomes: object) -> set[str]:
    assert isinstance(outcomes, list)
    return {
        f"{type(one).__name__} {getattr(one, 'reason', '')} {getattr(one, 'detail', '')}"
        for one in outcomes
    }


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


def answers(status: int, kind: str = "", body: bytes = b'{"Message":"x"}') -> Wire:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nx-amzn-ErrorType: {kind}"
        writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()

    return act


THROTTLED = "Retry provider_throttled "
PAUSED = "Retry channel_paused "
UNCERTAIN = "Uncertain  "
REFUSED = "Rejected  bad_request"


STATUSES = {
    (400, "BadRequestException"): REFUSED,
    (413, "PayloadTooLargeException"): REFUSED,
    (429, "TooManyRequestsException"): THROTTLED + "http_429",
    (429, ""): THROTTLED + "http_429",
    (400, "ThrottlingException"): THROTTLED + "http_400",
    (400, "ExpiredTokenException"): PAUSED + "http_400",
    (403, "ForbiddenException"): PAUSED + "http_403",
    (403, "InvalidSignatureException"): PAUSED + "http_403",
    (404, "NotFoundException"): PAUSED + "http_404",
    (405, "MethodNotAllowedException"): PAUSED + "http_405",
    (418, ""): PAUSED + "http_418",
    (408, "RequestTimeoutException"): UNCERTAIN + "http_408",
    (500, "InternalServerErrorException"): UNCERTAIN + "http_500",
    (500, "ThrottlingException"): UNCERTAIN + "http_500",
    (502, ""): UNCERTAIN + "http_502",
    (503, "ServiceUnavailable"): UNCERTAIN + "http_503",
    (504, ""): UNCERTAIN + "http_504",
}


@pytest.mark.parametrize("body", [b'{"Message":"x"}', b"<html>", b""])
async def test_a_status_means_one_thing_for_every_delivery_of_the_call(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = (0, "")

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answers(*now, body)(reader, writer)

    means = {}
    async with server_that(act, monkeypatch) as connections, open_pinpoint("app-1") as sender:
        for now in STATUSES:
            connections.clear()
            means[now] = kinds(await sender.send(crowd(2)))
            # Halves of a refused call are tried; nothing else is ever tried again.
            assert len(connections) == (3 if STATUSES[now] == REFUSED else 1), now
    assert means == {status: {meaning} for status, meaning in STATUSES.items()}


async def test_a_200_that_nobody_can_read_is_uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    act = answers(200, body=b"<html>")
    async with server_that(act, monkeypatch), open_pinpoint("app-1") as sender:
        assert kinds(await sender.send(crowd(1))) == {UNCERTAIN + "unreadable_answer"}


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
    act: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server_that(act, monkeypatch) as connections, open_pinpoint("app-1") as sender:
        outcomes = await sender.send(crowd(2))
    assert [type(outcome) for outcome in outcomes] == [Uncertain, Uncertain]
    assert len(connections) == 1, "it is not tried again"


@pytest.mark.parametrize("act", [never_answers, answers_a_byte_at_a_time])
async def test_the_time_limit_is_for_the_whole_call(
    act: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def throttles_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (answers(429) if len(connections) == 1 else act)(reader, writer)

    async with (
        server_that(throttles_once, monkeypatch) as connections,
        open_pinpoint("app-1") as sender,
    ):
        # The first call also loads certificates, which has nothing to do with the limit.
        assert judged(await sender.send(crowd(1))) == {Reason.PROVIDER_THROTTLED}
        sender._call_timeout_seconds = 0.3
        assert kinds(await sender.send(crowd(1))) == {UNCERTAIN + "TimeoutError"}
    assert len(connections) == 2, "it is not tried again"


async def test_a_refused_connection_is_certainly_not_sent(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    await stub.stop()
    assert kinds(await sender.send(crowd(2))) == {PAUSED + "EndpointConnectionError"}


async def test_a_failed_handshake_is_certainly_not_sent(
    stub: PinpointStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(stub.url.replace("http:", "https:"), monkeypatch)
    async with open_pinpoint("app-1") as sender:
        assert kinds(await sender.send(crowd(1))) == {PAUSED + "SSLError"}


async def test_without_credentials_nothing_is_sent(
    stub: PinpointStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with open_pinpoint("app-1") as sender:
        assert kinds(await sender.send(crowd(1))) == {PAUSED + "NoCredentialsError"}
    assert not stub.requests


# --- one bad thing stays one bad thing --------------------------------------------------------


@pytest.mark.parametrize("bad", [(0,), (57,), (99,), (3, 4, 5, 6, 7), tuple(range(0, 100, 9))])
async def test_poison_addresses_harm_only_themselves(
    bad: tuple[int, ...], stub: PinpointStub, sender: PinpointSender
) -> None:
    deliveries = crowd(100)
    poison(stub, *(deliveries[number] for number in bad))
    outcomes = await sender.send(deliveries)
    assert [type(one) is Rejected for one in outcomes] == [n in bad for n in range(100)]
    assert sum(isinstance(one, Sent) for one in outcomes) == 100 - len(bad)
    assert len(stub.sends) == 100 - len(bad), "nobody is sent to twice"


async def test_one_poison_address_costs_few_calls(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    deliveries = crowd(100)
    poison(stub, deliveries[57])
    await sender.send(deliveries)
    assert len(stub.requests) <= 15


async def test_half_a_surrogate_harms_only_its_own_delivery(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    bad = delivery("token-x", message=Message(body="\udc00"))
    outcomes = await sender.send([*crowd(3), bad])
    assert [isinstance(outcome, Sent) for outcome in outcomes] == [True, True, True, False]
    assert len(stub.sends) == 3


async def test_what_is_too_much_for_one_call_is_sent_in_several(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    long = "x" * (REQUEST_BYTES_MAX // 4)
    deliveries = [delivery(a, message=Message(body=f"{a} {long}")) for a in "abcdefgh"]
    outcomes = await sender.send(deliveries)
    assert {type(outcome) for outcome in outcomes} == {Sent}
    assert 2 < len(stub.requests) <= 4


# --- whose fault it is ------------------------------------------------------------------------


def judged(outcomes: object) -> set[Reason | type[Outcome]]:
    assert isinstance(outcomes, list)
    return {one.reason if isinstance(one, Retry) else type(one) for one in outcomes}


async def test_when_nobody_is_taken_the_fault_is_ours_and_the_users_are_kept(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    stub.behaviour = POISON
    assert judged(await sender.send(crowd(100))) == {Reason.CHANNEL_PAUSED}
    assert len(stub.requests) == REFUSED_CALLS_MAX


async def test_singles_refused_in_a_row_are_our_fault_until_one_is_taken(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    stub.behaviour = POISON
    seen = [judged(await sender.send([one])) for one in crowd(REFUSED_IN_A_ROW_MAX + 1)]
    theirs: list[set[Reason | type[Outcome]]] = [{Rejected}] * (REFUSED_IN_A_ROW_MAX - 1)
    assert seen == [*theirs, {Reason.CHANNEL_PAUSED}, {Reason.CHANNEL_PAUSED}]
    stub.behaviour = always(ACCEPTED)
    assert judged(await sender.send(crowd(1))) == {Sent}
    stub.behaviour = POISON
    assert judged(await sender.send(crowd(1))) == {Rejected}


async def test_a_channel_that_works_does_not_vouch_for_another(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    bad = [delivery(f"+1555010{n:04}", channel=Channel.SMS) for n in range(REFUSED_IN_A_ROW_MAX)]
    poison(stub, *bad)
    for one in bad:
        last = await sender.send([one])
        await sender.send(crowd(1))
    assert judged(last) == {Reason.CHANNEL_PAUSED}


# --- the client ---------------------------------------------------------------------------------


async def test_the_region_is_taken_from_either_variable(
    stub: PinpointStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        with monkeypatch.context() as context:
            context.delenv("AWS_REGION")
            context.delenv("AWS_DEFAULT_REGION")
            context.setenv(name, "eu-west-1")
            async with open_pinpoint("app-1") as sender:
                assert judged(await sender.send(crowd(1))) == {Sent}


async def test_without_a_region_the_operator_is_told_what_to_set(
    stub: PinpointStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(SettingsError, match="Set AWS_REGION"):
        async with open_pinpoint("app-1"):
            pass


# --- cancelling, closing ----------------------------------------------------------------------


async def test_a_cancelled_call_is_cancelled_and_the_next_one_works(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    slow = delivery("slow")
    stub.behaviours["slow"] = always(Reply(delay_seconds=60))
    call = asyncio.create_task(sender.send([slow]))
    await stub.taken(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert judged(await sender.send(crowd(1))) == {Sent}


async def test_closing_twice_is_harmless(sender: PinpointSender) -> None:
    await sender.send(crowd(1))
    await sender.close()
    await sender.close()
