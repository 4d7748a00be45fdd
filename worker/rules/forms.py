"""The kinds of values a rule file is made of, as pydantic types. Pure.

Every scalar arrives as text (`document.py`), so each kind here says what text it takes and what
it makes of it. A refusal is one pydantic error that carries our own findings; `wording.py` turns
it, and pydantic's own errors, into problems with a place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator
from pydantic_core import PydanticCustomError

from worker.rules.durations import parse_duration
from worker.rules.matchers import parse_matcher
from worker.rules.problems import Finding, Refused, nearest, quoted
from worker.rules.ruleset import Matcher
from worker.rules.templates import Text, compile_html, compile_text
from worker.rules.zones import UTC_MIDDAY, zone_names

NAME_CHARS_MAX = 64
OUR_ERROR = "refused"

_Value = TypeVar("_Value")


class Form(BaseModel):
    """A mapping of a rule file: nothing but the keys it names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def refused(*findings: Finding | str) -> PydanticCustomError:
    """Our findings as the error pydantic carries to `wording.py`."""
    told = [(f.line, f.message) for f in Refused(*findings).findings]
    return PydanticCustomError(OUR_ERROR, "refused", {"findings": told})


def _of(parse: Callable[[str], _Value]) -> Any:
    """A pydantic kind from a function that takes text and raises Refused."""

    def validated(value: object) -> _Value:
        if not isinstance(value, str):
            raise PydanticCustomError("string_type", "text is expected")
        try:
            return parse(value)
        except Refused as refusal:
            raise refused(*refusal.findings) from refusal

    return PlainValidator(validated, json_schema_input_type=str)


def _parse_name(text: str) -> str:
    if len(text) <= NAME_CHARS_MAX and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        return text
    raise Refused(
        f"{quoted(text)} is no name; use letters, digits, _ . - and at most {NAME_CHARS_MAX} of "
        "them, beginning with a letter or digit"
    )


def _parse_longer_than_nothing(text: str) -> int:
    duration_ms = parse_duration(text)
    if duration_ms == 0:
        raise Refused(f"{quoted(text)} must be longer than nothing")
    return duration_ms


def _parse_count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise Refused(f"{quoted(text)} is no whole number from 1 to 999999")
    return int(text)


def parse_time_of_day(text: str) -> int:
    """Minutes since midnight. Raises Refused."""
    found = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text)
    if found is None:
        raise Refused(f'{quoted(text)} is no time of day; write "00:00" to "23:59"')
    return int(found[1]) * 60 + int(found[2])


def _parse_pattern(text: str) -> str:
    if not text or text != text.strip():
        raise Refused(
            f"{quoted(text)} is no event pattern; write an event type such as _session.start, "
            "where * stands for any text"
        )
    return text


def _parse_otherwise(text: str) -> str:
    if text == UTC_MIDDAY or text in zone_names():
        return text
    raise Refused(
        f"unknown zone {quoted(text)}{nearest(text, zone_names()) or ';'} write an IANA zone name, "
        f"such as Europe/Paris, or {UTC_MIDDAY}"
    )


Name: TypeAlias = Annotated[str, _of(_parse_name)]
Duration: TypeAlias = Annotated[int, _of(parse_duration)]
Span: TypeAlias = Annotated[int, _of(_parse_longer_than_nothing)]
Count: TypeAlias = Annotated[int, _of(_parse_count)]
TimeOfDay: TypeAlias = Annotated[int, _of(parse_time_of_day)]
EventPattern: TypeAlias = Annotated[str, _of(_parse_pattern)]
Otherwise: TypeAlias = Annotated[str, _of(_parse_otherwise)]
MatcherText: TypeAlias = Annotated[Matcher, _of(parse_matcher)]
PlainText: TypeAlias = Annotated[Text, _of(compile_text)]
HtmlText: TypeAlias = Annotated[Text, _of(compile_html)]
