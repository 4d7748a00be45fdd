"""One Kinesis record -> what it says: who was here, what an address became, what a send became.

Pure and synchronous. Never raises: what cannot be read comes back as a dead letter, beside whatever
could. Data comes from a `Source` by way of `recency.fold`, which folds the signals of a batch, and
which reads ordinary events by `event_plain.py`; what a record says is defined here.

The table of events, their times and their users is docs/events.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, assert_never

import msgspec

from worker.event_dialects import BUILTINS, Builtin, Dialect, Reader, Told, name_of
from worker.event_endpoints import Who, endpoint_of, who_of
from worker.event_meanings import Meaning, Meanings, meanings_of
from worker.event_messages import (
    MessageReport,
    pinpoint_mail,
    pinpoint_sms,
    report_signals,
    ses_report,
    sms_report,
)
from worker.event_shapes import (
    EndpointShape,
    EventShape,
    decode_any,
    decode_endpoint,
    decode_event,
    shaped,
)
from worker.event_times import Arrival, arrival_of
from worker.event_values import activity_of, conversion_of
from worker.event_wrappers import (
    RECORD_BYTES_MAX,
    SOURCE_BYTES_MAX,
    Found,
    objects_in,
)
from worker.model import Conversion, DeadLetter, DeadReason, Record, Signal
from worker.rules.ruleset import ActivityPolicy

DEAD_LETTERS_PER_RECORD_MAX: Final = 10
"""Signals are read from all parts of a record; of those that are bad so many are kept, the
first ones and the last."""


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
    meanings = meanings_of(policy)
    if len(record.data) > RECORD_BYTES_MAX:
        problem = Problem(reason=DeadReason.TOO_LARGE, detail=f"over {RECORD_BYTES_MAX} bytes")
        return _reading([problem], record.data, record, shard_id)
    if not meanings.is_pinpoint_first:
        return _read_other(record, shard_id, meanings)
    try:
        event = decode_event(record.data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _read_leniently(record, shard_id, meanings)
    if not event.event_type or not (is_of_pinpoint(event) or meanings.readers == BUILTINS):
        return _read_other(record, shard_id, meanings)
    findings = _event_findings(event, event.event_type, record.arrival_ms, meanings)
    return _reading(findings, record.data, record, shard_id)


def is_of_pinpoint(event: EventShape) -> bool:
    """Has it a member, beside its type, that only events of Pinpoint have?"""
    return (
        event.client is not None
        or event.endpoint is not None
        or event.client_context is not None
        or event.facets is not None
        or event.application is not None
    )


def _read_other(record: Record, shard_id: str, meanings: Meanings) -> Reading:
    """For records that need not be of Pinpoint. One JSON object that a reader knows is quick."""
    try:
        value = decode_any(record.data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _read_leniently(record, shard_id, meanings)
    known = _read_by_any(value, record.arrival_ms, meanings) if isinstance(value, dict) else None
    if known is None:
        return _read_leniently(record, shard_id, meanings)
    return _reading(known[1], record.data, record, shard_id)


def _read_leniently(record: Record, shard_id: str, meanings: Meanings) -> Reading:
    """For records that are not exactly one well-typed event: slower, and takes what it can get."""
    signals: list[Signal] = []
    dead_letters: list[DeadLetter] = []
    for part in objects_in(record.data):
        findings: list[Finding]
        if isinstance(part, Found):
            findings = read_object(part.value, record.arrival_ms, meanings)[1]
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


def read_object(
    value: Mapping[str, Any], kinesis_ms: int, meanings: Meanings
) -> tuple[Reader | None, list[Finding]]:
    """What one object says, and which reader knew it; None: none did."""
    known = _read_by_any(value, kinesis_ms, meanings)
    if known is not None:
        return known
    event = shaped(value, EventShape)
    if event.event_type and Builtin.PINPOINT in meanings.readers:
        # It names nothing else that Pinpoint would, but no other reader knows it either.
        findings = _event_findings(event, event.event_type, kinesis_ms, meanings)
        return Builtin.PINPOINT, findings
    if meanings.readers == BUILTINS:
        detail = "no event_type, no eventType"
    else:
        detail = f"in none of the formats {', '.join(name_of(r) for r in meanings.readers)}"
    return None, [Problem(reason=DeadReason.NO_EVENT_TYPE, detail=detail)]


def _read_by_any(
    value: Mapping[str, Any], kinesis_ms: int, meanings: Meanings
) -> tuple[Reader, list[Finding]] | None:
    """What the first reader that knows such an object makes of it."""
    arrival = arrival_of(None, kinesis_ms=kinesis_ms, skew_ms=meanings.skew_ms)
    for reader in meanings.readers:
        report = None
        match reader:
            case Builtin.PINPOINT:
                event = shaped(value, EventShape)
                if event.event_type and is_of_pinpoint(event):
                    findings = _event_findings(event, event.event_type, kinesis_ms, meanings)
                    return reader, findings
            case Builtin.SES:
                report = ses_report(value, arrival)
            case Builtin.END_USER_MESSAGING:
                report = sms_report(value, arrival)
            case Dialect():
                told = reader.read(value)
                if told is not None:
                    return reader, _told_findings(told, kinesis_ms, meanings)
            case _:
                assert_never(reader)
        if report is not None:
            return reader, _report_findings(report, None, arrival, meanings)
    return None


def _told_findings(told: Told, kinesis_ms: int, meanings: Meanings) -> list[Finding]:
    """What an event in the app's own words says, and each further address of its user."""
    event = told.event
    assert event.event_type
    findings = _event_findings(event, event.event_type, kinesis_ms, meanings)
    arrival = arrival_of(event.arrival_timestamp, kinesis_ms=kinesis_ms, skew_ms=meanings.skew_ms)
    app_id = event.application.app_id if event.application else None
    for shape in told.more:
        user_id, endpoint_id = who_of(shape, None)
        if endpoint_id is not None:
            findings.append(endpoint_of(shape, endpoint_id, user_id, app_id, arrival.at_ms))
    return findings


