"""Locale tags: as rule files and devices write them, and which of several texts a user gets. Pure.

A tag is a language, and what narrows it: `fr`, `pt-BR`, `zh-Hant-TW`. Case does not matter, and `_`
is `-`, as Android and many exports write it. Sources: BCP 47 (RFC 5646) for the form; RFC 4647,
section 3.4, for the choice.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from worker.rules.problems import Refused, quoted

TAG_CHARS_MAX = 35
TAG_PATTERN: Final = r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$"


def parse_tag(text: str) -> str:
    """A tag of a rule file, as it is written. Raises Refused."""
    if len(text) > TAG_CHARS_MAX or not re.fullmatch(TAG_PATTERN, text):
        raise Refused(f"{quoted(text)} is no locale; write a language, such as fr, or pt-BR")
    return text


def normal(tag: str) -> str:
    """The one spelling of a tag; what POSIX puts behind it (`fr_FR.UTF-8`) is left out."""
    return re.split(r"[.@]", tag.strip(), maxsplit=1)[0].replace("_", "-").lower()


def best(locale: str | None, tags: Container[str]) -> str | None:
    """Of `tags` (normal ones) that of a user with this locale: the same, else the longest that
    begins it (`zh-Hant-TW`, `zh-Hant`, `zh`); None when there is none."""
    tag = normal(locale or "")
    while tag:
        if tag in tags:
            return tag
        tag = tag.rpartition("-")[0]
    return None
