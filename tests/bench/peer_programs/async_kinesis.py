"""async-kinesis fills a dict: user to the latest time. AWS_ENDPOINT_URL_KINESIS says from where.

python async_kinesis.py RECORDS
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from time import process_time
from typing import Any

from kinesis import Consumer  # type: ignore[import-not-found]


async def main(records: int) -> None:
    last_active: dict[str, int] = {}
    warm, count, begun = records // 3, 0, 0.0
    consumer = Consumer(
        "bench", endpoint_url=os.environ["AWS_ENDPOINT_URL_KINESIS"], shard_fetch_rate=5
    )
    async with consumer:
        event: dict[str, Any]
        async for event in consumer:
            user = event["endpoint"]["User"]["UserId"]
            at_ms = event["event_timestamp"]
            if at_ms > last_active.get(user, 0):
                last_active[user] = at_ms
            count += 1
            if count == warm:
                begun = process_time()
            if count == records:
                print(
                    json.dumps({"records": records - warm, "cpu_s": process_time() - begun}),
                    flush=True,
                )
                # Its tasks end at their own time; nothing of it is measured.
                os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
