"""The Pinpoint stub is worth trusting: strict in what it takes, and its log never lies."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from worker.sandbox.pinpoint import PinpointStub
from worker.sandbox.pinpoint_replies import (
    DEAD,
    TAKEN,
    THROTTLED,
    Fault,
    Reply,
    always,
    crowd,
    first,
)
from worker.sandbox.provider import PAYLOAD_BYTES_MAX
from worker.sandbox.shapes import problems

PUSH = {"DefaultPushNotificationMessage": {"Body": "hello"}}


def a_request(*addresses: str, **settings: Any) -> dict[str, Any]:
    one = {"ChannelType": "GCM", "Context": {"send_id": "s-1"}} | settings
    return {"MessageConfiguration": PUSH, "Addresses": dict.fromkeys(addresses or ("a",), one)}


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[PinpointStub]:
    server = PinpointStub(log=tmp_path / "sends.ndjson")
    await server.start()
    yield server
    await server.stop()


async def post(stub: PinpointStub, body: object) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{stub.url}/v1/apps/app-1/messages", data=io.BytesIO(data)) as response,
    ):
        return response.status, json.loads(await response.read())


def logged(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_call_it_takes_is_answered_as_botocores_model_says(stub: PinpointStub) -> None:
    stub.behaviours["a"] = always(Reply(updated_token="new"))
    status, answer = await post(stub, a_request("a", "b"))
    assert status == 200
    assert problems("pinpoint", "MessageResponse", answer) == []
    assert answer["Result"]["a"]["UpdatedToken"] == "new"
    assert answer["Result"]["b"]["DeliveryStatus"] == "SUCCESSFUL"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        ([], "type"),
        ({}, "MessageConfiguration"),
        (a_request() | {"Adresses": {}}, "Adresses"),
        (a_request(Sound="x"), "Sound"),
        (a_request(ChannelType="FCM"), "FCM"),
        (a_request(ChannelType="VOICE"), "VOICE"),
        (a_request(Context={"send_id": 7}), "send_id"),
        (a_request() | {"Addresses": {}}, "0 recipients"),
        (a_request(*map(str, range(101))), "101 recipients"),
        (a_request() | {"Endpoints": {}}, "ended"),
        (a_request() | {"TemplateConfiguration": {}}, "ended"),
        (a_request() | {"MessageConfiguration": {}}, "no text"),
        (a_request() | {"MessageConfiguration": {"SMSMessage": {"Body": "x"}}}, "no text"),
        (a_request(ChannelType="EMAIL"), "no text"),
    ],
)
async def test_what_the_model_does_not_allow_is_refused(
    body: object, says: str, stub: PinpointStub
) -> None:
    status, answer = await post(stub, body)
    assert (status, sorted(answer)) == (400, ["Message", "RequestID"])
    assert says in answer["Message"]
    assert not stub.sends


async def test_a_text_may_come_from_each_address_alone(stub: PinpointStub) -> None:
    bare = {"DefaultPushNotificationMessage": {"Action": "OPEN_APP"}}
    body = a_request(BodyOverride="hi") | {"MessageConfiguration": bare}
    assert (await post(stub, body))[0] == 200


async def test_an_own_message_without_text_hides_the_default_one(stub: PinpointStub) -> None:
    body = a_request() | {"MessageConfiguration": PUSH | {"GCMMessage": {"Title": "t"}}}
    assert (await post(stub, body))[0] == 400


async def test_a_variable_needs_the_text_of_each_address(stub: PinpointStub) -> None:
    push = {"DefaultPushNotificationMessage": {"Action": "OPEN_APP", "Body": "{{Body}}"}}
    told = a_request(Substitutions={"Body": ["hi"]}) | {"MessageConfiguration": push}
    assert (await post(stub, told))[0] == 200
    untold = a_request(Substitutions={"Title": ["hi"]}) | {"MessageConfiguration": push}
    assert (await post(stub, untold))[0] == 400


async def test_more_bytes_than_pinpoint_takes_are_refused(stub: PinpointStub) -> None:
    status, _ = await post(stub, a_request(BodyOverride="x" * PAYLOAD_BYTES_MAX))
    assert status == 413


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.BAD_REQUEST, 400),
        (Fault.FORBIDDEN, 403),
        (Fault.THROTTLED, 429),
        (Fault.ERROR_BEFORE, 500),
        (Fault.ERROR_AFTER, 500),
    ],
)
async def test_one_address_can_spoil_its_call(
    fault: Fault, status: int, stub: PinpointStub, tmp_path: Path
) -> None:
    stub.behaviours["b"] = always(Reply(fault=fault))
    assert (await post(stub, a_request("a", "b")))[0] == status
    written = [(line["address"], line["answered"]) for line in logged(tmp_path / "sends.ndjson")]
    assert written == ([("a", False), ("b", False)] if fault in TAKEN else [])


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.DROP_AFTER])
async def test_a_dropped_connection_has_no_answer(fault: Fault, stub: PinpointStub) -> None:
    stub.behaviour = first(1, Reply(fault=fault))
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(stub, a_request())
    assert len(stub.sends) == (fault is Fault.DROP_AFTER)
    assert (await post(stub, a_request()))[0] == 200, "the server lives on"


async def test_what_it_took_is_written_down_before_it_answers(
    stub: PinpointStub, tmp_path: Path
) -> None:
    stub.behaviours["b"] = always(DEAD)
    await post(stub, a_request("a", "b"))
    lines = logged(tmp_path / "sends.ndjson")
    kept = [{name: line[name] for name in line if name != "time"} for line in lines]
    same = {"channel_type": "GCM", "send_id": "s-1", "answered": True}
    assert kept == [
        {"address": "a", "status": "SUCCESSFUL"} | same,
        {"address": "b", "status": "PERMANENT_FAILURE"} | same,
    ]
    async with aiohttp.ClientSession() as session, session.get(f"{stub.url}/calls") as response:
        told = [json.loads(line) for line in (await response.text()).splitlines()]
    assert told == lines


async def test_an_address_can_be_throttled_a_number_of_times(stub: PinpointStub) -> None:
    stub.behaviour = first(2, THROTTLED)
    answers = [(await post(stub, a_request()))[1]["Result"]["a"] for _ in range(3)]
    assert [a["DeliveryStatus"] for a in answers] == ["THROTTLED", "THROTTLED", "SUCCESSFUL"]


async def test_too_many_calls_in_a_second_are_throttled() -> None:
    stub = PinpointStub(calls_per_second_max=1)
    await stub.start()
    statuses = [(await post(stub, a_request()))[0] for _ in range(20)]
    await stub.stop()
    assert 429 in statuses
    assert statuses.count(200) == len(stub.sends)


def test_the_crowd_is_the_same_on_every_run_and_mixed() -> None:
    people = [f"token-{number}" for number in range(5_000)]
    replies = [crowd(one, 1).status for one in people]
    assert replies == [crowd(one, 1).status for one in people]
    shares = {status: replies.count(status) / len(people) for status in set(replies)}
    expected = {
        "PERMANENT_FAILURE": 0.02,
        "OPT_OUT": 0.01,
        "THROTTLED": 0.04,
        "TEMPORARY_FAILURE": 0.02,
        "SUCCESSFUL": 0.91,
    }
    assert shares == pytest.approx(expected, abs=0.01)
    later = {crowd(one, 2).status for one in people}
    assert later == {"SUCCESSFUL", "PERMANENT_FAILURE", "OPT_OUT"}


async def test_it_runs_as_a_program_and_says_where(tmp_path: Path) -> None:
    log = tmp_path / "sends.ndjson"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.sandbox.pinpoint", "--log", str(log)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert line.startswith("pinpoint stub ready at http://127.0.0.1:")
        outside = PinpointStub()
        outside.url = line.split()[-1]
        assert (await post(outside, a_request()))[0] == 200
        assert [one["address"] for one in logged(log)] == ["a"]
    finally:
        process.terminate()
        code = await process.wait()
    assert code == 0


@pytest.mark.parametrize(
    ("service", "shape", "body", "says"),
    [
        ("sesv2", "SendEmailRequest", {"Content": {"Simple": {}}}, "Subject"),
        (
            "pinpoint-sms-voice-v2",
            "SendTextMessageRequest",
            {"DestinationPhoneNumber": "+15550100042", "MessageType": "SPAM"},
            "SPAM",
        ),
    ],
)
def test_other_services_are_checked_the_same_way(
    service: str, shape: str, body: object, says: str
) -> None:
    assert any(says in problem for problem in problems(service, shape, body))
