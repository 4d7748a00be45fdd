"""Runs every benchmark in a process of its own and counts what is ok and what falls short.

python -m tests.bench.run [--only NAME] [--users USERS]
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

SCALED = (
    "over_http",
    "scale",
    "observed",
    "peers",
    "idle",
    "memory",
    "restart",
    "size",
    "stall",
)
"""Those whose first argument is how many users there are."""
OTHERS = ("reading", "ingest", "sweep", "sending", "backtest")
SECONDS_MAX = 900
GIB = 1 << 30


def machine() -> str:
    """What it runs on, without its name."""
    processor = platform.processor() or platform.machine()
    told = Path("/proc/cpuinfo")
    if told.exists():
        lines = told.read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = models[0] if models else processor
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    load = os.getloadavg()[0]
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} "
        f"{kernel}, Python {platform.python_version()}, SQLite "
        f"{sqlite3.sqlite_version}; load {load:.1f} before the start"
    )


def lines_of(name: str, arguments: list[str]) -> list[str]:
    """What a benchmark prints, shown as it comes. One that fails is told and counts as short."""
    words = [sys.executable, "-m", f"tests.bench.{name}", *arguments]
    printed: list[str] = []
    begun = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                print(line, end="", flush=True)
                printed.append(line.rstrip())
                if time.monotonic() - begun > SECONDS_MAX:
                    break
        finally:
            if child.poll() is None:
                try:
                    child.wait(SECONDS_MAX)
                except subprocess.TimeoutExpired:
                    child.kill()
    if child.returncode:
        failed = f"{name:<34} {'did not run':>18}  {'':>6}  {'':>6}  short"
        print(failed, flush=True)
        printed.append(failed)
    return printed


def main() -> int:
    """1 when a line falls short."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--only", default="", choices=["", *SCALED, *OTHERS])
    parser.add_argument("--users", type=int, default=1_000_000)
    given = parser.parse_args()
    print(f"{machine()}\n")
    print(f"{'name':<34} {'measured':>18}  {'ratio':>6}  {'goal':>6}", flush=True)
    begun = time.monotonic()
    lines: list[str] = []
    for name in (*OTHERS, *SCALED):
        if given.only in ("", name):
            lines += lines_of(name, [str(given.users)] if name in SCALED else [])
    ok = sum(line.endswith("  ok") for line in lines)
    short = sum(line.endswith("  short") for line in lines)
    minutes = (time.monotonic() - begun) / 60
    print(f"\n{ok} ok, {short} short, {minutes:.0f} minutes, {given.users:,} users")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
