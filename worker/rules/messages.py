"""The messages of the three channels: their keys in YAML, and their text for one user. Pure.

A rendered message is ready for the provider or it is refused: nothing empty, nothing longer than
the provider takes. Sizes: Amazon Pinpoint developer guide, "Quotas" (push 4 KB, e-mail 600,000
characters); user guide, "SMS character limits" (1,600 characters, 630 outside GSM 03.38).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias

from pydantic import Field

from worker.model import Channel, Message
from worker.rules.forms import Form, HtmlText, Name, PlainText
from worker.rules.ruleset import TemplateProblem

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


class PushMessage(Form):
    """A push notification."""

    title: PlainText = Field(description="Headline of the notification.")
    body: PlainText = Field(description="Text of the notification.")
    url: PlainText | None = Field(default=None, description="What a tap opens: a web or app link.")
    data: Annotated[dict[Name, PlainText], Field(max_length=DATA_KEYS_MAX)] = Field(
        default_factory=dict, description="Values handed to the app."
    )

    def render(self, context: Mapping[str, object]) -> Message:
        """Raises TemplateProblem."""
        title = _line("title", self.title.render(context))
        body = _filled("body", self.body.render(context)).strip()
        url = _url(self.url.render(context)) if self.url else None
        data = {key: text.render(context) for key, text in self.data.items()}
        payload = json.dumps([title, body, url, data], ensure_ascii=False)
        _bounded("push message", len(payload.encode("utf-8")), PUSH_BYTES_MAX, "bytes")
        return Message(title=title, body=body, url=url, data=data)


class EmailMessage(Form):
    """An e-mail, as text, as HTML or as both."""

    subject: PlainText = Field(description="Subject line.")
    text: PlainText | None = Field(default=None, description="The mail as plain text.")
    html: HtmlText | None = Field(default=None, description="The mail as HTML; values are escaped.")

    def render(self, context: Mapping[str, object]) -> Message:
        """Raises TemplateProblem."""
        title = _line("subject", self.subject.render(context))
        _bounded("subject", len(title), SUBJECT_CHARS_MAX, "characters")
        body = _filled("text", self.text.render(context)) if self.text else ""
        html = _filled("html", self.html.render(context)) if self.html else None
        _bounded("e-mail", len(body) + len(html or ""), EMAIL_CHARS_MAX, "characters")
        return Message(title=title, body=body, html=html)


class SmsMessage(Form):
    """A text message."""

    body: PlainText = Field(description="Text of the message.")

    def render(self, context: Mapping[str, object]) -> Message:
        """Raises TemplateProblem."""
        body = _filled("body", self.body.render(context)).strip()
        if _GSM.union(_GSM_EXTENDED).issuperset(body):
            units = len(body) + sum(char in _GSM_EXTENDED for char in body)
            _bounded("SMS", units, SMS_GSM_UNITS_MAX, "characters")
        else:
            units = len(body.encode("utf-16-le")) // 2
            _bounded("SMS with characters outside GSM", units, SMS_UNICODE_UNITS_MAX, "characters")
        return Message(body=body)


MessageForm: TypeAlias = PushMessage | EmailMessage | SmsMessage
MESSAGE_FORMS: Final[Mapping[Channel, type[MessageForm]]] = {
    Channel.PUSH: PushMessage,
    Channel.EMAIL: EmailMessage,
    Channel.SMS: SmsMessage,
}


def _filled(name: str, text: str) -> str:
    if not text.strip():
        raise TemplateProblem(f"the {name} comes out empty for this user; give it fixed text")
    return text


def _line(name: str, text: str) -> str:
    """One line: a line break in a value could otherwise begin a mail header of its own."""
    return " ".join(_filled(name, text).split())


def _url(text: str) -> str:
    url = text.strip()
    if not _URL.fullmatch(url):
        raise TemplateProblem(
            "the url comes out unusable for this user; write scheme:..., and |urlencode after a "
            "value that may hold blanks"
        )
    return url


def _bounded(name: str, size: int, size_max: int, unit: str) -> None:
    if size > size_max:
        raise TemplateProblem(
            f"the {name} comes out at {size} {unit} for this user, the provider takes {size_max}; "
            "shorten it, or cut long values with |truncate(40)"
        )
