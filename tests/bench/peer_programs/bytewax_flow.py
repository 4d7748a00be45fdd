"""Bytewax: a keyed stateful step from events in memory, with its recovery store on disk.

python bytewax_flow.py FILE_OF_EVENTS
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from bytewax import operators as op  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.recovery import RecoveryConfig, init_db_dir  # type: ignore[import-not-found]
from bytewax.testing import TestingSink, TestingSource, run_main  # type: ignore[import-not-found]

PAGE = 2_500
EPOCH = timedelta(milliseconds=200)
"""How often state and place become durable."""


def keyed(line: bytes) -> tuple[str, int]:
    """User and time of an event."""
    event: dict[str, Any] = json.loads(line)
    return event["endpoint"]["User"]["UserId"], event["event_timestamp"]


def later(known: int | None, at_ms: int) -> tuple[int, int]:
    """The state of a user, and what goes on."""
    newest = at_ms if known is None else max(known, at_ms)
    return newest, newest


def main(lines: list[bytes]) -> None:
    flow = Dataflow("recency")
    stream = op.input("events", flow, TestingSource(lines, batch_size=PAGE))
    seen = op.stateful_map("last_active", op.map("parse", stream, keyed), later)
    last = op.filter("nothing", seen, lambda _: False)
    op.output("out", last, TestingSink([]))
    with TemporaryDirectory() as folder:
        init_db_dir(Path(folder), 1)
        begun = process_time()
        run_main(flow, epoch_interval=EPOCH, recovery_config=RecoveryConfig(folder))
        print(json.dumps({"records": len(lines), "cpu_s": process_time() - begun}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_bytes().splitlines())
