"""One Kinesis record -> what it says: who was here, what an address became, what a send became.

Pure and synchronous; runs once per record of the stream, so the usual event costs one pass over
its bytes. Never raises: what cannot be read comes back as a dead letter, beside whatever could.
Data comes from a `Source` by way of `recency.fold`, which folds the signals of a batch.

The table of events, their times and their users is docs/events.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final, TypeAlias

import msgspec

from worker.addresses import normalise_address
from worker.countries import alpha_2
from worker.event_messages import (
    RECEIPT_EVENTS,
    MessageReport,
    pinpoint_mail,
    pinpoint_sms,
    report_signals,
    ses_report,
    sms_report,
)
from worker.event_shapes import (
    TEXT_CHARS_MAX,
    DemographicShape,
    EndpointShape,
    EventShape,
    decode_endpoint,
    decode_event,
    shaped,
)
from worker.event_times import Arrival, arrival_of
from worker.event_wrappers import (
    RECORD_BYTES_MAX,
    SOURCE_BYTES_MAX,
    Found,
    objects_in,
)
from worker.model import (
    Activity,
    Attributes,
    DeadLetter,
    DeadReason,
    Endpoint,
    Record,
    Signal,
)
from worker.rules.ruleset import ActivityPolicy

EVENT_TYPES_CACHED_MAX: Final = 4_096
"""Pinpoint allowed 1,500 custom event types per application."""

DEAD_LETTERS_PER_RECORD_MAX: Final = 10
"""Signals are read from all parts of a record; of those that are bad so many are kept, the
first ones and the last."""

ATTRIBUTE_NAMES_MAX: Final = 250
ATTRIBUTE_VALUES_MAX: Final = 50
"""Pinpoint's own quotas for one endpoint; what is beyond them is left out."""

ACTIVE_EVENTS: Final = frozenset(
    {
        "_session.start",
        "_session.stop",
        "_session.pause",
        "_session.resume",
        "_userauth.sign_in",
        "_userauth.sign_up",
        "_monetization.purchase",
        "_campaign.opened_notification",
        "_journey.opened_notification",
        "_inapp.message_displayed",
        "_inapp.message_dismissed",
        "_inapp.message_clicked",
        "_email.click",
    }
)
"""A person did this. Rules may add to the list, and take from it (`ActivityPolicy`)."""