def _event_findings(
    event: EventShape, event_type: str, kinesis_ms: int, meanings: Meanings
) -> list[Finding]:
    arrival = arrival_of(event.arrival_timestamp, kinesis_ms=kinesis_ms, skew_ms=meanings.skew_ms)
    if event_type.startswith("_email."):
        report = pinpoint_mail(event_type, event, arrival)
    elif event_type.startswith("_SMS."):
        report = pinpoint_sms(event_type, event, arrival)
    else:
        return _app_findings(event, event_type, arrival, meanings)
    return _report_findings(report, event, arrival, meanings)


# --- messages ---------------------------------------------------------------------------------


def _report_findings(
    report: MessageReport, event: EventShape | None, arrival: Arrival, meanings: Meanings
) -> list[Finding]:
    meaning = meanings.of(report.event_type)
    active = report.status is None and meaning.active
    at_ms = arrival.at_ms if meanings.by_arrival else report.at_ms
    findings: list[Finding] = [*report_signals(report, active_ms=at_ms if active else None)]
    silent = not findings
    if meaning.goals and event is not None:
        findings.extend(_conversions(meaning, at_ms, _who_of_message(event)))
    if findings and report.bad_time:
        findings.append(_BAD_TIMESTAMP)
    if silent and (active or report.stop or report.status):
        detail = f"{report.channel} event without send id, message id or address"
        findings.append(Problem(reason=DeadReason.NO_IDENTITY, detail=detail))
    return findings


def _who_of_message(event: EventShape) -> Who:
    """Whom a message event names beside the message; its client_id is no endpoint."""
    shape = _endpoint_shape(event)
    return who_of(None if isinstance(shape, Problem) else shape, None)


def _conversions(meaning: Meaning, at_ms: int, who: Who) -> Iterator[Conversion]:
    """One for each rule that hopes for such an event, when it names somebody."""
    user_id, endpoint_id = who
    if user_id is None and endpoint_id is None:
        return
    for met in meaning.goals:
        yield conversion_of(at_ms, met.rule, met.goal.within_ms, user_id, endpoint_id)


# --- app, campaign, journey and in-app events -------------------------------------------------


def _app_findings(
    event: EventShape, event_type: str, arrival: Arrival, meanings: Meanings
) -> list[Finding]:
    findings: list[Finding] = []
    shape = _endpoint_shape(event)
    if isinstance(shape, Problem):
        findings.append(shape)
        shape = None
    who = user_id, endpoint_id = who_of(shape, event.client.client_id if event.client else None)
    if endpoint_id is not None and shape is not None:
        app_id = event.application.app_id if event.application else None
        findings.append(endpoint_of(shape, endpoint_id, user_id, app_id, arrival.at_ms))
    meaning = meanings.of(event_type)
    if not (meaning.active or meaning.goals):
        return findings
    if user_id is None and endpoint_id is None:
        detail = "activity or goal of a rule, without User.UserId and without client_id"
        findings.append(Problem(reason=DeadReason.NO_IDENTITY, detail=detail))
        return findings
    at_ms, unusable = arrival.at_ms, False
    if not meanings.by_arrival:
        at_ms, unusable = arrival.clamp(event.event_timestamp)
    if meaning.active:
        findings.append(activity_of(at_ms, event_type, user_id, endpoint_id))
    findings.extend(_conversions(meaning, at_ms, who))
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
