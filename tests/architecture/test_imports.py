"""Who may import whom. `LAYERS` is the whole rule; ARCHITECTURE.md draws the same picture.

A module belongs to the layer whose pattern fits it. It may import its own layer, the layers listed,
and `worker` itself (the version); of foreign packages anything but those named in `never`. Imports
inside functions and under TYPE_CHECKING count too: a dependency of types is a dependency.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

AWS = frozenset({"aiobotocore", "botocore"})
STATE = frozenset({"sqlite3", "faust", "aiokafka"})
WATCHING = frozenset({"structlog", "logging", "prometheus_client"})
OUTSIDE = frozenset(
    {"aiohttp", "socket", "subprocess", "threading", "concurrent", "multiprocessing"}
)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """`modules`: patterns of names without `worker.`; `may_import`: layers; both words in a line.

    `never`: foreign packages this layer must do without.
    """

    modules: str
    may_import: str = ""
    never: frozenset[str] = frozenset()


LAYERS: Mapping[str, Layer] = {
    # Pure and synchronous: data in, decision out.
    "core": Layer(
        modules="model faces drafts errors events event_* recency addresses countries ladder guards"
        " guards_* gunzip caps holds lazily lifetimes openings situation moment quiet money pace"
        " shares silences retry receipts rules rules.*",
        never=frozenset({"asyncio"}) | AWS | STATE | WATCHING | OUTSIDE,
    ),
    "ports": Layer(
        modules="ports",
        may_import="core",
        never=AWS | STATE | WATCHING | OUTSIDE,
    ),
    "clock": Layer(
        modules="clock",
        may_import="core ports",
        never=AWS | STATE | WATCHING | OUTSIDE,
    ),
    "instruments": Layer(
        modules="metrics logs health observe",
        may_import="core ports",
        # A thread's last words are for the log, too.
        never=AWS | STATE | (OUTSIDE - {"threading"}),
    ),
    # Adapters: each fills a port, none knows of another. What they count, the loops count.
    "kinesis": Layer(
        modules="kinesis kinesis.*",
        may_import="core ports",
        never=STATE | {"prometheus_client"},
    ),
    "store": Layer(
        modules="store store.*",
        may_import="core ports",
        never=AWS | {"aiohttp", "prometheus_client"},
    ),
    "senders": Layer(
        modules="senders senders.*",
        may_import="core ports",
        never=STATE | {"prometheus_client"},
    ),
    # The loops join ports; which adapter fills one they cannot know.
    "loops": Layer(
        modules="ingest outbox packing pauses reload",
        may_import="core ports instruments",
        never=AWS | STATE | OUTSIDE,
    ),
    "web": Layer(
        modules="web",
        may_import="core ports instruments",
        never=AWS | STATE,
    ),
    "settings": Layer(
        modules="settings",
        may_import="core",
        never=AWS | STATE | WATCHING | OUTSIDE,
    ),
    "app": Layer(
        modules="app channels",
        may_import="core ports clock instruments kinesis store senders loops web settings",
    ),
    # The core in virtual time: rule tests, backtests, plans. The state it needs is its own.
    "rehearsal": Layer(
        modules="rehearsal rehearsal.*",
        may_import="core ports",
        never=AWS | STATE | WATCHING | OUTSIDE,
    ),
    "ruletests": Layer(
        modules="ruletests ruletests.*",
        may_import="core ports rehearsal",
        never=AWS | STATE | WATCHING | OUTSIDE,
    ),
    "backtest": Layer(
        modules="backtest backtest.*",
        may_import="core ports rehearsal",
        never=AWS | STATE | WATCHING | OUTSIDE,
    ),
    # Recorded events: files, and a stream that is read to its end.
    "recordings": Layer(
        modules="recordings recordings.*",
        may_import="core ports clock kinesis",
        never=STATE | {"prometheus_client"},
    ),
    # Address books in files and in S3. What is written of them the store decides.
    "imports": Layer(
        modules="imports imports.*",
        may_import="core ports",
        never=STATE | {"prometheus_client"},
    ),
    # Asks of everything whether it is in place; changes nothing.
    "doctor": Layer(
        modules="doctor doctor.*",
        may_import="core ports clock settings kinesis store senders",
        never=WATCHING,
    ),
    "cli": Layer(
        modules="cli cli.*",
        may_import="core ports clock instruments store settings rehearsal ruletests backtest"
        " recordings imports app doctor",
        never=AWS,
    ),
    "main": Layer(modules="__main__", may_import="cli"),
    # Beside the product: doubles for tests, and a local AWS. Nothing above may need them.
    "testing": Layer(
        modules="testing",
        may_import="core ports senders",
        never=AWS | STATE | OUTSIDE,
    ),
    "sandbox": Layer(
        modules="sandbox sandbox.*",
        may_import="core settings",
    ),
}


def tree_of(root: Path) -> dict[str, str]:
    """Module name to source, of everything under worker/."""
    tree = {}
    for path in sorted((root / "worker").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        tree[name] = path.read_text()
    return tree


def imports_of(source: str, modules: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Line and full name of every import; `from worker.x import y` is y's module if y is one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in modules else base


def layers_of(module: str) -> list[str]:
    """The layers a module of ours belongs to: exactly one, if the table is right."""
    name = module.removeprefix("worker.")
    return [
        layer
        for layer, rule in LAYERS.items()
        if any(fnmatchcase(name, pattern) for pattern in rule.modules.split())
    ]


def complaints(tree: Mapping[str, str]) -> list[str]:
    """Everything in the tree that breaks the contract, one line each."""
    found: list[str] = []
    for module, source in tree.items():
        if module == "worker":
            continue
        layers = layers_of(module)
        if len(layers) != 1:
            found.append(f"{module} is in {layers or 'no layer'}: give it one in LAYERS")
            continue
        for line, target in imports_of(source, tree):
            problem = _problem(layers[0], target)
            if problem:
                found.append(f"{module}:{line} imports {target}: {problem}")
    return found


def _problem(layer: str, target: str) -> str | None:
    rule = LAYERS[layer]
    package = target.partition(".")[0]
    if package == "":
        return "write the full name, worker.…"
    if package != "worker":
        return f"{layer} must do without {package}" if package in rule.never else None
    allowed = {layer, *rule.may_import.split()}
    if target == "worker" or allowed & set(layers_of(target)):
        return None
    return f"{layer} may import {', '.join(sorted(allowed))}"


def test_every_import_in_the_worker_keeps_the_contract() -> None:
    assert complaints(tree_of(ROOT)) == []


def test_every_layer_names_layers_that_exist() -> None:
    assert {name for rule in LAYERS.values() for name in rule.may_import.split()} <= set(LAYERS)


def test_the_core_is_kept_pure() -> None:
    assert complaints({"worker.ladder": "import asyncio\nfrom botocore.exceptions import X"}) == [
        "worker.ladder:1 imports asyncio: core must do without asyncio",
        "worker.ladder:2 imports botocore.exceptions: core must do without botocore",
    ]


def test_an_adapter_that_imports_another_is_found_also_inside_a_function() -> None:
    source = "def late():\n    from worker.store import sqlite\n"
    tree = {"worker.kinesis.source": source, "worker.store.sqlite": ""}
    (found,) = complaints(tree)
    assert found.startswith("worker.kinesis.source:2 imports worker.store.sqlite: ")
    assert found.endswith("kinesis may import core, kinesis, ports")


def test_a_forbidden_module_is_found_however_it_is_imported() -> None:
    for statement in (
        "import worker.app",
        "import worker.app as a",
        "from worker import app",
        "from worker.app import run",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from worker.app import run",
    ):
        (found,) = complaints({"worker.outbox": statement, "worker.app": ""})
        assert "imports worker.app: loops may import" in found


def test_app_and_cli_and_sandbox_and_testing_are_at_the_top() -> None:
    importers = {
        upper: {name for name, rule in LAYERS.items() if upper in rule.may_import.split()}
        for upper in ("app", "cli", "sandbox", "testing")
    }
    assert importers == {"app": {"cli"}, "cli": {"main"}, "sandbox": set(), "testing": set()}


def test_a_relative_import_is_refused() -> None:
    (found,) = complaints({"worker.kinesis.source": "from .shards import Shard"})
    assert "imports .shards: write the full name" in found


def test_a_module_that_nobody_placed_is_refused() -> None:
    assert complaints({"worker.utils": ""}) == [
        "worker.utils is in no layer: give it one in LAYERS"
    ]
