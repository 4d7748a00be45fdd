"""What tests/conftest.py promises to every other test, shown by running pytest inside pytest."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent

TWO_TESTS = """
import pytest

@pytest.mark.peer("kinesalite")
def test_with_a_peer():
    pass

def test_without():
    pass
"""


def run_pytest(
    folder: Path, source: str, *arguments: str, path: str, ci: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs one test file under our conftest, with `path` as PATH."""
    shutil.copy(TESTS / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  peer(name): a peer\n")
    (folder / "test_inner.py").write_text(source)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={"PATH": path, "CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_missing_program_leaves_only_its_peer_out_and_says_so_last(
    tmp_path: Path, workers: str
) -> None:
    run = run_pytest(tmp_path, TWO_TESTS, "-n", workers, path=os.devnull)
    assert run.returncode == 0, run.stdout
    *_, summary, _, _, _, last = run.stdout.splitlines()
    assert summary.startswith("1 passed, 1 skipped")
    assert last == "  kinesalite: install node and npm  (1 tests)"


def test_in_ci_a_missing_program_is_a_failure(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, TWO_TESTS, path=os.devnull, ci="true")
    assert run.returncode == 1
    assert "kinesalite needs node and npm, not found on PATH; CI leaves nothing out" in run.stdout


def test_a_peer_whose_programs_are_there_is_run(tmp_path: Path) -> None:
    for program in ("node", "npm"):
        (tmp_path / program).touch(mode=0o755)
    run = run_pytest(tmp_path, TWO_TESTS, path=str(tmp_path), ci="true")
    assert run.returncode == 0, run.stdout
    assert "LEFT OUT" not in run.stdout


def test_a_misspelt_peer_is_a_failure(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, TWO_TESTS.replace("kinesalite", "kinesalight"), path=os.devnull)
    assert run.returncode == 1
    assert "'kinesalight' is not in PEER_PROGRAMS" in run.stdout


def test_a_failure_names_the_seed_that_replays_it(tmp_path: Path) -> None:
    source = "def test_bad() -> None:\n    assert False\n"
    run = run_pytest(tmp_path, source, "-p", "randomly", "-p", "no:cacheprovider", path=os.devnull)
    replay = run.stdout.splitlines()[-1]
    assert replay.startswith("replay: .venv/bin/pytest --randomly-seed=")
    assert replay.endswith("'test_inner.py::test_bad'")


BEYOND = "192.0.2.1"  # TEST-NET-1: promised to be nobody


def test_a_connection_beyond_this_machine_fails_the_test() -> None:
    with socket.socket() as one, pytest.raises(pytest.fail.Exception, match="only loopback"):
        one.connect((BEYOND, 9))


def test_a_datagram_beyond_this_machine_fails_the_test() -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        pytest.raises(pytest.fail.Exception, match="only loopback"),
    ):
        one.sendto(b"", (BEYOND, 9))


@pytest.mark.parametrize("host", [BEYOND, "kinesis.invalid"])
async def test_asyncio_cannot_leave_this_machine_either(host: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="only loopback"):
        await asyncio.open_connection(host, 9)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_loopback_is_open(host: str) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(host, server.sockets[0].getsockname()[1])
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()


def test_the_environment_of_the_machine_does_not_reach_a_test() -> None:
    assert [name for name in os.environ if name.startswith("COMEBACK_")] == []
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "testing"
