"""Rules for the product's source that no linter of ours knows: one clock, small pieces, a preface.

Each rule is a function from source text to complaints, and is shown a bad example of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).resolve().parents[2]

Rule: TypeAlias = Callable[[str], Iterator[tuple[int, str]]]
"""Source text to (line, complaint)."""

LINES_PER_FILE_MAX = 400
LINES_PER_FUNCTION_MAX = 70
LONG_FOR_A_REASON = {
    "worker/model.py": "the vocabulary: values without behaviour, read as one list",
}
"""Files that were looked at hard and stay in one piece."""

# --- one clock --------------------------------------------------------------------------------

_NOW = "take now_ms as a parameter, or ask the Clock port"
_LATER = "wait with Clock.sleep, which a test can turn"
_CHANCE = "derive it from a stable hash of what it is for"

REPLACEMENTS: Mapping[str, str] = {
    "datetime.datetime.now": _NOW,
    "datetime.datetime.utcnow": _NOW,
    "datetime.datetime.today": _NOW,
    "datetime.date.today": _NOW,
    "time.time": _NOW,
    "time.time_ns": _NOW,
    "time.gmtime": _NOW,
    "time.localtime": _NOW,
    "time.monotonic": "ask the Clock port for monotonic()",
    "time.monotonic_ns": "ask the Clock port for monotonic()",
    "time.perf_counter": "ask the Clock port for monotonic()",
    "time.perf_counter_ns": "ask the Clock port for monotonic()",
    "time.sleep": _LATER,
    "asyncio.sleep": _LATER,
    "random.*": _CHANCE,
    "secrets.*": _CHANCE,
    "uuid.*": _CHANCE,
    "os.urandom": _CHANCE,
}
"""What reads a clock, waits or draws, and what to write instead."""

CLOCK_MAY_BE_READ_IN = ("worker/clock.py", "worker/sandbox/*")


def clock_and_chance(source: str) -> Iterator[tuple[int, str]]:
    """Uses of a clock or of chance, called or only named: `timer=time.monotonic` is one too."""
    tree = ast.parse(source)
    full_names = dict(_imported_names(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr) or (name := _dotted(node)) is None:
            continue
        head, dot, rest = name.partition(".")
        full = full_names.get(head, "?") + dot + rest
        for pattern, replacement in REPLACEMENTS.items():
            if fnmatchcase(full, pattern):
                yield node.lineno, f"{full}: {replacement}"


def _imported_names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (name, name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value)):
        return f"{base}.{node.attr}"
    return None


# --- size and preface -------------------------------------------------------------------------


def file_size(source: str) -> Iterator[tuple[int, str]]:
    """Files that are too long to be one idea."""
    lines = len(source.splitlines())
    if lines > LINES_PER_FILE_MAX:
        yield 1, f"{lines} lines; split by idea above {LINES_PER_FILE_MAX}"


def function_size(source: str) -> Iterator[tuple[int, str]]:
    """Functions that are too long to be one idea."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LINES_PER_FUNCTION_MAX:
                yield node.lineno, f"{node.name} has {length} lines of {LINES_PER_FUNCTION_MAX}"


def preface(source: str) -> Iterator[tuple[int, str]]:
    """Modules that do not say what they are."""
    if not ast.get_docstring(ast.parse(source)):
        yield 1, "no module docstring: what is it, what must it not do, where does data come from?"


def complaints(rule: Rule, but_in: tuple[str, ...] = ()) -> list[str]:
    """What `rule` finds in worker/, except in files that fit a pattern of `but_in`."""
    found = []
    for path in sorted((ROOT / "worker").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not any(fnmatchcase(name, pattern) for pattern in but_in):
            found += [f"{name}:{line}: {text}" for line, text in rule(path.read_text())]
    return found


def test_only_the_clock_and_the_sandbox_read_a_clock_wait_or_draw() -> None:
    assert complaints(clock_and_chance, CLOCK_MAY_BE_READ_IN) == []


def test_no_file_is_too_long_without_a_reason() -> None:
    assert complaints(file_size, tuple(LONG_FOR_A_REASON)) == []


def test_no_reason_outlives_its_long_file() -> None:
    assert {found.partition(":")[0] for found in complaints(file_size)} >= set(LONG_FOR_A_REASON)


def test_no_function_is_too_long() -> None:
    assert complaints(function_size) == []


def test_every_module_says_what_it_is() -> None:
    assert complaints(preface) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from datetime import datetime\ndatetime.now()", "datetime.datetime.now"),
        ("import datetime as dt\ndt.datetime.now(dt.UTC)", "datetime.datetime.now"),
        ("from datetime import date\ndate.today()", "datetime.date.today"),
        ("import time\nf(timer=time.monotonic)", "time.monotonic"),
        ("from time import time as now\nnow()", "time.time"),
        ("import asyncio\nasync def f():\n    await asyncio.sleep(1)", "asyncio.sleep"),
        ("import random\nrandom.Random(1)", "random.Random"),
        ("from uuid import uuid4\nuuid4()", "uuid.uuid4"),
        ("import os\nos.urandom(8)", "os.urandom"),
    ],
)
def test_a_use_of_clock_or_chance_is_found_under_any_name(source: str, found: str) -> None:
    ((_, text),) = clock_and_chance(source)
    assert text.startswith(f"{found}: ")


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime\ndatetime.fromtimestamp(0)",
        "async def f(clock):\n    await clock.sleep(1)",
        "def f(random):\n    return random.choice",
        "import asyncio\nasyncio.timeout(3)",
    ],
)
def test_what_only_sounds_like_a_clock_is_let_be(source: str) -> None:
    assert list(clock_and_chance(source)) == []


def test_a_file_may_have_as_many_lines_as_the_limit_and_not_one_more() -> None:
    assert list(file_size("x = 1\n" * LINES_PER_FILE_MAX)) == []
    assert list(file_size("x = 1\n" * (LINES_PER_FILE_MAX + 1))) == [
        (1, "401 lines; split by idea above 400")
    ]


def test_a_function_may_have_as_many_lines_as_the_limit_and_not_one_more() -> None:
    body = "    x = 1\n" * (LINES_PER_FUNCTION_MAX - 1)
    assert list(function_size(f"async def fits():\n{body}")) == []
    assert list(function_size(f"class A:\n def long(self):\n{body}    x = 2\n")) == [
        (2, "long has 71 lines of 70")
    ]


def test_a_module_without_docstring_is_found() -> None:
    assert len(list(preface("x = 1"))) == 1
    assert list(preface('"""What it is."""')) == []
