"""Faust's table agent, without a broker: its own test context, table in memory, changelog messages
dropped. A broker, a durable table and the changelog come on top.

    python faust_agent.py FILE_OF_EVENTS
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import process_time
from typing import Any

import faust

app = faust.App("bench", broker="kafka://127.0.0.1:1", store="memory://", web_enabled=False)
events = app.topic("events", value_type=bytes, value_serializer="raw")
last_active = app.Table("last_active", default=int)


@app.agent(events)
async def recency(stream: Any) -> AsyncIterator[int]:
    """The latest time of each user."""
    async for line in stream:
        event = json.loads(line)
        user, at_ms = event["endpoint"]["User"]["UserId"], event["event_timestamp"]
        last_active[user] = max(last_active[user], at_ms)
        yield at_ms


async def main(lines: list[bytes]) -> None:
    async with recency.test_context() as agent:
        begun = process_time()
        for number, line in enumerate(lines):
            await agent.put(line)
            if number % 500 == 0:
                app.producer.buffer.pending = asyncio.Queue()
        print(json.dumps({"records": len(lines), "cpu_s": process_time() - begun}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).read_bytes().splitlines()))
