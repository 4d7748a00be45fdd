"""Texts per locale, what the law wants around a text, and the parts an SMS is paid as."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.model import Channel, Endpoint, Message, UserView
from worker.rules.document import read_document
from worker.rules.facts import render_context
from worker.rules.finishing import _bytes_at_most
from worker.rules.forms import Form
from worker.rules.messages import EmailMessage, PushMessage, SmsMessage, decorated
from worker.rules.ruleset import LegalText, TemplateProblem
from worker.rules.sms import GSM, GSM_EXTENDED, is_gsm, parts, units
from worker.rules.wording import fit


def context(locale: str | None = None, **attributes: str) -> dict[str, object]:
    endpoint = Endpoint(
        endpoint_id="e",
        at_ms=1,
        locale=locale,
        user_attributes={name: (value,) for name, value in attributes.items()},
    )
    return dict(render_context(UserView(user_id="u", last_active_ms=None, endpoints=(endpoint,))))


# --- locales ----------------------------------------------------------------------------------

GREETING = SmsMessage.model_validate(
    {
        "body": "Hello",
        "locales": {
            "fr": {"body": "Bonjour"},
            "fr-CA": {"body": "Allô"},
            "pt_BR": {"body": "Oi"},
            "zh-Hant": {"body": "你好"},
        },
    }
)


@pytest.mark.parametrize(
    ("locale", "body"),
    [
        ("fr", "Bonjour"),
        ("FR", "Bonjour"),
        ("fr_FR", "Bonjour"),
        ("fr-FR.UTF-8", "Bonjour"),
        ("fr_CA", "Allô"),
        ("fr-ca-x-shop", "Allô"),
        ("pt-BR", "Oi"),
        ("pt_br", "Oi"),
        ("zh_Hant_TW", "你好"),
        # No such language, or only one that is narrower than the user's.
        ("pt", "Hello"),
        ("pt-PT", "Hello"),
        ("zh", "Hello"),
        ("zh-Hans", "Hello"),
        ("f", "Hello"),
        ("français", "Hello"),
        ("en", "Hello"),
        ("-", "Hello"),
        ("", "Hello"),
        (None, "Hello"),
    ],
)
def test_a_user_gets_the_text_of_their_locale_else_of_its_language_else_the_default(
    locale: str | None, body: str
) -> None:
    assert GREETING.render(context(locale)) == Message(body=body)


def test_what_a_locale_does_not_state_is_as_in_the_default() -> None:
    push = PushMessage.model_validate(
        {
            "title": "News",
            "body": "Come back",
            "url": "https://shop.example/",
            "data": {"screen": "home", "label": "Hi"},
            "locales": {"de": {"body": "Komm zurück", "data": {"label": "Hallo"}}},
        }
    )
    default = push.render(context("en"))
    assert default == Message(
        title="News",
        body="Come back",
        url="https://shop.example/",
        data={"screen": "home", "label": "Hi"},
    )
    assert push.render(context("de-AT")) == replace(
        default, body="Komm zurück", data={"screen": "home", "label": "Hallo"}
    )
    mail = EmailMessage.model_validate(
        {
            "subject": "News",
            "text": "Come back",
            "html": "<p>Come back",
            "locales": {"de": {"subject": "Neues", "html": "<p>Komm zurück"}},
        }
    )
    assert mail.render(context("de")) == Message(
        title="Neues", body="Come back", html="<p>Komm zurück"
    )


def test_a_value_that_only_one_locale_asks_for_is_missed_only_there() -> None:
    body = {"body": "Hello", "locales": {"fr": {"body": "Bonjour {{User.UserAttributes.nom}}"}}}
    form = SmsMessage.model_validate(body)
    assert form.render(context("en")).body == "Hello"
    assert form.render(context("fr", nom="Zoé")).body == "Bonjour Zoé"
    with pytest.raises(TemplateProblem, match=r"UserAttributes\.nom"):
        form.render(context("fr"))


def test_values_are_escaped_in_the_html_of_a_locale() -> None:
    html = "<b>{{User.UserAttributes.x}}</b>"
    form = EmailMessage.model_validate(
        {"subject": "s", "html": "<p>", "locales": {"fr": {"html": html}}}
    )
    assert form.render(context("fr", x="<i>")).html == "<b>&lt;i&gt;</b>"


PUSH = """\
title: News
body: Come back
data:
  label: Hi
locales:
  fr:
    title: Nouvelles
    body: Revenez
