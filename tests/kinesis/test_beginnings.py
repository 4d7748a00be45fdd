"""Where a stream that was replaced begins, and what holds the watermark when a shard goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.kinesis.fake_kinesis import FakeKinesis, error
from tests.kinesis.reading import State, Worker
from worker.testing import FakeClock

FIRST = "shardId-000000000000"


async def test_a_recreated_stream_is_read_from_its_first_record_whatever_the_configured_start(
    worker: Worker, service: FakeKinesis, clock: FakeClock
) -> None:
    service.put(FIRST, "before the worker noticed")
    await clock.advance(60)
    state = State()
    state.recreated = True
    async with worker.reading(state, start="LATEST"):
        await clock.advance(3)
    assert state.texts == ["before the worker noticed"]


async def test_the_watermark_never_jumps_over_the_children_of_a_shard_that_expired_unread(
    worker: Worker, service: FakeKinesis, clock: FakeClock
) -> None:
    left, _ = service.split(FIRST)
    state = State()
    async with worker.reading(state):
        await clock.advance(3)
    service.put(left, *(f"old {number}" for number in range(200)))
    child, _ = service.split(left)
    service.put(child, "the user came back")
    await clock.advance(20 * 3_600)
    service.answer_records = 1
    async with worker.reading(state) as reading:
        await clock.advance(5)
        del service.shards[left]
        service.answer = _throttled_listings(service.answer, 1, 4)  # type: ignore[method-assign]
        for _ in range(80):
            await clock.advance(0.25)
            watermark_ms = reading.source.watermark_ms()
            if "the user came back" in state.texts:
                break
            assert watermark_ms is None or clock.now_ms() - watermark_ms > 3_600_000
    assert "the user came back" in state.texts


def _throttled_listings(answer: Callable[..., Any], after: int, until: int) -> Callable[..., Any]:
    """The reader's own listing is answered; the lister's next ones are throttled."""
    listings = 0

    def throttled(operation: str, request: Any) -> Any:
        nonlocal listings
        listings += operation == "ListShards"
        if operation == "ListShards" and after < listings <= until:
            return error("LimitExceededException")(request)
        return answer(operation, request)

    return throttled
