"""Runs every ring of tests on every core: the last step of `make test`.

Arguments are handed on to pytest, so `tests/run.py tests/core -k quiet` runs a part. What was left
out for want of a program is told by tests/conftest.py as the last lines of the output.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Returns pytest's exit code. `worksteal` evens out rings whose tests differ a thousandfold;
    a failed comparison is shown whole, for a list of complaints is worth nothing when cut."""
    os.chdir(ROOT)
    cores = ["-n", "auto", "--dist", "worksteal"]
    return pytest.main(["-q", *cores, "-o", "verbosity_assertions=2", *arguments])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
