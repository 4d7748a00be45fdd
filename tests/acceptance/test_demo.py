"""`make demo`, as a newcomer runs it."""

from __future__ import annotations

import asyncio
import sys

import pytest


@pytest.mark.slow
async def test_the_demo_ends_well_by_its_own_checks() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker.sandbox.demo",
        "--users",
        "600",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    assert "a day is a second here: push after 7 s of silence" in text
    assert "state:" not in text, "the folder is gone when the demo is over"
    assert "BROKEN" not in text
    assert text.count("ok ") >= 6
    assert "the episode ends as returned" in text
