"""The pure stream: what it promises about order, lineage, time and refusals, on a made-up clock."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sandbox.kinesis_refusals import (
    ExpiredIteratorException,
    ExpiredNextTokenException,
    InvalidArgumentException,
    LimitExceededException,
    ProvisionedThroughputExceededException,
    ResourceInUseException,
    ResourceNotFoundException,
)
from worker.sandbox.kinesis_tokens import ShardFilter, ShardFilterType
from worker.sandbox.shard import HASH_KEYS, MIB, StoredRecord
from worker.sandbox.stream import SimulatedStream
from worker.sandbox.stream_values import (
    DAY_MS,
    Behaviour,
    IteratorType,
    StreamStatus,
    TrimmedPosition,
)

NOW_MS = 1_790_000_000_123
FIRST = "shardId-000000000000"


def a_stream(shards: int = 1, **behaviour: object) -> SimulatedStream:
    return SimulatedStream(
        "events",
        shards=shards,
        now_ms=NOW_MS,
        behaviour=Behaviour(**behaviour),  # type: ignore[arg-type]
    )


def put(stream: SimulatedStream, *texts: str, now_ms: int = NOW_MS) -> list[str]:
    """Puts each text under itself as key; answers the sequence numbers."""
    return [
        stream.put(text.encode(), partition_key=text, now_ms=now_ms).sequence_number
        for text in texts
    ]


def read_shard(
    stream: SimulatedStream, shard_id: str, *, now_ms: int, records_max: int = 10_000
) -> tuple[list[StoredRecord], list[str]]:
    """Every record of a shard from its oldest, and the ids of its children if it has ended."""
    iterator = stream.shard_iterator(shard_id, IteratorType.TRIM_HORIZON, now_ms=now_ms)
    records: list[StoredRecord] = []
    while True:
        page = stream.get_records(iterator, now_ms=now_ms, records_max=records_max)
        records += page.records
        if page.next_iterator is None:
            return records, [child.shard_id for child in page.children]
        if page.behind_ms == 0 and not page.records:
            return records, []
        iterator = page.next_iterator


def texts_at(stream: SimulatedStream, iterator: str, *, now_ms: int = NOW_MS) -> list[str]:
    page = stream.get_records(iterator, now_ms=now_ms)
    return [record.data.decode() for record in page.records]


# --- order and lineage ------------------------------------------------------------------------


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "split", "merge", "scale"]), st.integers(0, 99))
)


def perform(stream: SimulatedStream, step: Step, put_so_far: list[str], *, now_ms: int) -> None:
    """One step of a story, where `number` chooses the key, the shard, or the count."""
    verb, number = step
    shards = stream.open_shards
    chosen = shards[number % len(shards)]
    match verb:
        case "put":
            key = f"user-{number % 7}"
            stream.put(str(len(put_so_far)).encode(), partition_key=key, now_ms=now_ms)
            put_so_far.append(key)
        case "split":
            stream.split(chosen.shard_id, now_ms=now_ms)
        case "merge" if chosen is not shards[-1]:
            stream.merge(chosen.shard_id, shards[shards.index(chosen) + 1].shard_id, now_ms=now_ms)
        case "scale":
            low, high = (len(shards) + 1) // 2, 2 * len(shards)
            stream.update_shard_count(low + number % (high - low + 1), now_ms=now_ms)


@given(steps=STEPS, shards=st.integers(1, 4), together=st.booleans())
def test_parents_before_children_reads_every_record_once_and_each_key_in_order(
    steps: list[Step], shards: int, together: bool
) -> None:
    stream = a_stream(shards, open_shards_max=100_000, end_with_last_records=together)
    put_so_far: list[str] = []
    for step in steps:
        perform(stream, step, put_so_far, now_ms=NOW_MS)

    seen: list[int] = []
    waiting = {s.shard_id: s for s in stream.list_shards(now_ms=NOW_MS).shards}
    told_children: set[tuple[str, str]] = set()
    while waiting:
        ready = next(s for s in waiting.values() if not waiting.keys() & set(s.parents))
        del waiting[ready.shard_id]
        records, children = read_shard(stream, ready.shard_id, now_ms=NOW_MS, records_max=3)
        told_children |= {(ready.shard_id, child) for child in children}
        seen += [int(record.data) for record in records]

    assert sorted(seen) == list(range(len(put_so_far)))
    for key in set(put_so_far):
        of_key = [number for number in seen if put_so_far[number] == key]
        assert of_key == sorted(of_key)
    listed = stream.list_shards(now_ms=NOW_MS).shards
    assert told_children == {(p, s.shard_id) for s in listed for p in s.parents}


@given(steps=STEPS, shards=st.integers(1, 4))
def test_open_shards_always_cover_all_hash_keys_without_a_gap(
    steps: list[Step], shards: int
) -> None:
    stream = a_stream(shards, open_shards_max=100_000)
    for step in steps:
        perform(stream, step, [], now_ms=NOW_MS)
    ranges = [(shard.start_hash, shard.end_hash) for shard in stream.open_shards]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == HASH_KEYS - 1
    assert all(left[1] + 1 == right[0] for left, right in pairwise(ranges))


def test_sequence_numbers_look_like_those_of_aws_and_rise_from_parent_to_child() -> None:
    stream = a_stream()
    parent = put(stream, "a", "b", "c")
    stream.split(FIRST, now_ms=NOW_MS)
    children = put(stream, "a", "b", "c", "d")
    numbers = [int(number) for number in parent]
    assert numbers == sorted(set(numbers))
    assert all(len(number) == 56 for number in (*parent, *children))
    assert len({*parent, *children}) == 7
    closed = stream.list_shards(now_ms=NOW_MS).shards[0]
    assert closed.ending_sequence_number is not None
    assert int(closed.starting_sequence_number) < numbers[0]
    assert numbers[-1] < int(closed.ending_sequence_number) < min(int(n) for n in children)


def test_a_merge_child_names_both_parents_in_the_order_of_the_request() -> None:
    stream = a_stream(2)
    low, high = stream.open_shards
    child = stream.merge(high.shard_id, low.shard_id, now_ms=NOW_MS)
    assert child.parents == (high.shard_id, low.shard_id)
    assert read_shard(stream, low.shard_id, now_ms=NOW_MS)[1] == [child.shard_id]
    assert read_shard(stream, high.shard_id, now_ms=NOW_MS)[1] == [child.shard_id]


@pytest.mark.parametrize(("together", "answers"), [(True, 1), (False, 2)])
def test_a_closed_shard_ends_with_its_last_records_or_one_answer_later(
    together: bool, answers: int
) -> None:
    stream = a_stream(end_with_last_records=together)
    put(stream, "a")
    children = stream.split(FIRST, now_ms=NOW_MS)
    iterator: str | None = stream.shard_iterator(FIRST, IteratorType.TRIM_HORIZON, now_ms=NOW_MS)
    pages = []
    while iterator is not None:
        page = stream.get_records(iterator, now_ms=NOW_MS)
        pages.append(page)
        iterator = page.next_iterator
    assert [len(page.records) for page in pages] == [1, 0][:answers]
    assert pages[-1].children == list(children)
    assert not any(page.children for page in pages[:-1])


def test_records_without_a_key_take_the_shards_in_turn() -> None:
    stream = a_stream(2)
    placed = [stream.put(b"x", partition_key=None, now_ms=NOW_MS).shard_id for _ in range(4)]
    assert placed == [FIRST, "shardId-000000000001"] * 2


# --- positions --------------------------------------------------------------------------------


def test_the_five_iterator_types_begin_where_they_say() -> None:
    stream = a_stream()
    numbers = [put(stream, text, now_ms=NOW_MS + at)[0] for at, text in enumerate("abcd")]
    now_ms = NOW_MS + 10

    def iterator(kind: IteratorType, number: str | None = None, at: int | None = None) -> str:
        return stream.shard_iterator(
            FIRST, kind, sequence_number=number, timestamp_ms=at, now_ms=now_ms
        )

    iterators = {
        "abcde": iterator(IteratorType.TRIM_HORIZON),
        "bcde": iterator(IteratorType.AT_SEQUENCE_NUMBER, number=numbers[1]),
        "cde": iterator(IteratorType.AT_TIMESTAMP, at=NOW_MS + 2),
        "de": iterator(IteratorType.AFTER_SEQUENCE_NUMBER, number=numbers[2]),
        "e": iterator(IteratorType.LATEST),
    }
    put(stream, "e", now_ms=now_ms)
    for texts, issued in iterators.items():
        assert "".join(texts_at(stream, issued, now_ms=now_ms)) == texts


def test_the_start_and_the_end_of_a_closed_shard_are_positions_too() -> None:
    stream = a_stream()
    put(stream, "a")
    stream.split(FIRST, now_ms=NOW_MS)
    closed = stream.list_shards(now_ms=NOW_MS).shards[0]

    def page_at(number: str | None, kind: IteratorType) -> tuple[int, int]:
        iterator = stream.shard_iterator(FIRST, kind, sequence_number=number, now_ms=NOW_MS)
        page = stream.get_records(iterator, now_ms=NOW_MS)
        return len(page.records), len(page.children)

    start, end = closed.starting_sequence_number, closed.ending_sequence_number
    assert page_at(start, IteratorType.AFTER_SEQUENCE_NUMBER) == (1, 2)
    assert page_at(end, IteratorType.AT_SEQUENCE_NUMBER) == (0, 2)
    assert page_at(end, IteratorType.AFTER_SEQUENCE_NUMBER) == (0, 2)


def test_sequence_numbers_of_others_are_refused_with_the_words_of_aws() -> None:
    stream = a_stream(2)
    earlier = SimulatedStream("events", now_ms=NOW_MS - 5_000)
    stranger = put(earlier, "a")[0]
    other_shard = stream.open_shards[1].starting_sequence_number
    unissued = put(SimulatedStream("twin", now_ms=NOW_MS), "a")[0]
    for number, words in {
        stranger: "did not come from this stream",
        other_shard: "It encodes shardId-000000000001",
        unissued: "not issued yet",
        "12345": "is invalid",
    }.items():
        with pytest.raises(InvalidArgumentException, match=words):
            stream.shard_iterator(
                FIRST, IteratorType.AT_SEQUENCE_NUMBER, sequence_number=number, now_ms=NOW_MS
            )


def test_an_iterator_type_without_its_value_or_a_time_to_come_is_refused() -> None:
    stream = a_stream()
    for kind, number, at_ms in [
        (IteratorType.AT_TIMESTAMP, None, NOW_MS + 1),
        (IteratorType.AT_TIMESTAMP, None, None),
        (IteratorType.AFTER_SEQUENCE_NUMBER, None, None),
        (IteratorType.LATEST, None, NOW_MS),
        (IteratorType.TRIM_HORIZON, put(stream, "a")[0], None),
    ]:
        with pytest.raises(InvalidArgumentException):
            stream.shard_iterator(
                FIRST, kind, sequence_number=number, timestamp_ms=at_ms, now_ms=NOW_MS
            )


def test_an_iterator_lives_five_minutes_and_not_a_millisecond_longer() -> None:
    stream = a_stream()
    iterator = stream.shard_iterator(FIRST, IteratorType.TRIM_HORIZON, now_ms=NOW_MS)
    assert stream.get_records(iterator, now_ms=NOW_MS + 300_000).next_iterator
    with pytest.raises(ExpiredIteratorException, match="300000 milliseconds"):
        stream.get_records(iterator, now_ms=NOW_MS + 300_001)


def test_an_iterator_nobody_issued_is_refused() -> None:
    stream = a_stream()
    iterator = stream.shard_iterator(FIRST, IteratorType.TRIM_HORIZON, now_ms=NOW_MS)
    for forged in ("garbage", "Z2FyYmFnZQ==", iterator[:-8] + "AAAAAAAA"):
        with pytest.raises(InvalidArgumentException, match="Invalid ShardIterator"):
            stream.get_records(forged, now_ms=NOW_MS)


def test_the_iterator_of_a_deleted_stream_does_not_read_its_successor() -> None:
    iterator = a_stream().shard_iterator(FIRST, IteratorType.TRIM_HORIZON, now_ms=NOW_MS)
    successor = SimulatedStream("events", now_ms=NOW_MS + 1)
    with pytest.raises(ResourceNotFoundException):
        successor.get_records(iterator, now_ms=NOW_MS + 1)


# --- how much, how late, how often ------------------------------------------------------------


def test_an_answer_holds_at_most_ten_mebibytes_and_ten_thousand_records() -> None:
    large, small = a_stream(), a_stream()
    for _ in range(12):
        large.put(b"x" * (MIB - 1), partition_key="k", now_ms=NOW_MS)
    for _ in range(10_001):
        small.put(b"", partition_key="k", now_ms=NOW_MS)
    for stream, first in ((large, 10), (small, 10_000)):
        iterator = stream.shard_iterator(FIRST, IteratorType.TRIM_HORIZON, now_ms=NOW_MS)
        page = stream.get_records(iterator, now_ms=NOW_MS)
        assert len(page.records) == first
        assert page.behind_ms == 1
        with pytest.raises(InvalidArgumentException):
            stream.get_records(iterator, now_ms=NOW_MS, records_max=10_001)


def test_a_record_above_an_answers_size_comes_alone() -> None:
    stream = a_stream(record_bytes_max=11 * MIB)
    stream.put(b"x" * 11 * MIB, partition_key="k", now_ms=NOW_MS)
    put(stream, "a")
    iterator = stream.shard_iterator(FIRST, IteratorType.TRIM_HORIZON, now_ms=NOW_MS)
    assert len(stream.get_records(iterator, now_ms=NOW_MS).records) == 1


def test_behind_is_the_age_of_what_was_reached_and_zero_at_the_tip() -> None:
    stream = a_stream()
    put(stream, "a", now_ms=NOW_MS)
    put(stream, "b", now_ms=NOW_MS + 4_000)
    now_ms = NOW_MS + 10_000
    iterator = stream.shard_iterator(FIRST, IteratorType.TRIM_HORIZON, now_ms=now_ms)
    page = stream.get_records(iterator, now_ms=now_ms, records_max=1)
    assert page.behind_ms == 10_000
    assert page.next_iterator is not None
    assert stream.get_records(page.next_iterator, now_ms=now_ms).behind_ms == 0


def test_the_sixth_read_of_a_second_is_throttled_and_costs_nothing() -> None:
    stream = a_stream(read_limits=True)
    put(stream, "a")
    iterator = stream.shard_iterator(FIRST, IteratorType.TRIM_HORIZON, now_ms=NOW_MS)
    for _ in range(5):
        assert texts_at(stream, iterator) == ["a"]
    with pytest.raises(ProvisionedThroughputExceededException):
        stream.get_records(iterator, now_ms=NOW_MS + 999)
    assert texts_at(stream, iterator, now_ms=NOW_MS + 1_000) == ["a"]


def test_a_shard_rests_five_seconds_after_ten_mebibytes() -> None:
    stream = a_stream(read_limits=True)
    for _ in range(10):
        stream.put(b"x" * (MIB - 1), partition_key="k", now_ms=NOW_MS)
    iterator = stream.shard_iterator(FIRST, IteratorType.TRIM_HORIZON, now_ms=NOW_MS)
    assert len(stream.get_records(iterator, now_ms=NOW_MS).records) == 10
    with pytest.raises(ProvisionedThroughputExceededException):
        stream.get_records(iterator, now_ms=NOW_MS + 4_999)
    assert stream.get_records(iterator, now_ms=NOW_MS + 5_000).records


def test_records_and_shards_too_large_too_many_or_not_adjacent_are_refused() -> None:
    stream = a_stream(4, open_shards_max=4)
    ids = [shard.shard_id for shard in stream.open_shards]
    with pytest.raises(InvalidArgumentException, match="exceeds the limit"):
        stream.put(b"x" * (MIB + 1), partition_key="k", now_ms=NOW_MS)
    with pytest.raises(LimitExceededException):
        stream.split(ids[0], now_ms=NOW_MS)
    with pytest.raises(LimitExceededException):
        stream.update_shard_count(5, now_ms=NOW_MS)
    with pytest.raises(InvalidArgumentException, match="adjacent"):
        stream.merge(ids[0], ids[2], now_ms=NOW_MS)
    with pytest.raises(InvalidArgumentException, match="below half"):
        stream.update_shard_count(1, now_ms=NOW_MS)
    stream.merge(ids[0], ids[1], now_ms=NOW_MS)
    with pytest.raises(InvalidArgumentException, match="is closed"):
        stream.split(ids[0], now_ms=NOW_MS)


# --- age --------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", list(TrimmedPosition))
def test_a_position_older_than_retention_does_what_it_was_told_to(
    behaviour: TrimmedPosition,
) -> None:
    stream = a_stream(trimmed=behaviour)
    trimmed = put(stream, "old", "not so old")
    put(stream, "new", now_ms=NOW_MS + DAY_MS)
    now_ms = NOW_MS + DAY_MS + 1

    def iterator() -> str:
        return stream.shard_iterator(
            FIRST, IteratorType.AFTER_SEQUENCE_NUMBER, sequence_number=trimmed[0], now_ms=now_ms
        )

    match behaviour:
        case TrimmedPosition.RESUMES:
            assert texts_at(stream, iterator(), now_ms=now_ms) == ["new"]
        case TrimmedPosition.REFUSED:
            with pytest.raises(InvalidArgumentException, match="trim horizon"):
                iterator()
        case TrimmedPosition.EMPTY:
            page = stream.get_records(iterator(), now_ms=now_ms)
            assert (page.records, page.behind_ms) == ((), DAY_MS)
            assert page.next_iterator is not None
            again = stream.get_records(page.next_iterator, now_ms=now_ms)
            assert (again.records, again.behind_ms) == ((), DAY_MS)


def test_records_trimmed_behind_a_living_iterator_are_passed_over() -> None:
    stream = a_stream(retention_ms=60_000)
    put(stream, "old")
    put(stream, "new", now_ms=NOW_MS + 30_000)
    iterator = stream.shard_iterator(FIRST, IteratorType.TRIM_HORIZON, now_ms=NOW_MS)
    assert texts_at(stream, iterator, now_ms=NOW_MS + 60_001) == ["new"]


def test_a_closed_shard_expires_a_retention_after_it_closed_and_its_children_stay() -> None:
    stream = a_stream()
    put(stream, "a")
    children = stream.split(FIRST, now_ms=NOW_MS)
    at_the_edge, after_it = NOW_MS + DAY_MS, NOW_MS + DAY_MS + 1
    assert len(stream.list_shards(now_ms=at_the_edge).shards) == 3
    assert stream.list_shards(now_ms=after_it).shards == list(children)
    with pytest.raises(ResourceNotFoundException):
        stream.shard_iterator(FIRST, IteratorType.TRIM_HORIZON, now_ms=after_it)
    assert children[0].parents == (FIRST,)


# --- listing ----------------------------------------------------------------------------------


def test_each_filter_lists_its_shards() -> None:
    stream = a_stream()
    split_ms, merge_ms = NOW_MS + 1_000, NOW_MS + 2_000
    low, high = stream.split(FIRST, now_ms=split_ms)
    stream.merge(low.shard_id, high.shard_id, now_ms=merge_ms)

    def listed(
        kind: ShardFilterType,
        shard_id: str | None = None,
        at: int | None = None,
        now_ms: int = merge_ms,
    ) -> list[int]:
        wanted = ShardFilter(kind=kind, shard_id=shard_id, timestamp_ms=at)
        return [one.index for one in stream.list_shards(now_ms=now_ms, wanted=wanted).shards]

    assert listed(ShardFilterType.FROM_TRIM_HORIZON) == [0, 1, 2, 3]
    assert listed(ShardFilterType.AT_TRIM_HORIZON) == [0]
    assert listed(ShardFilterType.AT_LATEST) == [3]
    assert listed(ShardFilterType.AFTER_SHARD_ID, shard_id=low.shard_id) == [2, 3]
    assert listed(ShardFilterType.AT_TIMESTAMP, at=split_ms + 1) == [1, 2]
    assert listed(ShardFilterType.FROM_TIMESTAMP, at=split_ms + 1) == [1, 2, 3]
    assert listed(ShardFilterType.AT_TRIM_HORIZON, now_ms=split_ms + DAY_MS + 500) == [1, 2]
    with pytest.raises(InvalidArgumentException):
        listed(ShardFilterType.AT_TIMESTAMP)
    with pytest.raises(InvalidArgumentException):
        listed(ShardFilterType.AT_LATEST, shard_id=FIRST)


def test_pages_of_shards_join_to_the_whole_list_and_their_tokens_age() -> None:
    stream = a_stream(5)
    pages = [stream.list_shards(now_ms=NOW_MS, shards_max=2)]
    while (token := pages[-1].next_token) is not None:
        pages.append(stream.next_shards(token, now_ms=NOW_MS + 300_000, shards_max=2))
    assert [[shard.index for shard in page.shards] for page in pages] == [[0, 1], [2, 3], [4]]
    token = pages[0].next_token
    assert token is not None
    with pytest.raises(ExpiredNextTokenException):
        stream.next_shards(token, now_ms=NOW_MS + 300_001)
    iterator = stream.shard_iterator(FIRST, IteratorType.LATEST, now_ms=NOW_MS)
    with pytest.raises(InvalidArgumentException, match="NextToken"):
        stream.next_shards(iterator, now_ms=NOW_MS)


def test_a_stream_is_creating_then_active_then_updating_and_refuses_what_aws_refuses() -> None:
    stream = a_stream(settling_ms=1_000)
    assert stream.status(NOW_MS) is StreamStatus.CREATING
    with pytest.raises(ResourceInUseException):
        stream.list_shards(now_ms=NOW_MS)
    with pytest.raises(ResourceNotFoundException):
        put(stream, "a")
    active_ms = NOW_MS + 1_000
    assert stream.status(active_ms) is StreamStatus.ACTIVE
    low, _ = stream.split(FIRST, now_ms=active_ms)
    assert stream.status(active_ms) is StreamStatus.UPDATING
    put(stream, "a", now_ms=active_ms)
    with pytest.raises(ResourceInUseException):
        stream.split(low.shard_id, now_ms=active_ms)
    assert stream.status(active_ms + 1_000) is StreamStatus.ACTIVE
