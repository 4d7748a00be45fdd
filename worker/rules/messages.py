"""The messages of the three channels: their keys in YAML, and their text for one user. Pure.

A rendered message is ready for the provider or it is refused: nothing empty, nothing longer than
the provider takes. What no user's values can mend is refused when the rules are read.

Sizes: Amazon Pinpoint developer guide, "Quotas" (push 4 KB, e-mail 600,000
characters); user guide, "SMS character limits" (1,600 characters, 630 outside GSM 03.38).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from worker.model import Channel, Message
from worker.rules.forms import Form, HtmlText, Name, PlainText, refused
from worker.rules.ruleset import TemplateProblem
from worker.rules.templates import Text

PUSH_BYTES_MAX = 4_096 - 512
"""Our share of the 4 KB a push may hold; the rest is for the provider's own envelope."""
EMAIL_CHARS_MAX = 600_000
SUBJECT_CHARS_MAX = 900
SMS_GSM_UNITS_MAX = 1_600
SMS_UNICODE_UNITS_MAX = 630
DATA_KEYS_MAX = 50

_GSM = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 \n\r"
    "àÅåÄäÇÉéèìÑñòØøÖöùÜüÆæß&*@:,¤$=!>#-¡¿(<%.+£?\")§;'/_¥ΔΦΓΛΩΠΨΣΘΞ"
)
_GSM_EXTENDED = frozenset("^{}\\[]~|€")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"]+")


def _held_to(finish: Callable[[str, str], object], name: str) -> AfterValidator:
    """Finishes a text that is the same for everybody when the rules are read, to see if it can."""

    def held(text: Text) -> Text:
        if text.fixed is not None:
            try:
                finish(name, text.fixed)
            except TemplateProblem as problem:
                raise refused(str(problem)) from problem
        return text

    return AfterValidator(held)


def _filled(name: str, text: str) -> str:
    if not text.strip():
        raise TemplateProblem(f"the {name} comes out empty; give it fixed text")
    return text


def _stripped(name: str, text: str) -> str:
    return _filled(name, text).strip()


def _line(name: str, text: str) -> str:
    """One line: a line break in a value could otherwise begin a mail header of its own."""
    return " ".join(_filled(name, text).split())


def _subject(name: str, text: str) -> str:
    subject = _line(name, text)
    _bounded(name, len(subject), SUBJECT_CHARS_MAX, "characters")
    return subject


def _sms(name: str, text: str) -> str:
    body = _stripped(name, text)
    if _GSM.union(_GSM_EXTENDED).issuperset(body):
        units = len(body) + sum(char in _GSM_EXTENDED for char in body)
        _bounded("SMS", units, SMS_GSM_UNITS_MAX, "characters")
    else:
        units = len(body.encode("utf-16-le")) // 2
        _bounded("SMS with characters outside GSM", units, SMS_UNICODE_UNITS_MAX, "characters")
    return body


def _url(name: str, text: str) -> str:
    url = text.strip()
    if not _URL.fullmatch(url):
        raise TemplateProblem(
            f"the {name} comes out unusable; write scheme:..., such as https://shop.example, and "
            "|urlencode after a value that may hold blanks"
        )
    return url


def _bounded(name: str, size: int, size_max: int, unit: str) -> None:
    if size > size_max:
        raise TemplateProblem(
            f"the {name} comes out at {size} {unit}, the provider takes {size_max}; shorten it, or "
            "cut long values with |truncate(40)"
        )


def _push_fits(message: Message) -> None:
    parts = [message.title, message.body, message.url, dict(message.data)]
    payload = json.dumps(parts, ensure_ascii=False)
    _bounded("push message", len(payload.encode("utf-8")), PUSH_BYTES_MAX, "bytes")


def _least(text: Text) -> str:
    return text.fixed or ""


class PushMessage(Form):
    """A push notification."""

    title: Annotated[PlainText, _held_to(_line, "title")] = Field(
        description="Headline of the notification."
    )
    body: Annotated[PlainText, _held_to(_stripped, "body")] = Field(
        description="Text of the notification."
    )
    url: Annotated[PlainText, _held_to(_url, "url")] | None = Field(
        default=None, description="What a tap opens: a web or app link."
    )
    data: Annotated[dict[Name, PlainText], Field(max_length=DATA_KEYS_MAX)] = Field(
        default_factory=dict, description="Values handed to the app."
    )

    def render(self, context: Mapping[str, object]) -> Message:
        """Raises TemplateProblem."""
        message = Message(
            title=_line("title", self.title.render(context)),
            body=_stripped("body", self.body.render(context)),
            url=_url("url", self.url.render(context)) if self.url else None,
            data={key: text.render(context) for key, text in self.data.items()},
        )
        _push_fits(message)
        return message

    @model_validator(mode="after")
    def _fits_somebody(self) -> Self:
        """The parts share one bound; what a value adds is not known and counts as nothing."""
        least = Message(
            title=_least(self.title),
            body=_least(self.body),
            url=_least(self.url) if self.url else None,
            data={key: _least(text) for key, text in self.data.items()},
        )
        try:
            _push_fits(least)
        except TemplateProblem as problem:
            raise refused(str(problem)) from problem
        return self


class EmailMessage(Form):
    """An e-mail, as text, as HTML or as both."""

    subject: Annotated[PlainText, _held_to(_subject, "subject")] = Field(
        description="Subject line."
    )
    text: Annotated[PlainText, _held_to(_filled, "text")] | None = Field(
        default=None, description="The mail as plain text."
    )
    html: Annotated[HtmlText, _held_to(_filled, "html")] | None = Field(
        default=None, description="The mail as HTML; values are escaped."
    )

    def render(self, context: Mapping[str, object]) -> Message:
        """Raises TemplateProblem."""
        title = _subject("subject", self.subject.render(context))
        body = _filled("text", self.text.render(context)) if self.text else ""
        html = _filled("html", self.html.render(context)) if self.html else None
        _bounded("e-mail", len(body) + len(html or ""), EMAIL_CHARS_MAX, "characters")
        return Message(title=title, body=body, html=html)


class SmsMessage(Form):
    """A text message."""

    body: Annotated[PlainText, _held_to(_sms, "body")] = Field(description="Text of the message.")

    def render(self, context: Mapping[str, object]) -> Message:
        """Raises TemplateProblem."""
        return Message(body=_sms("body", self.body.render(context)))


MessageForm: TypeAlias = PushMessage | EmailMessage | SmsMessage
MESSAGE_FORMS: Final[Mapping[Channel, type[MessageForm]]] = {
    Channel.PUSH: PushMessage,
    Channel.EMAIL: EmailMessage,
    Channel.SMS: SmsMessage,
}
