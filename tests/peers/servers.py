"""The independent servers the tests run against, started on free ports: moto, which is a package of
this environment, for SES, and for Kinesis two that are fetched once.

kinesis-local (kinesis-mock) is right about resharding; kinesalite is fast and different: it never
names child shards and is strict about sequence numbers. Versions and digests are in
package-lock.json; `npm ci` puts them under .cache/peers. Whether node and npm are there at all is
asked by tests/conftest.py. To renew the lock file:
`npm install --omit-lockfile-registry-resolved` in this folder, and take its "funding" entries out:
a lock holds names, versions and digests, no address.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache" / "peers"
FETCH_SECONDS_MAX = 300
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 10
SHARDS_MAX = 1_000
"""Shards of all streams of one server; kinesalite gives 10 and kinesis-local 50 when not asked."""


def modules() -> Path:
    """The node_modules folder the lock file describes, fetched when it is not there yet.

    Safe to call from several processes at once: one fetches, the others wait.
    """
    lock_bytes = (HERE / "package-lock.json").read_bytes()
    folder = CACHE / hashlib.sha256(lock_bytes).hexdigest()[:12]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "fetching.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _fetch(folder)
    return folder / "node_modules"


def _fetch(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder / name)
    # leveldown's install script would build a disk store; both servers keep everything in memory.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(
            command, cwd=folder, check=True, timeout=FETCH_SECONDS_MAX, capture_output=True
        )
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"npm ci failed in {folder}:\n{error.stderr.decode()}") from error
    (folder / "complete").touch()


def _kinesis_local(port: int) -> tuple[list[str], Mapping[str, str]]:
    package = modules() / "kinesis-local"
    durations = ("CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS")
    return ["node", str(package / "main.js")], {
        # Without a certificate it ends at once, though nobody uses its TLS port.
        "KINESIS_MOCK_CERT_PATH": str(package / "server.json"),
        "KINESIS_MOCK_TLS_PORT": str(_free_port()),
        "KINESIS_MOCK_PLAIN_PORT": str(port),
        "SHARD_LIMIT": str(SHARDS_MAX),
        "LOG_LEVEL": "WARN",
        **{f"{name}_DURATION": "20ms" for name in durations},
    }


def _kinesalite(port: int) -> tuple[list[str], Mapping[str, str]]:
    package = modules() / "kinesalite"
    # Its command line cannot be told to stay on loopback.
    script = (
        f"require({str(package)!r})({{shardLimit: {SHARDS_MAX}, createStreamMs: 20,"
        f" deleteStreamMs: 20, updateStreamMs: 20}}).listen({port}, '127.0.0.1')"
    )
    return ["node", "--eval", script], {}


def _moto(port: int) -> tuple[list[str], Mapping[str, str]]:
    return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], {}


_COMMANDS: Mapping[str, Callable[[int], tuple[list[str], Mapping[str, str]]]] = {
    "kinesis-local": _kinesis_local,
    "kinesalite": _kinesalite,
    "moto": _moto,
}


@contextmanager
def running(name: str) -> Generator[str]:
    """Starts the named server and yields its endpoint URL; ends it by its pid."""
    port = _free_port()
    command, environment = _COMMANDS[name](port)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output
        )
        try:
            _wait_until_open(name, port, process, output)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_open(
    name: str, port: int, process: subprocess.Popen[bytes], output: IO[bytes]
) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    output.seek(0)
    said = output.read()[-2_000:].decode(errors="replace")
    raise RuntimeError(f"{name} does not answer on port {port}; it said:\n{said}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
