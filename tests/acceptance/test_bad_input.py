"""What a person sees when something is wrong: one clear message, the right code, nothing lost."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from pathlib import Path

import pytest

from tests.acceptance.world import address, now_ms, until, world

BAD_RULES = """
apiVersion: v1
rules:
  - rule: winback
    inactve_for: 7d
    mode: alive
    match: ['plan==premium']
    stages:
      - {name: push, channel: psuh, message: {title: t, body: b}}
      - {name: push, channel: email, message: {subject: s, text: "{{ User.Nme }}"}}
    mode: live
"""


async def test_a_rules_folder_with_five_kinds_of_mistakes_names_each_with_its_place(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, rules=BAD_RULES) as one:
        code, output = await one.command("check", str(one.rules))
        assert code == 1
        file = str(one.rules / "rules.yaml")
        expected = {
            5: "inactve_for",  # unknown key, with the nearest name
            6: "alive",  # wrong value
            7: "plan==premium",  # bad matcher
            9: "psuh",  # wrong channel
            10: "push",  # a name used twice, and no wait
            11: "mode",  # duplicate key
        }
        for line, word in expected.items():
            told = [t for t in output.splitlines() if t.startswith(f"{file}:{line}:")]
            assert any(word in text for text in told), f"line {line} is not told:\n{output}"
        assert 'did you mean "inactive_for"' in output

        worker = one.start()
        assert await asyncio.to_thread(worker.process.wait, 20) == 78
        assert f"{file}:5:" in worker.log_text()
        assert "Traceback" not in worker.log_text()


async def test_good_rules_are_told_to_be_good(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        code, output = await one.command("check", str(one.rules))
        assert code == 0
        assert "winback (live): push -> email -> sms" in output


async def test_a_stream_that_does_not_exist(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        worker = one.start(COMEBACK_STREAM="evnts")
        assert await asyncio.to_thread(worker.process.wait, 20) == 78
        text = worker.log_text()
        assert "evnts" in text
        assert "eu-west-1" in text
        assert "Traceback" not in text


async def test_settings_that_are_missing_or_misspelt(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        code, output = await one.command("run", COMEBACK_STREAM="", COMEBACK_POL_INTERVAL="1s")
        assert code == 78
        assert "COMEBACK_POL_INTERVAL is not a setting" in output
        code, output = await one.command("run", COMEBACK_STREAM="")
        assert code == 78
        assert "COMEBACK_STREAM is not set" in output


async def test_a_state_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await asyncio.to_thread((await one.start_ready()).stop)
        connection = sqlite3.connect(one.state)
        connection.execute("PRAGMA user_version = 999")
        connection.close()
        before = one.state.read_bytes()
        worker = one.start()
        assert await asyncio.to_thread(worker.process.wait, 20) == 78
        assert "999" in worker.log_text()
        assert one.state.read_bytes() == before
        code, output = await one.command("state")
        assert code == 78
        assert "999" in output


async def test_a_damaged_state_file_is_left_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        one.state.write_bytes(b"this is no database" * 400)
        worker = one.start()
        assert await asyncio.to_thread(worker.process.wait, 20) == 78
        assert "Traceback" not in worker.log_text()
        assert "comeback.db" in worker.log_text()
        assert one.state.read_bytes().startswith(b"this is no database")


async def test_a_state_file_in_use_names_its_holder(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        holder = await one.start_ready()
        code, output = await one.command("run", COMEBACK_STANDBY="false", COMEBACK_HTTP=":0")
        assert code == 75
        assert f"pid {holder.process.pid}" in output


async def test_there_is_no_state_yet(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        for command in (("state",), ("explain", "u")):
            code, output = await one.command(*command)
            assert code == 2
            assert "no state file" in output


async def test_an_unknown_user(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.start_ready()
        code, output = await one.command("explain", "nobody")
        assert code == 1
        assert "nobody: nothing is known" in output


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.start_ready()
        code, output = await one.command("run", COMEBACK_STATE=str(tmp_path / "other.db"))
        assert code == 78
        assert "COMEBACK_HTTP" in output


@pytest.mark.parametrize("seed", [1, 2])
async def test_records_of_random_bytes_are_kept_and_stop_nobody(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with world(tmp_path) as one:
        await one.start_ready()
        for number in range(300):
            rubbish = chance.randbytes(chance.randrange(0, 400))
            one.stream.put(rubbish, partition_key=str(number), now_ms=now_ms())
        one.stream.put(b"[" * 100_000, partition_key="deep", now_ms=now_ms())
        one.stream.put(os.urandom(900_000), partition_key="large", now_ms=now_ms())
        one.visit("u", "GCM")
        await until(lambda: one.channels_of(address("u", "GCM")), "the user after them is served")
        dead = (await one.state_json())["dead_letters"]
        assert sum(dead.values()) >= 290, "an empty record or a lucky number may be no letter"
        code, output = await one.command("state", "--dead-letters", "3")
        assert code == 0
        assert "last dead letters" in output
