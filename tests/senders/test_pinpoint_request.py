"""What a SendMessages call says, checked against botocore's model of the service."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.senders.deliveries import delivery
from worker.model import Channel, Delivery, Message
from worker.sandbox.pinpoint_checks import faults_of
from worker.senders.braces import literal
from worker.senders.pinpoint_request import (
    Origin,
    _is_alike,
    call_kind,
    message_request,
)

ORIGIN = Origin(
    email_from="shop@example.com", sms_origination_number="+15550100000", sms_sender_id="SHOP"
)
MAIL = Message(title="We miss you", body="plain", html="<p>rich</p>")


def request_of(*deliveries: Delivery, origin: Origin = ORIGIN) -> Any:
    body = json.loads(message_request(deliveries, origin))
    assert faults_of(body) == []
    return body


def test_one_text_for_all_is_said_once() -> None:
    body = request_of(delivery("a"), delivery("b", channel_type="APNS"))
    assert body == {
        "MessageConfiguration": {
            "DefaultPushNotificationMessage": {
                "Action": "OPEN_APP",
                "Title": "We miss you",
                "Body": "Your basket is waiting",
            }
        },
        "Addresses": {
            "a": {"ChannelType": "GCM", "Context": {"send_id": delivery("a").claim.send_id}},
            "b": {"ChannelType": "APNS", "Context": {"send_id": delivery("b").claim.send_id}},
        },
    }


def test_users_with_different_texts_share_a_call_and_the_default_has_none_of_them() -> None:
    body = request_of(
        delivery("a", message=Message(title="Kim!", body="for Kim")),
        delivery("b", message=Message(body="for Lee")),
    )
    assert body["MessageConfiguration"] == {
        "DefaultPushNotificationMessage": {"Action": "OPEN_APP"}
    }
    texts = [(a.get("TitleOverride"), a["BodyOverride"]) for a in body["Addresses"].values()]
    assert texts == [("Kim!", "for Kim"), (None, "for Lee")]


@pytest.mark.parametrize("channel_type", ["GCM", "APNS", "APNS_SANDBOX", "ADM", "BAIDU"])
def test_every_kind_of_push_token_gets_a_text(channel_type: str) -> None:
    body = request_of(delivery("a", channel_type=channel_type))
    assert body["Addresses"]["a"]["ChannelType"] == channel_type


@pytest.mark.parametrize(
    ("url", "action"),
    [
        ("https://shop.example/basket", "URL"),
        ("HTTP://shop.example", "URL"),
        ("shop://basket", "DEEP_LINK"),
    ],
)
def test_a_link_opens_the_browser_or_the_app(url: str, action: str) -> None:
    message = Message(body="x", url=url, data={"coupon": "5"})
    push = request_of(delivery(message=message))["MessageConfiguration"][
        "DefaultPushNotificationMessage"
    ]
    assert (push["Action"], push["Url"], push["Data"]) == (action, url, {"coupon": "5"})


def test_a_mail_has_its_parts_in_utf_8_and_its_sender() -> None:
    body = request_of(delivery("kim@example.com", channel=Channel.EMAIL, message=MAIL))
    assert body["MessageConfiguration"]["EmailMessage"] == {
        "FromAddress": "shop@example.com",
        "SimpleEmail": {
            "Subject": {"Charset": "UTF-8", "Data": "We miss you"},
            "TextPart": {"Charset": "UTF-8", "Data": "plain"},
            "HtmlPart": {"Charset": "UTF-8", "Data": "<p>rich</p>"},
        },
    }


def test_an_sms_says_where_it_comes_from() -> None:
    sms = delivery("+15550100042", channel=Channel.SMS)
    assert request_of(sms)["MessageConfiguration"]["SMSMessage"] == {
        "Body": "Your basket is waiting",
        "MessageType": "PROMOTIONAL",
        "OriginationNumber": "+15550100000",
        "SenderId": "SHOP",
    }


def test_what_is_not_set_is_left_to_the_application() -> None:
    sms = request_of(delivery("+15550100042", channel=Channel.SMS), origin=Origin())
    assert sorted(sms["MessageConfiguration"]["SMSMessage"]) == ["Body", "MessageType"]
    mail = delivery("kim@example.com", channel=Channel.EMAIL, message=MAIL)
    assert (
        "FromAddress"
        not in request_of(mail, origin=Origin())["MessageConfiguration"]["EmailMessage"]
    )


BASE = Message(title="t", body="b", html="h", url="u:x", data={"k": "v"})
OTHERS = {
    "title": replace(BASE, title="other"),
    "body": replace(BASE, body="other"),
    "html": replace(BASE, html="other"),
    "url": replace(BASE, url="u:other"),
    "data": replace(BASE, data={"k": "other"}),
}


@pytest.mark.parametrize(
    ("channel", "apart"),
    [
        (Channel.PUSH, {"url", "data"}),
        (Channel.EMAIL, {"title", "body", "html"}),
        (Channel.SMS, {"body"}),
    ],
)
def test_a_call_is_shared_unless_something_differs_that_an_address_cannot_override(
    channel: Channel, apart: set[str]
) -> None:
    base = call_kind(delivery(channel=channel, message=BASE))
    differs = {
        part
        for part, message in OTHERS.items()
        if call_kind(delivery(channel=channel, message=message)) != base
    }
    assert differs == apart


def test_no_two_channels_share_a_call() -> None:
    kinds = {call_kind(delivery(channel=channel, message=BASE)) for channel in Channel}
    assert len(kinds) == len(Channel)


def test_a_text_that_looks_like_a_variable_stays_a_text() -> None:
    hostile = Message(
        title="{{Address}}",
        body="{{{User.UserId}}} {{#if x}}",
        html="<a href='/{{x}}'>{{Attributes.card}}</a>",
        url="https://shop.example/{{x}}",
        data={"k": '{"a":"{{x}}"}'},
    )
    for channel in Channel:
        one = delivery("a", channel=channel, message=hostile)
        assert b"{{" not in message_request([one], ORIGIN)
    two = [delivery("a", message=hostile), delivery("b", message=replace(hostile, body="{{y"))]
    overrides = request_of(*two)["Addresses"]
    assert overrides["a"]["BodyOverride"] == "{ { {User.UserId}}} { {#if x}}"
    assert overrides["b"]["TitleOverride"] == "{ {Address}}"


def test_html_and_links_keep_their_meaning_under_the_guard() -> None:
    message = Message(title="t", html="<b>{{x}}</b>", url="https://shop.example/?q={{{x}}}")
    mail = request_of(delivery("a", channel=Channel.EMAIL, message=message))
    simple = mail["MessageConfiguration"]["EmailMessage"]["SimpleEmail"]
    assert simple["HtmlPart"]["Data"] == "<b>&#123;{x}}</b>"
    push = request_of(delivery("a", message=replace(message, body="b")))
    url = push["MessageConfiguration"]["DefaultPushNotificationMessage"]["Url"]
    assert url == "https://shop.example/?q=%7B%7B{x}}}"


@given(st.text("{} a"))
def test_the_guard_adds_only_spaces_and_leaves_no_pair_of_braces(text: str) -> None:
    assert "{{" not in literal(text)
    assert literal(text).replace(" ", "") == text.replace(" ", "")
    assert literal(literal(text)) == literal(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_any_text_arrives_as_it_was(text: str) -> None:
    message = Message(title="t", body=text + ".")
    push = json.loads(message_request([delivery(message=message)], ORIGIN))
    said = push["MessageConfiguration"]["DefaultPushNotificationMessage"]["Body"]
    assert said == literal(text + ".")


def test_half_a_surrogate_pair_cannot_be_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        message_request([delivery(message=Message(body="\ud83d"))], ORIGIN)


def test_a_time_to_live_is_told_to_every_kind_of_phone() -> None:
    lasting = replace(delivery(), ttl_ms=12 * 3_600_000)
    configuration = request_of(lasting)["MessageConfiguration"]
    texts = {
        name: (message["Title"], message["Body"], message["Action"])
        for name, message in configuration.items()
    }
    assert set(texts.values()) == {("We miss you", "Your basket is waiting", "OPEN_APP")}
    assert configuration["GCMMessage"]["TimeToLive"] == 43_200
    assert configuration["APNSMessage"]["TimeToLive"] == 43_200
    assert configuration["ADMMessage"]["ExpiresAfter"] == "43200"
    assert "TimeToLive" not in configuration["DefaultPushNotificationMessage"]


def test_texts_of_one_time_to_live_share_a_call_and_each_address_brings_its_own() -> None:
    mine = replace(delivery("token-1"), ttl_ms=60_000)
    yours = replace(delivery("token-2", message=Message(title="{{t", body="yours")), ttl_ms=60_000)
    body = request_of(mine, yours)
    for name, message in body["MessageConfiguration"].items():
        assert (message["Title"], message["Body"]) == ("{{Title}}", "{{Body}}"), name
    texts = [address["Substitutions"] for address in body["Addresses"].values()]
    assert texts == [
        {"Title": ["We miss you"], "Body": ["Your basket is waiting"]},
        {"Title": ["{ {t"], "Body": ["yours"]},
    ]


def test_another_time_to_live_or_a_title_too_few_is_another_call() -> None:
    mine = replace(delivery("token-1"), ttl_ms=60_000)
    longer = replace(delivery("token-2"), ttl_ms=90_000)
    untitled = replace(delivery("token-3", message=Message(body="b")), ttl_ms=60_000)
    assert len({call_kind(one) for one in (mine, longer, untitled, delivery("token-4"))}) == 4
    assert call_kind(mine) == call_kind(replace(mine, address="token-5"))


SOME = st.builds(
    lambda channel, title, url, data, ttl_ms: replace(
        delivery("a", channel=channel, message=Message(title=title, body="b", url=url, data=data)),
        ttl_ms=ttl_ms,
    ),
    st.sampled_from(Channel),
    st.sampled_from([None, "", "t"]),
    st.sampled_from([None, "", "shop://a"]),
    st.sampled_from([{}, {"k": "v"}, {"k": "v", "a": "b"}, {"a": "b", "k": "v"}]),
    st.sampled_from([None, 60_000]),
)


@given(SOME, SOME)
def test_alike_are_deliveries_of_one_kind(one: Delivery, other: Delivery) -> None:
    assert _is_alike(one, other) == (call_kind(one) == call_kind(other))
