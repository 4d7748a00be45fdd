"""What one GetRecords answer says: its new user records, and how far it reaches.

Pure, apart from telling the observer of aggregates. Answers come from `wire.py`, and `reader.py`
makes a batch of what is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from worker.drafts import draft_of
from worker.kinesis import kpl
from worker.kinesis.observer import SourceObserver
from worker.kinesis.stream import RECORDS_MAX
from worker.kinesis.wire import Answer, WireRecord
from worker.model import Record

_RecordDraft: Final = draft_of(Record)


def unseen(records: Sequence[WireRecord], after: str | None) -> Sequence[WireRecord]:
    """Drops what a rewound iterator brings again: everything up to sequence number `after`.

    Sequence numbers are compared as integers, for their lengths differ.
    """
    if not records or after is None or int(records[0].sequence_number) > int(after):
        return records
    return [record for record in records if int(record.sequence_number) > int(after)]


def user_records(
    records: Sequence[WireRecord], *, asked_at_ms: int, observer: SourceObserver
) -> tuple[Record, ...]:
    """The records as their producers wrote them, KPL aggregates taken apart.

    A record without arrival time (the service may leave it out) is taken to arrive when asked for.
    """
    found: list[Record] = []
    add, magic = found.append, kpl.MAGIC
    for record in records:
        seconds, data = record.approximate_arrival_timestamp, record.data
        arrival_ms = asked_at_ms if seconds is None else round(seconds * 1_000)
        # Asked here first, for one call less on every record of a stream without aggregates.
        if data.startswith(magic):
            inner = kpl.user_records(data)
            if inner is not None:
                observer.deaggregated(user_records=len(inner))
                found += [
                    Record(
                        data=user_data,
                        sequence_number=record.sequence_number,
                        arrival_ms=arrival_ms,
                        partition_key=key,
                    )
                    for key, user_data in inner
                ]
                continue
        made: Any = _RecordDraft()
        made.data = data
        made.sequence_number = record.sequence_number
        made.arrival_ms = arrival_ms
        made.partition_key = record.partition_key
        made.__class__ = Record
        add(made)
    return tuple(found)


def read_through_ms(
    answer: Answer, *, asked_at_ms: int, closed: bool, before_ms: int | None
) -> int | None:
    """Stream time the shard is read through once the answer is durable; None: nobody can say.

    `closed`: the shard gets no more records; `before_ms`: what it was read through until now.

    MillisBehindLatest 0 means that the *shard* has nothing newer. Of a closed shard that says
    nothing about the stream: newer records are in its children, perhaps days of them. So a closed
    shard reaches as far as its last record. A full answer is not believed either, for kinesalite
    says 0 to everything.
    """
    behind_ms = answer.millis_behind_latest
    if behind_ms is not None and not closed and len(answer.records) < RECORDS_MAX:
        return asked_at_ms - behind_ms
    last = answer.records[-1].approximate_arrival_timestamp if answer.records else None
    times = (before_ms, None if last is None else round(last * 1_000))
    return max((at_ms for at_ms in times if at_ms is not None), default=None)


def is_behind(answer: Answer) -> bool:
    """False when the shard had nothing more to give when it answered."""
    if answer.millis_behind_latest is None:
        return bool(answer.records)
    return answer.millis_behind_latest > 0 or len(answer.records) >= RECORDS_MAX
