"""What an event costs with many users against a tenth of them, as many of them active in both.

python -m tests.bench.scale [USERS]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from tests.bench.canned import PAGES_ENOUGH, canned
from tests.bench.engine import opened
from tests.bench.line import report
from tests.bench.over_http import ACTIVE_USERS, SHARDS, round_us, warmed
from tests.bench.state import copy

FEWER = 10
ROUNDS = 5
GOAL = 1.2


async def compared(
    many: Path,
    many_events: Mapping[str, str],
    few: Path,
    few_events: Mapping[str, str],
    active: int,
) -> tuple[float, float]:
    """Microseconds an event: of the many, of the few."""
    costs: list[tuple[float, float]] = []
    async with opened(many) as full, opened(few) as small:
        await warmed(full, many_events, active)
        await warmed(small, few_events, active)
        for _ in range(ROUNDS):
            of_many, _ = await round_us(full, many_events)
            of_few, _ = await round_us(small, few_events)
            costs.append((of_many, of_few))
    return median(one for one, _ in costs), median(one for _, one in costs)


def main(users: int) -> None:
    fewer = users // FEWER
    active = min(fewer, ACTIVE_USERS)
    with (
        canned(shards=SHARDS, pages=PAGES_ENOUGH, users=users, active=active) as many_events,
        canned(shards=SHARDS, pages=PAGES_ENOUGH, users=fewer, active=active) as few_events,
        copy(users) as many,
        copy(fewer) as few,
    ):
        cost, of_few = asyncio.run(compared(many, many_events, few, few_events, active))
    name = f"scale: {users:,} users to {fewer:,}"
    report(name, f"{cost:.1f} us/event", cost / of_few, GOAL)


if __name__ == "__main__":
    main(*([int(text) for text in sys.argv[1:]] or [1_000_000]))
