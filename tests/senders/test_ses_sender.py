"""What SES is told and what is made of its answers, against the stub, which knows its model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.senders.deliveries import crowd, delivery
from tests.senders.endpoint import point_at
from tests.senders.outcomes import judged, kinds
from tests.senders.services import MAIL_ORIGIN
from worker.model import Channel, Delivery, Message, Reason, Rejected, Sent, Uncertain
from worker.sandbox.pinpoint_replies import Fault, Refusal, Reply, always
from worker.sandbox.ses import SesStub
from worker.sandbox.shapes import problems
from worker.senders import ses_answer
from worker.senders.refusals import REFUSED_IN_A_ROW_MAX
from worker.senders.ses import SesSender, open_ses
from worker.senders.ses_request import (
    HEADER_CHARS_MAX,
    MailOrigin,
    bulk_message,
    one_message,
)

BARE = MailOrigin(email_from="shop@example.com")


@pytest.fixture
async def stub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SesStub]:
    server = SesStub()
    point_at(await server.start(), monkeypatch)
    yield server
    await server.stop()


@pytest.fixture
async def sender(stub: SesStub) -> AsyncIterator[SesSender]:
    async with open_ses(MAIL_ORIGIN) as opened:
        yield opened


def mails(size: int) -> list[Delivery]:
    return crowd(size, Channel.EMAIL)


# --- requests ---------------------------------------------------------------------------------


async def test_one_mail_goes_out_as_it_is_and_carries_our_send_id(
    stub: SesStub, sender: SesSender
) -> None:
    text = Message(title="Hi {{Ada}}", body="a < b & {{c}}", html="<b>{{c}}</b>")
    one = replace(mails(1)[0], message=text)
    (outcome,) = await sender.send([one])
    assert isinstance(outcome, Sent)
    assert outcome.message_id
    (request,) = stub.requests
    simple = request["Content"]["Simple"]
    assert simple["Subject"]["Data"] == text.title
    assert {name: part["Data"] for name, part in simple["Body"].items()} == {
        "Text": text.body,
        "Html": text.html,
    }
    assert [send.send_id for send in stub.sends] == [one.claim.send_id]


async def test_one_text_for_many_is_one_call_with_a_send_id_and_a_way_out_for_each(
    stub: SesStub, sender: SesSender
) -> None:
    people = mails(50)
    outcomes = await sender.send(people)
    assert len({one.message_id for one in outcomes if isinstance(one, Sent)}) == 50
    (request,) = stub.requests
    assert [send.send_id for send in stub.sends] == [one.claim.send_id for one in people]
    for one, entry in zip(people, request["BulkEmailEntries"], strict=True):
        assert entry["Destination"] == {"ToAddresses": [one.address]}
        headers = {header["Name"]: header["Value"] for header in entry["ReplacementHeaders"]}
        assert headers == {
            "List-Unsubscribe": f"<https://example.com/stop?u={one.claim.user_id}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }


def test_only_equal_texts_share_a_call(sender: SesSender) -> None:
    one, other = mails(2)
    assert sender.call_kind(one) == sender.call_kind(other)
    for text in (
        replace(one.message, title="x"),
        replace(one.message, body="x"),
        replace(one.message, html="x"),
    ):
        assert sender.call_kind(replace(one, message=text)) != sender.call_kind(other)


def test_what_the_origin_says_is_in_every_call() -> None:
    origin = MailOrigin(
        email_from="Schöne Läden <shop@example.com>",
        reply_to=("help@example.com", "Ops <ops@example.com>"),
        from_arn="arn:aws:ses:eu-west-1:123456789012:identity/example.com",
        feedback_to="bounces@example.com",
        feedback_arn="arn:aws:ses:eu-west-1:123456789012:identity/example.com",
        configuration_set="receipts",
    )
    envelope = origin.envelope()
    assert envelope["FromEmailAddress"].isascii()
    assert envelope["FromEmailAddress"].endswith("<shop@example.com>")
    one = msgspec.json.decode(one_message(mails(1)[0], envelope, ""))
    many = msgspec.json.decode(bulk_message(mails(2), envelope, ""))
    assert problems("sesv2", "SendEmailRequest", one) == []
    assert problems("sesv2", "SendBulkEmailRequest", many) == []
    assert envelope.items() <= one.items()
    assert envelope.items() <= many.items()
    assert len(envelope) == 6
    assert BARE.envelope() == {"FromEmailAddress": "shop@example.com"}


def headers_of(one: Delivery, url: str) -> Mapping[str, str]:
    said = msgspec.json.decode(one_message(one, BARE.envelope(), url))
    assert problems("sesv2", "SendEmailRequest", said) == []
    return {h["Name"]: h["Value"] for h in said["Content"]["Simple"].get("Headers", [])}


@given(user_id=st.text(max_size=40).filter(lambda text: text.isprintable() or text == ""))
def test_whoever_the_user_is_the_link_is_ascii_and_leads_back_to_them(user_id: str) -> None:
    one = delivery("a@example.com", channel=Channel.EMAIL, user_id=user_id)
    value = headers_of(one, "https://example.com/?u={user_id}&s={send_id}")["List-Unsubscribe"]
    assert value.isascii()
    assert value.isprintable()
    user, _, send = value.removeprefix("<https://example.com/?u=").partition("&s=")
    assert (unquote(user), send) == (user_id, f"{one.claim.send_id}>")


def test_a_mailto_has_no_one_click_and_no_url_no_header() -> None:
    one = mails(1)[0]
    assert headers_of(one, "mailto:stop+{send_id}@example.com") == {
        "List-Unsubscribe": f"<mailto:stop+{one.claim.send_id}@example.com>"
    }
    assert headers_of(one, "") == {}


@given(texts=st.tuples(*[st.text("ab{}<&", min_size=1, max_size=12)] * 3))
def test_a_shared_text_has_no_variable_whatever_values_brought_in(
    texts: tuple[str, str, str],
) -> None:
    title, body, html = texts
    people = [replace(o, message=Message(title=title, body=body, html=html)) for o in mails(2)]
    said = msgspec.json.decode(bulk_message(people, BARE.envelope(), ""))
    content = said["DefaultContent"]["Template"]["TemplateContent"]
    assert not any("{{" in text for text in content.values())
    assert content["Text"].replace(" ", "") == body.replace(" ", "")
    assert content["Html"].replace("&#123;", "{") == html


# --- one bad thing stays one bad thing --------------------------------------------------------


@pytest.mark.parametrize("bad", [(0,), (31,), (3, 4, 5, 6, 7)])
async def test_poison_addresses_harm_only_themselves(
    bad: tuple[int, ...], stub: SesStub, sender: SesSender
) -> None:
    people = mails(50)
    for number in bad:
        stub.behaviours[people[number].address] = always(Reply(fault=Fault.BAD_REQUEST))
    outcomes = await sender.send(people)
    assert [type(one) is Rejected for one in outcomes] == [n in bad for n in range(50)]
    assert sorted(send.address for send in stub.sends) == sorted(
        one.address for n, one in enumerate(people) if n not in bad
    )


async def test_a_user_id_too_long_for_a_header_harms_only_its_own_mail(
    stub: SesStub, sender: SesSender
) -> None:
    long = delivery("x@example.com", channel=Channel.EMAIL, user_id="u" * HEADER_CHARS_MAX)
    outcomes = await sender.send([*mails(3), long])
    assert [type(one) is Rejected for one in outcomes] == [False, False, False, True]
    assert len(stub.sends) == 3


async def test_half_a_surrogate_harms_only_its_own_mail(stub: SesStub, sender: SesSender) -> None:
    bad = delivery("\udc00@example.com", channel=Channel.EMAIL)
    outcomes = await sender.send([*mails(2), bad])
    assert [type(one) is Rejected for one in outcomes] == [False, False, True]
    assert len(stub.sends) == 2


# --- answers ----------------------------------------------------------------------------------

PAUSED, THROTTLED = Reason.CHANNEL_PAUSED, Reason.PROVIDER_THROTTLED
ENTRIES: Mapping[str, object] = {
    "SUCCESS": Sent,
    "MESSAGE_REJECTED": Rejected,
    "MAIL_FROM_DOMAIN_NOT_VERIFIED": PAUSED,
    "CONFIGURATION_SET_NOT_FOUND": PAUSED,
    "TEMPLATE_NOT_FOUND": PAUSED,
    "ACCOUNT_SUSPENDED": PAUSED,
    "ACCOUNT_THROTTLED": THROTTLED,
    "ACCOUNT_DAILY_QUOTA_EXCEEDED": THROTTLED,
    "INVALID_SENDING_POOL_NAME": PAUSED,
    "ACCOUNT_SENDING_PAUSED": PAUSED,
    "CONFIGURATION_SET_SENDING_PAUSED": PAUSED,
    "INVALID_PARAMETER": Rejected,
    "TRANSIENT_FAILURE": Reason.TEMPORARY_FAILURE,
    "FAILED": Rejected,
    "UNHEARD_OF": Uncertain,
}


async def test_every_status_of_an_entry_has_one_meaning_and_is_the_entrys_own(
    stub: SesStub, sender: SesSender
) -> None:
    for status in ENTRIES:
        people = mails(3)
        stub.behaviours[people[1].address] = always(Reply(status=status))
        before, struck, after = await sender.send(people)
        assert judged([struck]) == {ENTRIES[status]}, status
        assert {type(before), type(after)} == {Sent}
        assert getattr(struck, "stop", None) is None, "only a receipt may end an address"
    shape = {"BulkEmailEntryResults": [{"Status": status} for status in ENTRIES]}
    found = problems("sesv2", "SendBulkEmailResponse", shape)
    assert ["UNHEARD_OF" in problem for problem in found] == [True], "the table is the model's enum"


async def test_a_mail_that_is_not_verified_pauses_the_channel_and_nobody_can_fake_it(
    stub: SesStub, sender: SesSender
) -> None:
    said = "Email address is not verified. The following identities failed the check: {}"
    for size in (1, 2):
        people = mails(size)
        told = Refusal(code=400, kind="MessageRejected", message=said.format(people[0].address))
        stub.behaviours[people[0].address] = always(told)
        assert kinds(await sender.send(people)) == {"Retry channel_paused MessageRejected"}
    mean = delivery("not-verified@not-verified.example", channel=Channel.EMAIL)
    told = Refusal(code=400, kind="MessageRejected", message=f"bad content for {mean.address}")
    stub.behaviours[mean.address] = always(told)
    assert judged(await sender.send([mean])) == {Rejected}


async def test_when_entry_after_entry_is_refused_the_fault_is_ours(
    stub: SesStub, sender: SesSender
) -> None:
    stub.behaviour = always(Reply(status="FAILED"))
    assert judged(await sender.send(mails(REFUSED_IN_A_ROW_MAX))) == {PAUSED}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"BulkEmailEntryResults":[{"Status":"SUCCESS"}]}', b"<html>"],
)
def test_an_answer_that_does_not_name_everybody_leaves_all_uncertain(body: bytes) -> None:
    answers = ses_answer.of_bulk(mails(2), body)
    assert [type(one) for one in answers] == [Uncertain, Uncertain]


async def test_no_words_of_ses_are_passed_on(stub: SesStub, sender: SesSender) -> None:
    for reply in (
        Reply(status="FAILED", message="secret@example.com"),
        Refusal(code=400, kind="MessageRejected", message="secret@example.com"),
        Refusal(code=400, kind="BadRequestException", message="secret@example.com"),
    ):
        stub.behaviour = always(reply)
        for size in (1, 2):
            assert "secret" not in str(await sender.send(mails(size)))