NEVER_ACTIVE_EVENTS: Final = RECEIPT_EVENTS | {
    "_campaign.send",
    "_journey.send",
    "_campaign.received_background",
    "_journey.received_background",
    "_test.event_stream",
}
"""Machines did this: our own sends, their receipts, background pushes, the stream's own test.
No rule can make them activity, or every send would count as its own success (design §5)."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What one record says. Both may be empty: an event that is of no interest here."""

    signals: tuple[Signal, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something of an event that could not be used. `detail` never quotes the data."""

    reason: DeadReason
    detail: str


Finding: TypeAlias = Signal | Problem

_BAD_TIMESTAMP: Final = Problem(
    reason=DeadReason.BAD_TIMESTAMP,
    detail="a time of the event is unusable (want milliseconds since 1970); used the next best",
)


def read_record(record: Record, *, shard_id: str, policy: ActivityPolicy) -> Reading:
    """Everything one record says, whatever bytes it holds."""
    if len(record.data) > RECORD_BYTES_MAX:
        problem = Problem(reason=DeadReason.TOO_LARGE, detail=f"over {RECORD_BYTES_MAX} bytes")
        return _reading([problem], record.data, record, shard_id)
    try:
        event = decode_event(record.data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _read_leniently(record, shard_id, policy)
    if not event.event_type:
        return _read_leniently(record, shard_id, policy)
    findings = _event_findings(event, event.event_type, record.arrival_ms, policy)
    return _reading(findings, record.data, record, shard_id)


def _read_leniently(record: Record, shard_id: str, policy: ActivityPolicy) -> Reading:
    """For records that are not exactly one well-typed event: slower, and takes what it can get."""
    signals: list[Signal] = []
    dead_letters: list[DeadLetter] = []
    for part in objects_in(record.data):
        findings: list[Finding]
        if isinstance(part, Found):
            findings = _object_findings(part.value, record.arrival_ms, policy)
        else:
            findings = [Problem(reason=part.reason, detail=part.detail)]
        reading = _reading(findings, part.source, record, shard_id)
        signals.extend(reading.signals)
        dead_letters.extend(reading.dead_letters)
        # The latest always stays: it may say that the rest of the record was not read at all.
        del dead_letters[DEAD_LETTERS_PER_RECORD_MAX - 1 : -1]
    return Reading(signals=tuple(signals), dead_letters=tuple(dead_letters))


def _reading(findings: list[Finding], source: bytes, record: Record, shard_id: str) -> Reading:
    signals: list[Signal] = []
    problems: list[Problem] = []
    for finding in findings:
        if isinstance(finding, Problem):
            problems.append(finding)
        else:
            signals.append(finding)
    return Reading(
        signals=tuple(signals),
        dead_letters=tuple([_dead_letter(found, source, record, shard_id) for found in problems]),
    )


def _dead_letter(problem: Problem, source: bytes, record: Record, shard_id: str) -> DeadLetter:
    return DeadLetter(
        reason=problem.reason,
        detail=problem.detail,
        shard_id=shard_id,
        sequence_number=record.sequence_number,
        arrival_ms=record.arrival_ms,
        data=source[:SOURCE_BYTES_MAX],
    )


# --- which event it is ------------------------------------------------------------------------


def _object_findings(
    value: Mapping[str, Any], kinesis_ms: int, policy: ActivityPolicy
) -> list[Finding]:
    event = shaped(value, EventShape)
    if event.event_type:
        return _event_findings(event, event.event_type, kinesis_ms, policy)
    arrival = arrival_of(None, kinesis_ms=kinesis_ms, skew_ms=policy.max_future_skew_ms)
    report = ses_report(value, arrival) or sms_report(value, arrival)
    if report is not None:
        return _report_findings(report, policy)
    return [Problem(reason=DeadReason.NO_EVENT_TYPE, detail="no event_type, no eventType")]


def _event_findings(
    event: EventShape, event_type: str, kinesis_ms: int, policy: ActivityPolicy
) -> list[Finding]:
    arrival = arrival_of(
        event.arrival_timestamp, kinesis_ms=kinesis_ms, skew_ms=policy.max_future_skew_ms
    )
    if event_type.startswith("_email."):
        return _report_findings(pinpoint_mail(event_type, event, arrival), policy)
    if event_type.startswith("_SMS."):
        return _report_findings(pinpoint_sms(event_type, event, arrival), policy)
    return _app_findings(event, event_type, arrival, active=is_activity(event_type, policy))


@lru_cache(maxsize=EVENT_TYPES_CACHED_MAX)
def is_activity(event_type: str, policy: ActivityPolicy) -> bool:
    """Whether an event of this type says that its user was here."""
    if event_type in NEVER_ACTIVE_EVENTS:
        return False
    ruled = policy.allows(event_type)
    return event_type in ACTIVE_EVENTS if ruled is None else ruled


# --- messages ---------------------------------------------------------------------------------


def _report_findings(report: MessageReport, policy: ActivityPolicy) -> list[Finding]:
    active = report.status is None and is_activity(report.event_type, policy)
    findings: list[Finding] = [*report_signals(report, active=active)]
    if findings and report.bad_time:
        findings.append(_BAD_TIMESTAMP)
    elif not findings and (active or report.stop or report.status):
        detail = f"{report.channel} event without send id, message id or address"
        findings.append(Problem(reason=DeadReason.NO_IDENTITY, detail=detail))
    return findings


# --- app, campaign, journey and in-app events -------------------------------------------------


def _app_findings(
    event: EventShape, event_type: str, arrival: Arrival, *, active: bool
) -> list[Finding]:
    findings: list[Finding] = []
    shape = _endpoint_shape(event)
    if isinstance(shape, Problem):
        findings.append(shape)
        shape = None
    endpoint_id = (shape and shape.id) or (event.client and event.client.client_id) or None
    user_id = (shape and shape.user and shape.user.user_id) or None
    if endpoint_id is not None:
        endpoint_id = endpoint_id.lower()
        if shape is not None:
            findings.append(_endpoint(shape, endpoint_id, user_id, arrival.at_ms))
    if not active:
        return findings
    if user_id is None and endpoint_id is None:
        detail = "activity without User.UserId and without client_id"
        findings.append(Problem(reason=DeadReason.NO_IDENTITY, detail=detail))
        return findings
    at_ms, unusable = arrival.clamp(event.event_timestamp)
    findings.append(
        Activity(at_ms=at_ms, event_type=event_type, user_id=user_id, endpoint_id=endpoint_id)
    )
    if unusable or arrival.unusable:
        findings.append(_BAD_TIMESTAMP)
    return findings


def _endpoint_shape(event: EventShape) -> EndpointShape | Problem | None:
    """The endpoint of an event: an object at its top, or JSON text where campaigns put it."""
    found = event.endpoint
    if found is None and event.client_context is not None and event.client_context.custom:
        found = event.client_context.custom.endpoint
    if not isinstance(found, str):
        return found
    try:
        return decode_endpoint(found)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        part = next(objects_in(found.encode("utf-8", "replace")))
        if isinstance(part, Found):
            return shaped(part.value, EndpointShape)
        return Problem(reason=DeadReason.BAD_FIELD, detail=f"endpoint: {part.detail}")


def _endpoint(shape: EndpointShape, endpoint_id: str, user_id: str | None, at_ms: int) -> Endpoint:
    """The address book entry an event carries. Its time is the event's arrival: the record shows
    the endpoint as it was then, however long the event itself had waited on the device."""
    demographic = shape.demographic or _NO_DEMOGRAPHIC
    country = alpha_2((shape.location.country if shape.location else "") or "") or None
    return Endpoint(
        endpoint_id=endpoint_id,
        at_ms=at_ms,
        user_id=user_id,
        channel_type=shape.channel_type or None,
        address=normalise_address(shape.channel_type, shape.address or "", country) or None,
        active=shape.endpoint_status == "ACTIVE" if shape.endpoint_status else None,
        opted_out=shape.opt_out == "ALL" if shape.opt_out else None,
        timezone=demographic.timezone or None,
        country=country,
        locale=demographic.locale or None,
        platform=demographic.platform or None,
        attributes=_attributes(shape.attributes),
        user_attributes=_attributes(shape.user.user_attributes) if shape.user else None,
    )


_NO_DEMOGRAPHIC: Final = DemographicShape()


def _attributes(found: Mapping[str, Any] | None) -> Attributes | None:
    """Attributes as lists of text, whether they come as lists, as one value or with nulls."""
    if found is None:
        return None
    if len(found) > ATTRIBUTE_NAMES_MAX:
        found = dict(islice(found.items(), ATTRIBUTE_NAMES_MAX))
    kept: dict[str, tuple[str, ...]] = {}
    for name, value in found.items():
        items = value if isinstance(value, list) else (value,)
        if len(items) > ATTRIBUTE_VALUES_MAX:
            items = items[:ATTRIBUTE_VALUES_MAX]
        texts = [item if type(item) is str else _scalar_text(item) for item in items]
        known = tuple([text for text in texts if text and len(text) <= TEXT_CHARS_MAX])
        if known and len(name) <= TEXT_CHARS_MAX:
            kept[name] = known
    return kept


def _scalar_text(item: object) -> str | None:
    """A number or truth value as text; None for null and for what is no single value."""
    if isinstance(item, bool):
        return "true" if item else "false"
    return str(item) if isinstance(item, int | float) else None
