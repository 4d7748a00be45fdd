"""Texts finished for the provider, or refused: nothing empty, nothing longer than it takes. Pure.

Sizes: Amazon Pinpoint developer guide, "Quotas" (push 4 KB, e-mail 600,000
characters); user guide, "SMS character limits" (1,600 characters, 630 outside GSM 03.38).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from worker.model import Message
from worker.rules import sms
from worker.rules.ruleset import TemplateProblem
from worker.rules.templates import Text

PUSH_BYTES_MAX = 4_096 - 512
"""Our share of the 4 KB a push may hold; the rest is for the provider's own envelope."""
EMAIL_CHARS_MAX = 600_000
SUBJECT_CHARS_MAX = 900
SMS_GSM_UNITS_MAX = 1_600
SMS_UNICODE_UNITS_MAX = 630
FINISHED_CACHED_MAX = 1_024
"""Texts that are the same for everybody, kept as they go out."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"]+")


def filled(name: str, text: str) -> str:
    """A text that says something."""
    if not text.strip():
        raise TemplateProblem(f"the {name} comes out empty; give it fixed text")
    return text


def stripped(name: str, text: str) -> str:
    """The same without blanks around it."""
    return filled(name, text).strip()


def line(name: str, text: str) -> str:
    """One line: a line break in a value could otherwise begin a mail header of its own."""
    return " ".join(filled(name, text).split())


def subject_line(name: str, text: str) -> str:
    """A line that a mail can be headed with."""
    subject = line(name, text)
    _bounded(name, len(subject), SUBJECT_CHARS_MAX, "characters")
    return subject


def sms_text(name: str, text: str) -> str:
    """A text message the provider takes whole."""
    body = stripped(name, text)
    units = sms.units(body)
    if sms.is_gsm(body):
        _bounded("SMS", units, SMS_GSM_UNITS_MAX, "characters")
    else:
        _bounded("SMS with characters outside GSM", units, SMS_UNICODE_UNITS_MAX, "characters")
    return body


def link(name: str, text: str) -> str:
    """Something a tap can open."""
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


def made(
    finish: Callable[[str, str], str], name: str, text: Text, context: Mapping[str, object]
) -> str:
    """A text for one user, finished."""
    if text.fixed is not None:
        return _finished(finish, name, text.fixed)
    return finish(name, text.render(context))


@lru_cache(maxsize=FINISHED_CACHED_MAX)
def _finished(finish: Callable[[str, str], str], name: str, fixed: str) -> str:
    return finish(name, fixed)


def push_fits(message: Message) -> None:
    """Raises TemplateProblem when a push is longer than the provider takes."""
    if _bytes_at_most(message) <= PUSH_BYTES_MAX:
        return
    parts = [message.title, message.body, message.url, dict(message.data)]
    payload = json.dumps(parts, ensure_ascii=False)
    _bounded("push message", len(payload.encode("utf-8")), PUSH_BYTES_MAX, "bytes")


def _bytes_at_most(message: Message) -> int:
    """No push is longer in JSON: a byte of text becomes six at most, beside it stand few signs."""
    texts = [message.title or "", message.body, message.url or ""]
    for item in message.data.items():
        texts += item
    return 6 * len("".join(texts).encode("utf-8")) + 24 + 12 * len(message.data)


def email_fits(message: Message) -> None:
    """Raises TemplateProblem when an e-mail is longer than the provider takes."""
    size = len(message.body) + len(message.html or "")
    _bounded("e-mail", size, EMAIL_CHARS_MAX, "characters")
