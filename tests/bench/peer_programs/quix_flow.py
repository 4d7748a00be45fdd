"""Quix Streams without a broker: its dataframe step by step over its RocksDB state, committed once
a page. Reading from Kafka, and the changelog, come on top.

    python quix_flow.py FILE_OF_EVENTS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from quixstreams.state import StateStoreManager  # type: ignore[import-not-found]

PAGE = 2_500


def main(lines: list[bytes], folder: str) -> None:
    manager = StateStoreManager(group_id="bench", state_dir=folder)
    manager.init()
    manager.register_store("events", "default")
    manager.on_partition_assign(stream_id="events", partition=0, committed_offsets={})
    store = manager.get_store("events", "default")
    begun = process_time()
    for first in range(0, len(lines), PAGE):
        transaction = store.start_partition_transaction(partition=0)
        for line in lines[first : first + PAGE]:
            event: dict[str, Any] = json.loads(line)
            user, at_ms = event["endpoint"]["User"]["UserId"], event["event_timestamp"]
            state = transaction.as_state(prefix=user.encode())
            state.set("last_active", max(state.get("last_active", default=0), at_ms))
        transaction.prepare(processed_offsets={"events": first + PAGE})
        transaction.flush()
    print(json.dumps({"records": len(lines), "cpu_s": process_time() - begun}), flush=True)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        main(Path(sys.argv[1]).read_bytes().splitlines(), folder)