"""
MAIL = "subject: s\ntext: t\nlocales:\n  fr:\n    text: Bonjour\n"
SMS = "body: Hello\nlocales:\n  fr:\n    body: Bonjour\n"


@pytest.mark.parametrize(
    ("form", "text", "old", "new", "place", "told"),
    [
        (PushMessage, PUSH, "Nouvelles", '" "', (7, 12), "title: the title comes out empty"),
        (PushMessage, PUSH, "Revenez", "é" * 2_000, (7, 5), "fr: the push message comes out at"),
        (PushMessage, PUSH, "Revenez", "'{{Usr.x}}'", (8, 11), 'did you mean "User"?'),
        (PushMessage, PUSH, "body: Revenez", "url: nowhere", (8, 10), "the url comes out unusable"),
        (PushMessage, PUSH, "body: Revenez", "bdy: x", (8, 5), 'did you mean "body"?'),
        (PushMessage, PUSH, "  fr:", "  f!:", (6, 3), '"f!" is no locale; write a language'),
        (PushMessage, PUSH, "  fr:", "  fr_FR: {body: x}\n  fr-fr:", (6, 3), "same locale; keep"),
        (
            EmailMessage,
            MAIL,
            "text: Bonjour",
            "subject: ''",
            (5, 14),
            "the subject comes out empty",
        ),
        (EmailMessage, MAIL, "\n    text: Bonjour", " {}", (4, 7), "no text is stated here"),
        (EmailMessage, MAIL, "\n    text: Bonjour", " Bonjour", (4, 7), "expected keys and values"),
        (SmsMessage, SMS, "Bonjour", "é" * 1_601, (4, 11), "1601 characters, the provider takes"),
        (SmsMessage, SMS, "Bonjour", "ê" * 631, (4, 11), "outside GSM comes out at 631"),
        (SmsMessage, SMS, "body: Bonjour", "title: Oui", (4, 5), 'unknown key "title"'),
    ],
)
def test_what_is_wrong_with_a_locale_is_told_where_it_stands(
    form: type[Form], text: str, old: str, new: str, place: tuple[int, int], told: str
) -> None:
    def problems(written: str) -> list[tuple[int, int, str]]:
        root = read_document(written.encode(), "x.yaml").root
        assert root is not None
        _, found = fit(form, root)
        return [(problem.line, problem.column, problem.message) for problem in found]

    assert problems(text) == []
    assert old in text
    ((line, column, message),) = problems(text.replace(old, new))
    assert (line, column) == place
    assert told in message


def test_a_push_may_be_too_large_in_one_locale_for_what_it_takes_from_the_default() -> None:
    keys = {"title": "x", "body": "x", "data": {"k": "x" * 2_000}}
    PushMessage.model_validate(keys | {"locales": {"fr": {"body": "x" * 1_000}}})
    with pytest.raises(ValidationError):
        PushMessage.model_validate(keys | {"locales": {"fr": {"body": "x" * 2_000}}})


# --- what the law wants -----------------------------------------------------------------------


def legal(prefix: str = "", suffix: str = "") -> LegalText:
    return LegalText(matchers=(), prefix=prefix, suffix=suffix)


KOREA = legal("(광고) ", " 무료수신거부 080-000-0000")


def test_without_legal_texts_a_message_is_itself() -> None:
    message = Message(title="T", body="B")
    for channel in Channel:
        assert decorated(message, channel, ()) is message


def test_an_sms_has_them_around_its_body() -> None:
    told = decorated(Message(body="Shop: 10%"), Channel.SMS, [KOREA])
    assert told == Message(body="(광고) Shop: 10% 무료수신거부 080-000-0000")


def test_a_push_has_them_before_its_title_and_after_its_body() -> None:
    push = Message(title="T", body="B", url="app://x", data={"k": "v"})
    assert decorated(push, Channel.PUSH, [KOREA]) == replace(
        push, title="(광고) T", body="B 무료수신거부 080-000-0000"
    )


def test_a_mail_has_them_before_its_subject_and_after_text_and_html() -> None:
    stop = legal("AD: ", "Stop: <here> & now\nShop Ltd")
    mail = Message(title="S", body="Bye\n", html="<html><body>Bye</BODY ></html>")
    assert decorated(mail, Channel.EMAIL, [stop]) == Message(
        title="AD: S",
        body="Bye\nStop: <here> & now\nShop Ltd",
        html="<html><body>Bye<p>Stop: &lt;here&gt; &amp; now<br>Shop Ltd</p></BODY ></html>",
    )
    assert decorated(Message(title="S", html="Bye"), Channel.EMAIL, [stop]) == Message(
        title="AD: S", html="Bye<p>Stop: &lt;here&gt; &amp; now<br>Shop Ltd</p>"
    )
    assert decorated(Message(title="S", body="Bye"), Channel.EMAIL, [stop]).body == (
        "Bye\nStop: <here> & now\nShop Ltd"
    )
    assert decorated(mail, Channel.EMAIL, [legal("AD: ")]) == replace(mail, title="AD: S")


def test_several_stand_in_their_order() -> None:
    told = decorated(Message(body="B"), Channel.SMS, [legal("1", "3"), legal("2"), legal("", "4")])
    assert told.body == "12B34"


@pytest.mark.parametrize(
    ("message", "channel", "told"),
    [
        (Message(body="x" * 1_590), Channel.SMS, "outside GSM comes out at 161"),
        (Message(title="x" * 896, body="x"), Channel.EMAIL, "the subject comes out at 901"),
        (Message(title="x", body="x" * 3_560), Channel.PUSH, "the push message comes out at"),
        (Message(title="x", body="x" * 599_990), Channel.EMAIL, "the e-mail comes out at"),
    ],
)
def test_what_is_too_long_with_them_is_a_problem(
    message: Message, channel: Channel, told: str
) -> None:
    with pytest.raises(TemplateProblem) as problem:
        decorated(message, channel, [KOREA])
    assert told in str(problem.value)


def test_a_legal_line_break_cannot_begin_a_mail_header() -> None:
    told = decorated(Message(title="S", body="B"), Channel.EMAIL, [legal("AD\r\nBcc: x ")])
    assert told.title == "AD Bcc: x S"


# --- parts of an SMS --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("", 1),
        ("x" * 160, 1),
        ("x" * 161, 2),
        ("x" * 306, 2),
        ("x" * 307, 3),
        ("x" * 1_600, 11),
        ("€" * 80, 1),
        ("€" * 81, 2),
        # 153 units hold 76 of them; the last unit of each part is lost.
        ("€" * 152, 2),
        ("€" * 153, 3),
        ("x" * 152 + "€" + "x" * 152, 3),
        ("x" * 151 + "€" + "x" * 153, 2),
        ("다" * 70, 1),
        ("다" * 71, 2),
        ("다" * 134, 2),
        ("다" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 66, 2),
        ("😀" * 67, 3),
        # One character outside the set makes all of it UCS-2; backtick and ç are outside.
        ("x" * 69 + "ê", 1),
        ("x" * 70 + "ê", 2),
        ("`" + "x" * 70, 2),
        ("ç" + "x" * 70, 2),
        ("\n" + "é" * 159, 1),
    ],
)
def test_an_sms_is_paid_by_its_parts(body: str, count: int) -> None:
    assert parts(body) == count


chars = st.sampled_from([*"aé €{~", "다", "😀", "ç"])


@given(st.lists(chars, max_size=400).map("".join))
def test_parts_are_as_few_as_hold_all_units_with_no_character_cut(body: str) -> None:
    single, each = (160, 153) if is_gsm(body) else (70, 67)
    assert units(body) == (
        len(body) + sum(body.count(char) for char in GSM_EXTENDED)
        if is_gsm(body)
        else len(body.encode("utf-16-le")) // 2
    )
    count = parts(body)
    if units(body) <= single:
        assert count == 1
    else:
        # At most one unit of each part but the last is lost.
        assert -(-units(body) // each) <= count <= -(-units(body) // (each - 1))


@given(st.lists(chars, max_size=200).map("".join), chars)
def test_a_longer_text_never_has_fewer_parts(body: str, char: str) -> None:
    assert parts(body + char) >= parts(body)


def test_the_tables_are_those_of_the_standard() -> None:
    assert not GSM & GSM_EXTENDED
    assert len(GSM) == 128 - 1  # seven bits, of which one sign leads to the extension table


@given(
    st.none() | st.text(max_size=20),
    st.text(max_size=60) | st.text('\x00"\\', max_size=60),
    st.none() | st.text(max_size=20),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4),
)
def test_no_push_is_longer_than_it_is_taken_for(
    title: str | None, body: str, url: str | None, data: dict[str, str]
) -> None:
    message = Message(title=title, body=body, url=url, data=data)
    payload = json.dumps([title, body, url, data], ensure_ascii=False)
    assert len(payload.encode()) <= _bytes_at_most(message)
