"""The kinds of values a rule file is made of, as pydantic types. Pure.

Every scalar arrives as text (`document.py`), so each kind here says what text it takes, what it
makes of it, and how an editor may check it (its JSON Schema). A refusal is one pydantic error that
carries our own findings; `wording.py` turns it, and pydantic's own errors, into problems with a
place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from worker.model import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from worker.receipts import SOFT_BOUNCES_MAX
from worker.rules.amounts import AMOUNT_PATTERN, Amount, parse_amount
from worker.rules.durations import parse_duration, written
from worker.rules.instants import INSTANT_PATTERN, parse_instant
from worker.rules.matchers import parse_matcher
from worker.rules.problems import Finding, Refused, quoted
from worker.rules.reach import unknown_country, unknown_zone
from worker.rules.ruleset import Matcher, OnEdit
from worker.rules.templates import Text, compile_html, compile_text
from worker.rules.weeks import DAYS, parse_days, parse_spans
from worker.rules.zones import UTC_MIDDAY, country_names, zone_names

NAME_CHARS_MAX = 64
LEGAL_CHARS_MAX = 200
PERCENT_MAX = 100
PUSH_TTL_MAX_MS = 28 * DAY_MS
"""The longest a push provider keeps a message. Source: FCM, "Set the lifespan of a message"."""
SMS_TTL_MAX_MS = 3 * DAY_MS
"""Source: AWS End User Messaging, SendTextMessage, TimeToLive: 5 to 259,200 seconds."""
RATE_PER_MAX_MS = HOUR_MS
DEFAULT_PRICE = "default"
OUR_ERROR = "refused"

_Value = TypeVar("_Value")


class Form(BaseModel):
    """A mapping of a rule file: nothing but the keys it names. Defaults are stated as text."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def as_written(default: Any) -> Any:
    """A default as a person would write it; the form reads it as it reads a file."""
    return default


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


def _text(pattern: str | None = None) -> WithJsonSchema:
    """Text that nobody writes without quotes in a way YAML reads as something else."""
    return WithJsonSchema({"type": "string", **({"pattern": pattern} if pattern else {})})


def _scalar(pattern: str | None = None) -> WithJsonSchema:
    """Text that may look like a number or a truth: we read it as text, an editor may not."""
    shape: dict[str, Any] = {"type": ["string", "number", "boolean"]}
    return WithJsonSchema({**shape, **({"pattern": pattern} if pattern else {})})


def _whole(pattern: str, least: int, most: int) -> WithJsonSchema:
    shape = {"type": ["integer", "string"], "minimum": least, "maximum": most}
    return WithJsonSchema({**shape, "pattern": pattern})


def _parse_name(text: str) -> str:
    if len(text) <= NAME_CHARS_MAX and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        return text
    raise Refused(
        f"{quoted(text)} is no name; use letters, digits, _ . - and at most {NAME_CHARS_MAX} of "
        "them, beginning with a letter or digit"
    )


def _parse_span(text: str) -> int:
    duration_ms = parse_duration(text)
    if duration_ms == 0:
        raise Refused(f"{quoted(text)} must be longer than nothing")
    return duration_ms


def _span_within(least_ms: int, most_ms: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        duration_ms = _parse_span(text)
        if not least_ms <= duration_ms <= most_ms:
            raise Refused(
                f"{quoted(text)} is out of bounds; write {written(least_ms)} to {written(most_ms)}"
            )
        return duration_ms

    return parse


def parse_day(text: str) -> int:
    """A budget's span: one calendar day, in ms. Raises Refused."""
    if parse_duration(text) != DAY_MS:
        raise Refused(f"{quoted(text)}: a budget is for one calendar day; write 1d")
    return DAY_MS


def _count_to(most: int, what: str = "whole number") -> Callable[[str], int]:
    def parse(text: str) -> int:
        if re.fullmatch(r"[1-9][0-9]{0,5}", text) and int(text) <= most:
            return int(text)
        raise Refused(f"{quoted(text)} is no {what} from 1 to {most}")

    return parse


def _parse_priority(text: str) -> int:
    if not re.fullmatch(r"[-+]?[0-9]{1,6}", text):
        raise Refused(
            f"{quoted(text)} is no priority; write a whole number from -999999 to 999999, the "
            "higher goes first"
        )
    return int(text)


def parse_percent(text: str) -> float:
    """0 to 100, from `10`, `12.5` or `10%`. Raises Refused."""
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,4})?) ?%?", text)
    if found is None or float(found[1]) > PERCENT_MAX:
        raise Refused(f"{quoted(text)} is no percentage; write a number from 0 to 100, such as 10")
    return float(found[1])


def parse_time_of_day(text: str) -> int:
    """Minutes since midnight. Raises Refused."""
    if not re.match(_TIME, text):
        raise Refused(f'{quoted(text)} is no time of day; write "00:00" to "23:59"')
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _parse_pattern(text: str) -> str:
    if not text or text != text.strip():
        raise Refused(
            f"{quoted(text)} is no event pattern; write an event type such as _session.start, "
            "where * stands for any text"
        )
    return text


def _parse_zone(text: str, *, or_word: str = "") -> str:
    if text in zone_names() or text == or_word != "":
        return text
    more = f", or {or_word}" if or_word else ""
    raise Refused(f"{unknown_zone(text)}{more}")


def _parse_otherwise(text: str) -> str:
    return _parse_zone(text, or_word=UTC_MIDDAY)


def _parse_price_of(text: str) -> str:
    if text == DEFAULT_PRICE or text in country_names():
        return text
    raise Refused(f"{unknown_country(text)}, or {DEFAULT_PRICE} for all others")


