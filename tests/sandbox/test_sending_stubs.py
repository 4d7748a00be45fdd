"""The stubs of SES and End User Messaging are worth trusting: strict in what they take, answers as
the models say, and a log that never lies."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from worker.sandbox.end_user_messaging import TARGET, EndUserMessagingStub
from worker.sandbox.pinpoint_replies import TAKEN, Fault, Reply, always, crowd
from worker.sandbox.provider import ProviderStub
from worker.sandbox.ses import BULK, ONE, SesStub

TAGS = [{"Name": "send_id", "Value": "s-1"}]
ONE_CLICK = [
    {"Name": "List-Unsubscribe", "Value": "<https://example.com/>"},
    {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
]


def a_mail(*, to: str = "a@example.com", headers: Any = None, **changes: Any) -> dict[str, Any]:
    simple = {"Subject": {"Data": "Hi"}, "Body": {"Text": {"Data": "hello"}}}
    if headers is not None:
        simple["Headers"] = headers
    return {
        "FromEmailAddress": "shop@example.com",
        "Destination": {"ToAddresses": [to]},
        "Content": {"Simple": simple},
        "EmailTags": TAGS,
    } | changes


def a_bulk(size: int = 2, *, text: str = "hello", **entry: Any) -> dict[str, Any]:
    content = {"Subject": "Hi", "Text": text}
    one = {"ReplacementTags": TAGS} | entry
    return {
        "FromEmailAddress": "shop@example.com",
        "DefaultContent": {"Template": {"TemplateContent": content, "TemplateData": "{}"}},
        "BulkEmailEntries": [
            {"Destination": {"ToAddresses": [f"{n}@example.com"]}} | one for n in range(size)
        ],
    }


def a_text(**changes: Any) -> dict[str, Any]:
    return {
        "DestinationPhoneNumber": "+15550100042",
        "MessageBody": "hello",
        "Context": {"send_id": "s-1"},
    } | changes


@pytest.fixture
async def ses(tmp_path: Path) -> AsyncIterator[SesStub]:
    server = SesStub(log=tmp_path / "sends.ndjson")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def texts() -> AsyncIterator[EndUserMessagingStub]:
    server = EndUserMessagingStub()
    await server.start()
    yield server
    await server.stop()


async def post(
    stub: ProviderStub, body: Any, path: str = "/", *, target: str = TARGET
) -> tuple[int, Any]:
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(stub.url + path, data=json.dumps(body), headers=headers) as response,
    ):
        return response.status, json.loads(await response.read())


async def test_what_is_right_is_taken_and_written_down(
    ses: SesStub, texts: EndUserMessagingStub, tmp_path: Path
) -> None:
    assert (await post(ses, a_mail(headers=ONE_CLICK), ONE))[0] == 200
    status, answer = await post(ses, a_bulk(), BULK)
    assert status == 200
    assert [one["Status"] for one in answer["BulkEmailEntryResults"]] == ["SUCCESS"] * 2
    assert (await post(texts, a_text()))[0] == 200
    logged = [json.loads(line) for line in (tmp_path / "sends.ndjson").read_text().splitlines()]
    assert [line["address"] for line in logged] == [
        "a@example.com",
        "0@example.com",
        "1@example.com",
    ]
    assert {line["send_id"] for line in logged} == {"s-1"}
    assert [(send.address, send.channel_type) for send in texts.sends] == [("+15550100042", "SMS")]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (ONE, {}, "Content"),
        (ONE, a_mail(Subject="x"), "Subject"),
        (ONE, a_mail(FromEmailAddress=""), "FromEmailAddress"),
        (ONE, a_mail(FromEmailAddress="Läden <shop@example.com>"), "FromEmailAddress"),
        (ONE, a_mail(Destination={"ToAddresses": ["a@x.org", "b@x.org"]}), "each other"),
        (ONE, a_mail(EmailTags=[{"Name": "user", "Value": "a@example.com"}]), "a tag"),
        (ONE, a_mail(headers=[{"Name": "X", "Value": "ü"}]), "does not fit"),
        (ONE, a_mail(headers=ONE_CLICK[1:]), "RFC 8058"),
        (ONE, a_mail(headers=[ONE_CLICK[0], ONE_CLICK[0]]), "a header twice"),
        (ONE, a_mail(Content={"Template": {"TemplateName": "x"}}), "Simple"),
        (BULK, a_bulk(51), "51 entries"),
        (BULK, a_bulk(0), "0 entries"),
        (BULK, a_bulk(text="{{name}}"), "no value"),
        (BULK, a_bulk(text=""), "without text"),
        (BULK, a_bulk(ReplacementTags=[{"Name": "send id", "Value": "x"}]), "a tag"),
    ],
)
async def test_what_ses_would_not_take_is_refused(
    path: str, body: object, says: str, ses: SesStub
) -> None:
    status, answer = await post(ses, body, path)
    assert status == 400
    assert says in answer["Message"]
    assert not ses.sends


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (a_text(DestinationPhoneNumber="0151"), "does not fit"),
        (a_text(TimeToLive=4), "TimeToLive"),
        (a_text(TimeToLive=259_201), "259201 is more than 259200"),
        (a_text(MaxPrice="1"), "MaxPrice"),
        (a_text(MaxPrice="0.123456"), "MaxPrice"),
        (a_text(MessageBody=" "), "does not fit"),
        (a_text(Context={"send id": "x"}), "does not fit"),
        (a_text(DestinationCountryParameters={"US_ID": "x"}), "US_ID"),
        ({"DestinationPhoneNumber": "+15550100042"}, "without text"),
    ],
)
async def test_what_end_user_messaging_would_not_take_is_refused(
    body: object, says: str, texts: EndUserMessagingStub
) -> None:
    status, answer = await post(texts, body)
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert says in answer["Message"]
    assert not texts.sends


async def test_another_operation_is_not_served(texts: EndUserMessagingStub) -> None:
    assert (await post(texts, a_text(), target="PinpointSMSVoiceV2.SendMediaMessage"))[0] == 400


@pytest.mark.parametrize("fault", [fault for fault in Fault if "drop" not in fault])
async def test_only_what_was_taken_is_in_the_log(
    fault: Fault, ses: SesStub, texts: EndUserMessagingStub
) -> None:
    for stub, body, path in ((ses, a_mail(), ONE), (ses, a_bulk(), BULK), (texts, a_text(), "/")):
        stub.sends.clear()
        stub.behaviour = always(Reply(fault=fault))
        if fault is not Fault.GARBLED:
            await post(stub, body, path)
            assert bool(stub.sends) == (fault in TAKEN)


async def test_a_mixed_crowd_is_answered_as_the_models_say(
    ses: SesStub, texts: EndUserMessagingStub
) -> None:
    """A stub that broke its model would answer 500 without a name."""
    ses.behaviour = texts.behaviour = crowd
    for number in range(60):
        status, answer = await post(texts, a_text(DestinationPhoneNumber=f"+1555010{number:04}"))
        assert status == 200 or answer["__type"]
        status, answer = await post(ses, a_mail(to=f"{number}@example.com"), ONE)
        assert status == 200 or "RequestID" in answer
    assert (await post(ses, a_bulk(50), BULK))[0] == 200


@pytest.mark.parametrize(
    ("module", "name"), [("ses", "ses"), ("end_user_messaging", "end user messaging")]
)
async def test_they_run_as_programs_and_say_where(module: str, name: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"worker.sandbox.{module}"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert line.startswith(f"{name} stub ready at http://127.0.0.1:")
    finally:
        process.terminate()
        code = await process.wait()
    assert code == 0
