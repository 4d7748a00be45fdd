"""How fast a backtest reads: events per second on one core, end to end, and against `json.loads`.

    python -m tests.bench.backtest [EVENTS [USERS]]

The ratio to `json.loads` of the same lines in the same run tells machines and their load apart.
The recording is kept in the temporary folder for the next run.
"""

from __future__ import annotations

import gc
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from worker.backtest.run import Run, as_live
from worker.backtest.slices import Slicer
from worker.cli.backtest import GC_THRESHOLDS
from worker.model import Batch, Position, StreamIdentity
from worker.recency import fold
from worker.recordings.files import Files
from worker.rehearsal.memory import Memory
from worker.rules.load import load

LINES_SAMPLED = 20_000
RULES = Path(__file__).parents[2] / "rules"
LATEST_MS = 1 << 45


def recording(count: int, users: int) -> Path:
    """The file of that many events, made when it is not there."""
    path = Path(tempfile.gettempdir()) / f"backtest-{count}-{users}.ndjson"
    if not path.exists():
        part = path.with_suffix(".part")
        # In a process of its own, whose memory is not that of the backtest.
        words = [sys.executable, "-m", "tests.bench.recording", str(part), str(users), str(count)]
        subprocess.run(words, check=True)
        part.rename(path)
    return path


def files(path: Path) -> Files:
    return Files([str(path)], stdin=io.BytesIO(), latest_ms=LATEST_MS)


def json_seconds(path: Path) -> float:
    """CPU seconds of `json.loads` for one event."""
    with path.open("rb") as file:
        lines = [line for _, line in zip(range(LINES_SAMPLED), file, strict=False)]
    begun = time.process_time()
    for line in lines:
        json.loads(line)
    return (time.process_time() - begun) / len(lines)


def reading_seconds(path: Path) -> float:
    """CPU seconds of getting the records and cutting them, for one event."""
    slicer = Slicer()
    begun = time.process_time()
    for _ in slicer.slices(files(path).records()):
        pass
    return (time.process_time() - begun) / slicer.records


def folding_seconds(path: Path) -> float:
    """CPU seconds of folding slices, for one event."""
    slicer, spent = Slicer(), 0.0
    policy = load(RULES).activity
    stream, position = StreamIdentity(name="s", created_ms=0), Position(shard_id="s")
    for slice_ in slicer.slices(files(path).records()):
        batch = Batch(
            stream=stream, position=position, records=tuple(slice_.records), read_through_ms=0
        )
        begun = time.process_time()
        fold(batch, policy)
        spent += time.process_time() - begun
    return spent / slicer.records


def main(count: int, users: int) -> None:
    gc.set_threshold(*GC_THRESHOLDS)  # as the command does
    path = recording(count, users)
    rules = as_live(load(RULES))
    parse_s = json_seconds(path)
    slicer = Slicer()
    run: Run | None = None
    memory = Memory()
    begun = time.process_time()
    for slice_ in slicer.slices(files(path).records()):
        if run is None:
            run = Run("bench", rules, start_ms=slice_.records[0].arrival_ms, memory=memory)
        run.take(slice_)
    assert run is not None
    result = run.finish()
    per_event_s = (time.process_time() - begun) / slicer.records
    parse_s = (parse_s + json_seconds(path)) / 2
    sends = next(figure.value for figure in result.figures if figure.name == "sends")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{slicer.records:,} events of {len(memory.people):,} users, {sends:,} sends")
    print(f"end to end       {per_event_s * 1e6:6.1f} us/event  {1 / per_event_s:10,.0f} events/s")
    for name, seconds in (("reading", reading_seconds(path)), ("folding", folding_seconds(path))):
        print(f"  {name:<14} {seconds * 1e6:6.1f} us/event")
    print(f"json.loads alone {parse_s * 1e6:6.1f} us/event  {per_event_s / parse_s:6.2f} of it")
    print(f"memory at most   {peak_mb:6.0f} MB")


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    main(*(numbers + [1_000_000, 50_000][len(numbers) :]))
