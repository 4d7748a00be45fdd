"""A plain aiobotocore loop: json, and one commit of upserts for each page, position included.

python plain_loop.py RECORDS STATE_FILE
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from time import process_time
from typing import Any

from aiobotocore.session import get_session

SCHEMA = """
CREATE TABLE IF NOT EXISTS positions (shard TEXT PRIMARY KEY, sequence TEXT NOT NULL);
"""
UPSERT = """
INSERT INTO users (user_id, last_active_ms) VALUES (?, ?)
ON CONFLICT (user_id) DO UPDATE SET last_active_ms = max(last_active_ms, excluded.last_active_ms)
"""
PLACE = "INSERT OR REPLACE INTO positions VALUES (?, ?)"


def take(state: sqlite3.Connection, shard: str, records: list[dict[str, Any]]) -> None:
    """One page in one transaction."""
    seen: dict[str, int] = {}
    for record in records:
        event = json.loads(record["Data"])
        user, at_ms = event["endpoint"]["User"]["UserId"], event["event_timestamp"]
        seen[user] = max(at_ms, seen.get(user, 0))
    with state:
        state.executemany(UPSERT, sorted(seen.items()))
        state.execute(PLACE, (shard, records[-1]["SequenceNumber"]))


async def main(records: int, path: str) -> None:
    state = sqlite3.connect(path)
    state.execute("PRAGMA journal_mode = WAL")
    state.execute("PRAGMA synchronous = NORMAL")
    state.executescript(SCHEMA)
    warm, count, begun, measured_from = records // 3, 0, 0.0, 0
    async with get_session().create_client("kinesis") as client:
        shards = (await client.list_shards(StreamName="bench"))["Shards"]
        iterators = {}
        for shard in shards:
            answer = await client.get_shard_iterator(
                StreamName="bench", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            iterators[shard["ShardId"]] = answer["ShardIterator"]
        while count < records:
            for shard_id, iterator in list(iterators.items()):
                answer = await client.get_records(ShardIterator=iterator, Limit=2_500)
                iterators[shard_id] = answer["NextShardIterator"]
                take(state, shard_id, answer["Records"])
                count += len(answer["Records"])
                if not measured_from and count >= warm:
                    begun, measured_from = process_time(), count
    print(json.dumps({"records": count - measured_from, "cpu_s": process_time() - begun}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
