"""What one answer says about where reading stands."""

from __future__ import annotations

import pytest

from tests.kinesis.reading import Noted
from worker.kinesis.answers import is_behind, read_through_ms, unseen, user_records
from worker.kinesis.stream import RECORDS_MAX
from worker.kinesis.wire import Answer, WireRecord

ASKED_MS = 1_795_000_000_000


def stored(*sequence_numbers: str, arrival_ms: int | None = None) -> tuple[WireRecord, ...]:
    seconds = None if arrival_ms is None else arrival_ms / 1_000
    return tuple(
        WireRecord(sequence_number=one, data=b"x", approximate_arrival_timestamp=seconds)
        for one in sequence_numbers
    )


def through(answer: Answer, *, closed: bool = False, before_ms: int | None = None) -> int | None:
    return read_through_ms(answer, asked_at_ms=ASKED_MS, closed=closed, before_ms=before_ms)


def test_sequence_numbers_are_compared_as_numbers() -> None:
    records = stored("9", "10", "100")

    assert unseen(records, "9") == list(records[1:])
    assert unseen(records, "99") == list(records[2:])
    assert unseen(records, None) == records
    assert unseen(stored("10"), "9") == stored("10")


def test_a_shard_that_is_caught_up_is_read_through_to_when_it_was_asked() -> None:
    assert through(Answer(records=(), millis_behind_latest=0)) == ASKED_MS


def test_a_shard_that_is_behind_is_read_through_to_so_much_earlier() -> None:
    assert through(Answer(records=(), millis_behind_latest=90_000)) == ASKED_MS - 90_000


def test_a_closed_shard_reaches_no_further_than_its_last_record() -> None:
    answer = Answer(records=stored("1", arrival_ms=ASKED_MS - 5_000), millis_behind_latest=0)

    assert through(answer, closed=True) == ASKED_MS - 5_000
    assert through(Answer(records=(), millis_behind_latest=0), closed=True, before_ms=7) == 7
    assert through(Answer(records=(), millis_behind_latest=0), closed=True) is None


def test_a_full_answer_is_not_believed_to_be_the_last() -> None:
    answer = Answer(
        records=stored("1", arrival_ms=ASKED_MS - 5_000) * RECORDS_MAX, millis_behind_latest=0
    )

    assert is_behind(answer)
    assert through(answer) == ASKED_MS - 5_000


def test_an_answer_that_does_not_say_how_far_behind_it_is_claims_nothing() -> None:
    assert through(Answer(records=())) is None
    assert through(Answer(records=()), before_ms=5) == 5
    assert not is_behind(Answer(records=()))
    assert is_behind(Answer(records=stored("1")))


@pytest.mark.parametrize(("arrival_ms", "expected"), [(None, ASKED_MS), (1_234, 1_234)])
def test_a_record_without_arrival_time_arrived_when_it_was_asked_for(
    arrival_ms: int | None, expected: int
) -> None:
    (record,) = user_records(
        stored("1", arrival_ms=arrival_ms), asked_at_ms=ASKED_MS, observer=Noted()
    )

    assert record.arrival_ms == expected
