"""What others spend on the same events: CPU per event of theirs against the worker's, in one run.

async-kinesis and a plain aiobotocore loop read the same canned Kinesis as the worker does. Bytewax,
Quix Streams and Faust are no Kinesis readers: they get the events from memory, without broker and
changelog, which flatters them; the worker's side is always the whole way from the socket to the
durable state. They live in an environment of their own, made when it is not there.

    python -m tests.bench.peers [USERS]
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.canned import PAGES_ENOUGH, Events, canned
from tests.bench.engine import opened
from tests.bench.line import report_share
from tests.bench.over_http import ACTIVE_USERS, SHARDS, round_us, warmed
from tests.bench.recording import START_MS
from tests.bench.state import FOLDER, copy

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "peer_programs"
ENVIRONMENT = ROOT / ".venv" / "peers"
PACKAGES = (
    "async-kinesis==3.0.1",
    "bytewax==0.21.1",
    "faust-streaming==0.15.3",
    "quixstreams==3.28.1",
)
RECORDS = 40_000
PEER_SECONDS_MAX = 90
GOAL_ASYNC_KINESIS, GOAL_PLAIN_LOOP, GOAL_FRAMEWORKS = 6.0, 5.0, 1.0


def interpreter() -> Path | None:
    """The Python that has the peers; None when they cannot be installed here."""
    python = ENVIRONMENT / "bin" / "python"
    marker = ENVIRONMENT / ".ready"
    if not marker.exists():
        print("peers: installing (once) ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*pip, *PACKAGES], check=False).returncode:
            return None
        marker.touch()
    return python


def cost_us(
    python: Path, program: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> float | None:
    """Microseconds of CPU an event; None, and a line that says why, when the peer did not do it."""
    words = [str(python), str(PROGRAMS / program), *arguments]
    try:
        done = subprocess.run(
            words,
            env={**os.environ, **environment},
            capture_output=True,
            timeout=PEER_SECONDS_MAX,
            check=True,
        )
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", b"") or b""
        print(f"peers: {program} did not run: {error} {said[-300:].decode(errors='replace')}")
        return None
    told = json.loads(done.stdout.splitlines()[-1])
    return float(told["cpu_s"]) / int(told["records"]) * 1e6


def plain_state(original: Path, path: Path) -> None:
    """The same users in a plain table, for the plain loop."""
    connection = sqlite3.connect(path)
    connection.execute("ATTACH ? AS original", (f"file:{original}?mode=ro",))
    connection.execute(
        "CREATE TABLE users (user_id TEXT PRIMARY KEY, last_active_ms INTEGER) WITHOUT ROWID"
    )
    connection.execute(
        "INSERT INTO users SELECT user_id, last_active_ms FROM original.users ORDER BY user_id"
    )
    connection.commit()
    connection.close()


def write_events(path: Path, users: int) -> None:
    """What the frameworks get: as many events of as many active users."""
    events, chance = Events(), random.Random(1)
    active = min(users, ACTIVE_USERS)
    path.write_bytes(
        b"\n".join(
            events.of(chance.randrange(active) * (users // active), START_MS + number)
            for number in range(RECORDS)
        )
    )


async def contested(
    path: Path,
    environment: Mapping[str, str],
    active: int,
    contests: Sequence[tuple[str, Callable[[], float | None], float]],
) -> tuple[float, list[tuple[str, float, float]]]:
    """What the worker spends, in rounds between the others; name, cost and goal of each of them."""
    ours: list[float] = []
    theirs: list[tuple[str, float, float]] = []
    async with opened(path) as store:
        await warmed(store, environment, active)
        for name, measure, goal in contests:
            ours.append((await round_us(store, environment))[0])
            if (cost := measure()) is not None:
                theirs.append((name, cost, goal))
    return median(ours), theirs


def main(users: int) -> None:
    python = interpreter()
    if python is None:
        print("peers: cannot be installed here (no package index); nothing was measured")
        return
    active = min(users, ACTIVE_USERS)
    stream = canned(shards=SHARDS, pages=PAGES_ENOUGH, users=users, active=active)
    with (
        stream as environment,
        copy(users) as original,
        TemporaryDirectory(dir=FOLDER) as temporary,
    ):
        folder = Path(temporary)
        events, plain = folder / "events.ndjson", folder / "plain.db"
        write_events(events, users)
        plain_state(original, plain)

        def peer(program: str, *arguments: str) -> Callable[[], float | None]:
            return lambda: cost_us(python, program, arguments, environment)

        contests = (
            ("async-kinesis, a dict", peer("async_kinesis.py", str(RECORDS)), GOAL_ASYNC_KINESIS),
            (
                "plain loop, upserts per page",
                peer("plain_loop.py", str(RECORDS), str(plain)),
                GOAL_PLAIN_LOOP,
            ),
            ("Bytewax, from memory", peer("bytewax_flow.py", str(events)), GOAL_FRAMEWORKS),
            ("Quix Streams, state alone", peer("quix_flow.py", str(events)), GOAL_FRAMEWORKS),
            ("Faust agent, from memory", peer("faust_agent.py", str(events)), GOAL_FRAMEWORKS),
        )
        ours, theirs = asyncio.run(contested(original, environment, active, contests))
    for name, cost, goal in theirs:
        report_share(f"peer: {name}", f"{cost:.1f} us/event", cost / ours, goal)


if __name__ == "__main__":
    main(*([int(text) for text in sys.argv[1:]] or [1_000_000]))
