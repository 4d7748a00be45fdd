"""A backlog of a million records is read in flat memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.world import now_ms, pause, until, visit, world

RECORDS = 1_000_000
USERS = 20_000
SHARDS = 16
"""A shard gives 2 MiB a second, which would be the measure otherwise."""
FLAT_RATIO = 1.15
"""The second half of the backlog may hold at most this much of what the first half held."""
RESIDENT_MB_MAX = 350


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_memory_stays_flat_while_a_million_records_are_read(tmp_path: Path) -> None:
    async with world(tmp_path, shards=SHARDS) as one:
        # The same bytes object many times over, so that the test itself stays small.
        visits = [json.dumps(visit(f"user-{n}", "GCM")).encode() for n in range(USERS)]
        at = now_ms()
        for number in range(RECORDS):
            one.stream.put(visits[number % USERS], partition_key=str(number), now_ms=at)
        worker = await one.start_ready(COMEBACK_MAX_STALENESS="1s")
        samples: list[tuple[int, float]] = []

        async def is_read() -> bool:
            read = _number(await one.text("/metrics"), "comeback_records_total")
            samples.append((int(read), _resident_mb(worker.process.pid)))
            await pause(0.2)
            return read >= RECORDS

        await until(is_read, "the backlog is read", 400)
        first = max(mb for read, mb in samples if RECORDS * 0.1 < read <= RECORDS / 2)
        second = max(mb for read, mb in samples if read > RECORDS / 2)
        print(f"resident MB: first half {first:.0f}, second half {second:.0f}")
        assert second <= first * FLAT_RATIO
        assert second <= RESIDENT_MB_MAX


def _number(metrics: str, name: str) -> float:
    return next(
        float(line.split()[1]) for line in metrics.splitlines() if line.startswith(f"{name} ")
    )


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