def _parse_legal(text: str) -> str:
    if not text.strip():
        raise Refused("a legal text cannot be blank; write it, or remove the key")
    if "{{" in text or "{%" in text:
        raise Refused("a legal text is the same for everybody; remove the {{...}} and {%...%}")
    if len(text) > LEGAL_CHARS_MAX:
        raise Refused(f"longer than {LEGAL_CHARS_MAX} characters; shorten it")
    return text


def _on_edit_as_spelled(value: object) -> object:
    return OnEdit.MOVE.value if value == "move_to_new" else value


def _percent_alone(value: object) -> object:
    return {"percent": value} if isinstance(value, str) else value


_NAME = rf"^[A-Za-z0-9][A-Za-z0-9_.-]{{0,{NAME_CHARS_MAX - 1}}}$"
_DURATION = r"^(?=.)([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
_TIME = r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$"
_DAY = rf"({'|'.join(DAYS)})"
_DAYS = rf"^{_DAY}(-{_DAY})?(\s*,\s*{_DAY}(-{_DAY})?)*$"
_SPAN = r"([01]?[0-9]|2[0-3]):[0-5][0-9]\s*-\s*(([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00)"
_SPANS = rf"^(none|{_SPAN}(\s*,\s*{_SPAN})*)$"
_WHOLE = r"^[1-9][0-9]{0,5}$"
_MATCHER = (
    r"^\s*(\"([^\"\\]|\\.)+\"|[^\s\"'{},=~!<>]+)\s*(=~|!~|!=|>=|<=|=|>|<)"
    r"\s*(\"([^\"\\]|\\.)*\"|[^\s\"'{},=~!<>]+)\s*$"
)
_PERCENT = {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": PERCENT_MAX,
    "pattern": r"^[0-9]{1,3}(\.[0-9]{1,4})? ?%?$",
}

# fmt: off
Name: TypeAlias = Annotated[str, _of(_parse_name), _scalar(_NAME)]
Words: TypeAlias = Annotated[str, _of(str), _scalar()]
Duration: TypeAlias = Annotated[int, _of(parse_duration), _text(_DURATION)]
Span: TypeAlias = Annotated[int, _of(_parse_span), _text(_DURATION)]
RateSpan: TypeAlias = Annotated[int, _of(_span_within(1, RATE_PER_MAX_MS)), _text(_DURATION)]
PushTtl: TypeAlias = Annotated[
    int, _of(_span_within(SECOND_MS, PUSH_TTL_MAX_MS)), _text(_DURATION)
]
SmsTtl: TypeAlias = Annotated[
    int, _of(_span_within(MINUTE_MS, SMS_TTL_MAX_MS)), _text(_DURATION)
]
Day: TypeAlias = Annotated[int, _of(parse_day), _text(_DURATION)]
Instant: TypeAlias = Annotated[int, _of(parse_instant), _text(INSTANT_PATTERN)]
Count: TypeAlias = Annotated[int, _of(_count_to(999_999)), _whole(_WHOLE, 1, 999_999)]
Bounces: TypeAlias = Annotated[
    int, _of(_count_to(SOFT_BOUNCES_MAX)), _whole(_WHOLE, 1, SOFT_BOUNCES_MAX)
]
Weight: TypeAlias = Annotated[int, _of(_count_to(1_000, "weight")), _whole(_WHOLE, 1, 1_000)]
Priority: TypeAlias = Annotated[
    int, _of(_parse_priority), _whole(r"^[-+]?[0-9]{1,6}$", -999_999, 999_999)
]
Percent: TypeAlias = Annotated[float, _of(parse_percent), WithJsonSchema(_PERCENT)]
Money: TypeAlias = Annotated[Amount, _of(parse_amount), _text(AMOUNT_PATTERN)]
PriceOf: TypeAlias = Annotated[str, _of(_parse_price_of), _text(rf"^({DEFAULT_PRICE}|[A-Z]{{2}})$")]
TimeOfDay: TypeAlias = Annotated[int, _of(parse_time_of_day), _text(_TIME)]
Days: TypeAlias = Annotated[tuple[int, ...], _of(parse_days), _text(_DAYS)]
Spans: TypeAlias = Annotated[
    tuple[tuple[int, int], ...], _of(parse_spans), _text(_SPANS)
]
EventPattern: TypeAlias = Annotated[str, _of(_parse_pattern), _text(r"^\S(.*\S)?$")]
Zone: TypeAlias = Annotated[str, _of(_parse_zone), _text(r"^[A-Za-z][A-Za-z0-9_+/-]*$")]
Otherwise: TypeAlias = Annotated[
    str, _of(_parse_otherwise), _text(r"^[A-Za-z][A-Za-z0-9_+/-]*$")
]
MatcherText: TypeAlias = Annotated[Matcher, _of(parse_matcher), _text(_MATCHER)]
LegalPart: TypeAlias = Annotated[str, _of(_parse_legal), _scalar()]
PlainText: TypeAlias = Annotated[Text, _of(compile_text), _scalar()]
HtmlText: TypeAlias = Annotated[Text, _of(compile_html), _scalar()]
# fmt: on

OnEditWord: TypeAlias = Annotated[
    OnEdit,
    BeforeValidator(_on_edit_as_spelled),
    WithJsonSchema({"type": "string", "enum": [*(word.value for word in OnEdit), "move_to_new"]}),
]


class OrPercent:
    """Marks a form with a `percent` that may be stated alone: `rollout: 25`, `holdout: 10`."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(_percent_alone, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), dict(_PERCENT)]}
