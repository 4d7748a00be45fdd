"""Recordings: how bytes become records, whichever way the files were written."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.backtest.slices import LATE_MS, SLICE_MS, SLICE_RECORDS_MAX, Slicer
from worker.errors import UsageError
from worker.event_wrappers import RECORD_BYTES_MAX
from worker.model import (
    MINUTE_MS,
    Batch,
    Position,
    Record,
    ShardStatus,
    StreamIdentity,
    StreamMemory,
)
from worker.recordings.files import Files
from worker.recordings.framing import JOINS_MAX, Splitter, stamped
from worker.recordings.stream import merged
from worker.testing import FakeClock

AT_MS = 1_790_000_000_000
LATEST_MS = AT_MS + 10**10

objects = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.integers() | st.text(alphabet='ab}{"\\ \n[]:,é'),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    ),
    max_size=3,
)


def split(data: bytes, *cuts: int) -> list[bytes]:
    """The records of some bytes that come in pieces."""
    splitter = Splitter()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found = []
    for begin, end in pairwise(edges):
        if begin < end:
            found += splitter.feed(data[begin:end])
    return found + splitter.end()


@given(st.lists(objects, max_size=6), st.sampled_from(["", "\n", "\r\n"]), st.lists(st.integers(0)))
def test_objects_come_out_as_they_went_in_with_or_without_newlines_in_blocks_of_any_size(
    told: list[dict[str, object]], between: str, cuts: list[int]
) -> None:
    texts = [json.dumps(one).encode() for one in told]
    found = split(between.encode().join(texts), *cuts)
    assert [json.loads(one) for one in found] == told


def test_a_seam_within_a_text_does_not_end_an_object() -> None:
    texts = [b'{"a":"}{"}', b'{"b":"\\"}{"}', b'{"c":{}}']
    assert split(b"".join(texts)) == texts


def test_objects_come_out_as_soon_as_they_are_whole_without_waiting_for_a_newline() -> None:
    splitter = Splitter()
    assert splitter.feed(b'{"a":1}{"b":2}{"c"') == [b'{"a":1}', b'{"b":2}']
    assert splitter.feed(b":3}{") == [b'{"c":3}']


def test_an_object_with_too_many_seams_is_broken_and_the_next_one_is_read() -> None:
    broken = b'{"a":' + b"{}{}" * (JOINS_MAX + 1)
    found = split(broken + b"\n" + b'{"b":1}{"c":2}')
    assert found[-2:] == [b'{"b":1}', b'{"c":2}']
    assert b"".join(found[:-2]).count(b"}") == broken.count(b"}")


@given(st.binary(max_size=200), st.lists(st.integers(0)))
def test_any_bytes_are_split_without_an_error_and_what_is_one_line_does_not_depend_on_the_blocks(
    data: bytes, cuts: list[int]
) -> None:
    plain = data.replace(b"{", b"x")
    assert split(plain, *cuts) == split(plain)
    assert b"".join(split(data)).replace(b"\n", b"") == b"".join(
        line for line in data.split(b"\n") if line.strip()
    )


def test_a_record_that_is_too_large_is_passed_over_and_the_next_line_is_read() -> None:
    splitter = Splitter()
    block = b"x" * (1 << 20)
    found = [record for _ in range(20) for record in splitter.feed(block)]
    assert [len(record) > RECORD_BYTES_MAX for record in found] == [True]
    assert splitter.feed(b'end\n{"a":1}\n') == [b'{"a":1}']


# --- when a record arrived --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        (f'{{"event_timestamp": 1, "arrival_timestamp" : {AT_MS}}}', AT_MS),
        (f'{{"arrival_timestamp":"{AT_MS}"}}', AT_MS),
        (f'{{"arrival_timestamp":{AT_MS},"b":1}}', AT_MS),
        (f'{{"arrival_timestamp":{AT_MS}}}', AT_MS),
        (f'{{"arrival_timestamp":{AT_MS}.5}}', AT_MS),
        (f'{{"event_timestamp":{AT_MS}}}', AT_MS),
        (f'{{"eventTimestamp":{AT_MS}}}', AT_MS),
        (f'{{"a":"\\"arrival_timestamp\\":{AT_MS + 5}","event_timestamp":{AT_MS}}}', AT_MS),
        ('{"a":1}', 7),
        (f'{{"arrival_timestamp":{AT_MS}0}}', 7),
        (f'{{"arrival_timestamp":{LATEST_MS + 1}}}', 7),
        ('{"arrival_timestamp":1000000000000}', 7),
    ],
)
def test_a_record_arrived_when_it_says_else_with_the_one_before(text: str, at_ms: int) -> None:
    before = f'{{"arrival_timestamp":{AT_MS - 60_000}}}'.encode()
    ((_, record),) = stamped([[before, text.encode()]], latest_ms=LATEST_MS)
    assert record.arrival_ms == (AT_MS - 60_000 if at_ms == 7 else at_ms)
    told = text.encode()
    assert record == Record(data=told, sequence_number="", arrival_ms=record.arrival_ms)
    assert hash(record) is not None


# --- files ------------------------------------------------------------------------------------


def line(number: int) -> bytes:
    return json.dumps({"event_type": "x", "arrival_timestamp": AT_MS + number}).encode()


def numbers(files: Files) -> list[int]:
    return [record.arrival_ms - AT_MS for some in files.records() for record in some]


def files_of(*names: object, stdin: bytes = b"") -> Files:
    return Files([str(name) for name in names], stdin=io.BytesIO(stdin), latest_ms=LATEST_MS)


def test_a_folder_of_firehose_objects_is_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for number, hour in enumerate(("2026/10/01/23", "2026/10/02/00", "2026/10/02/09")):
        folder = tmp_path / hour
        folder.mkdir(parents=True)
        told = line(2 * number) + line(2 * number + 1)
        packed = gzip.compress(told[:20]) + gzip.compress(told[20:])
        (folder / "shop-1-2026").write_bytes(packed if number % 2 else told)
        (folder / ".hidden").write_bytes(b"no event")
    files = files_of(tmp_path)
    total = files.bytes_total
    assert numbers(files) == list(range(6))
    assert (files.bytes_read, files.files) == (total, 3)


def test_several_files_and_standard_input_are_read_as_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(line(1) + b"\n")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"\r\n".join([line(3), b"", line(4)])))
    files = files_of(tmp_path / "a", "-", tmp_path / "b.gz", stdin=gzip.compress(line(2)))
    assert files.bytes_total is None
    assert numbers(files) == [1, 2, 3, 4]


def test_a_broken_or_cut_off_gzip_gives_what_stands_before_the_break(tmp_path: Path) -> None:
    whole = gzip.compress(b"\n".join(line(number) for number in range(20_000)), mtime=0)
    (tmp_path / "1").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "2").write_bytes(gzip.compress(line(1)) + b"garbage")
    (tmp_path / "3").write_bytes(gzip.compress(line(2)) + b"\0\0")
    files = files_of(tmp_path)
    found = numbers(files)
    assert found[:5] == [0, 1, 2, 3, 4]
    assert found[-2:] == [1, 2]
    assert files.broken == {"cut-off gzip": 1, "broken gzip": 1}


def test_a_file_that_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere does not exist; name a file of events"):
        files_of(tmp_path / "nowhere")


# --- slices -----------------------------------------------------------------------------------


def record(at_ms: int) -> Record:
    return Record(data=b"", sequence_number="", arrival_ms=at_ms)


@given(st.lists(st.integers(AT_MS, AT_MS + 4 * SLICE_MS), max_size=60), st.integers(1, 9))
def test_slices_hold_everything_in_order_and_none_reaches_over_a_quarter_of_an_hour(
    times: list[int], size: int
) -> None:
    slicer = Slicer()
    batches = [[record(at) for at in times[n : n + size]] for n in range(0, len(times), size)]
    slices = list(slicer.slices(batches))
    assert [r.arrival_ms for one in slices for r in one.records] == times
    now_ms = 0
    for one in slices:
        begin_ms = one.at_ms // SLICE_MS * SLICE_MS
        assert all(r.arrival_ms < begin_ms + SLICE_MS for r in one.records)
        now_ms = max(now_ms, *(r.arrival_ms for r in one.records))
        assert one.at_ms == now_ms, "stream time never goes back"
    late = [at for n, at in enumerate(times) if at < max(times[: n + 1]) - LATE_MS]
    assert slicer.late == len(late)


def test_reading_ends_at_until_and_a_slice_ends_at_the_cut() -> None:
    begin_ms = AT_MS // SLICE_MS * SLICE_MS
    times = [begin_ms + n * MINUTE_MS for n in range(10)]
    slicer = Slicer(cut_ms=times[3], until_ms=times[7])
    slices = [
        [r.arrival_ms for r in one.records] for one in slicer.slices([[record(t) for t in times]])
    ]
    assert [at for one in slices for at in one] == times[:7]
    assert times[:3] in slices
    assert (slicer.first_ms, slicer.last_ms) == (times[0], times[6])


def test_records_without_a_time_before_the_first_with_one_come_with_it() -> None:
    slicer = Slicer()
    some = [record(0)] * (SLICE_RECORDS_MAX + 5)
    (first, second) = slicer.slices([some, [record(AT_MS), record(AT_MS + 1)], [record(AT_MS + 2)]])
    assert {r.arrival_ms for r in first.records[:SLICE_RECORDS_MAX]} == {AT_MS}
    assert second.at_ms == AT_MS + 2
    assert slicer.untimed == 5
    assert list(Slicer().slices([some])) == []


# --- a stream ---------------------------------------------------------------------------------


class Shards:
    """A source of shards whose answers are listed (ports.Source); a shard goes on when its last
    answer was committed."""

    def __init__(self, answers: dict[str, list[tuple[int, list[int]]]]) -> None:
        self._answers = {shard: list(some) for shard, some in answers.items()}
        self._through: dict[str, int | None] = dict.fromkeys(answers)
        self._waiting: set[str] = set()
        self.ahead_max = 0
        self.stopped = False

    async def open(self) -> StreamIdentity:
        return StreamIdentity(name="s", created_ms=1)

    async def batches(self, memory: StreamMemory) -> AsyncIterator[Batch]:
        while True:
            free = [s for s in self._answers if self._answers[s] and s not in self._waiting]
            if not free:
                await FakeClock().sleep(1)
                return
            shard = min(free, key=lambda name: self._through[name] or 0)
            through_ms, times = self._answers[shard][0]
            self._waiting.add(shard)
            yield Batch(
                stream=StreamIdentity(name="s", created_ms=1),
                position=Position(shard_id=shard),
                records=tuple(record(at) for at in times),
                read_through_ms=through_ms,
            )

    def committed(self, batch: Batch) -> None:
        shard = batch.position.shard_id
        through_ms, _ = self._answers[shard].pop(0)
        self._through[shard] = through_ms
        self._waiting.discard(shard)

    def watermark_ms(self) -> int | None:
        known = [at for at in self._through.values() if at is not None]
        return min(known) if len(known) == len(self._through) else None

    def shards(self) -> Sequence[ShardStatus]:
        return ()

    async def stop(self) -> None:
        self.stopped = True


@pytest.mark.parametrize("bytes_ahead_max", [0, 1 << 20])
async def test_shards_are_merged_by_arrival_up_to_the_present(
    bytes_ahead_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.recordings.stream.BYTES_AHEAD_MAX", bytes_ahead_max)
    source = Shards(
        {
            "a": [(10, [1, 4, 9]), (20, [11, 20]), (30, [25])],
            "b": [(3, [2]), (3, []), (40, [3, 5, 12])],
            "c": [(40, [])],
        }
    )
    clock = FakeClock(now_ms=30)
    found = [r.arrival_ms async for some in merged(source, clock=clock) for r in some]
    assert found == [1, 2, 3, 4, 5, 9, 11, 12, 20, 25]
    assert source.stopped


def test_records_without_a_usable_time_are_counted_and_keep_their_place() -> None:
    odd: Counter[str] = Counter()
    lines = [b'{"arrival_timestamp":%d}' % at_ms for at_ms in (AT_MS, LATEST_MS + 1, AT_MS + 5)]
    (records,) = stamped([[*lines, b"rubbish"]], latest_ms=LATEST_MS, odd=odd)
    assert [record.arrival_ms - AT_MS for record in records] == [0, 0, 5, 5]
    assert odd.total() == 2
