"""A local stream as a recording, read by the real program over the wire."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.rehearsal.backtest_world import history, rules_in
from worker.sandbox.kinesis import KinesisServer, wall_clock_ms

STREAM = "recorded"
PUT_SECONDS = 600


class Then:
    """A clock that ticks with every record put, some minutes ago, and then is right."""

    def __init__(self) -> None:
        self.at_ms: int | None = wall_clock_ms() - PUT_SECONDS * 1_000

    def __call__(self) -> int:
        return wall_clock_ms() if self.at_ms is None else self.at_ms


async def backtest(*words: str, url: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "backtest", *words),
        env={
            **os.environ,
            "AWS_ENDPOINT_URL_KINESIS": url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_local_stream_of_several_shards_gives_what_the_file_of_its_events_gives(
    tmp_path: Path,
) -> None:
    rules = rules_in(tmp_path / "rules")
    told = [data for _, data in history(3)]
    (tmp_path / "file").write_bytes(b"\n".join(told))
    clock = Then()
    server = KinesisServer(now_ms=clock)
    url = await server.start()
    try:
        stream = server.create_stream(STREAM, shards=3)
        for number, data in enumerate(told):
            assert clock.at_ms is not None
            clock.at_ms += 10
            stream.put(data, partition_key=f"key-{number % 17}", now_ms=clock.at_ms)
        clock.at_ms = None
        words = ["--rules", str(rules), "--json", "-"]
        code, of_stream, err = await backtest(f"kinesis:{STREAM}", *words, url=url)
        assert code == 0, err
        code, of_file, err = await backtest(str(tmp_path / "file"), *words, url=url)
        assert code == 0, err
        code, _, err = await backtest("kinesis:nowhere", *words, url=url)
    finally:
        await server.stop()
    assert json.loads(of_stream)["results"] == json.loads(of_file)["results"]
    assert json.loads(of_stream)["reading"]["records"] == len(told)
    assert code == 78
    assert "nowhere" in err
    assert "Traceback" not in err
