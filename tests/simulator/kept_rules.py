"""Rule sets that were compiled before in this Python: reading YAML would be most of a run.

What a folder says is decided by its bytes, and a rule set never changes, so one may serve many
worlds. The worker's own reading is asked for everything that is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from worker.errors import RulesError
from worker.rules import load as loading
from worker.rules.load import Inspection
from worker.rules.ruleset import RuleSet

KEPT_MAX = 3_000

_inspections: dict[bytes, Inspection] = {}
_sets: dict[bytes, RuleSet] = {}


def inspect(folder: Path) -> Inspection:
    """`worker.rules.load.inspect`, once for each content."""
    files = sorted(folder.glob("*.yaml"))
    content = b"\x00".join(file.read_bytes() for file in files)
    known = _inspections.get(content)
    if known is None:
        if len(_inspections) >= KEPT_MAX:
            _inspections.clear()
        known = _inspections[content] = loading.inspect(folder)
    return known


def load(folder: Path) -> RuleSet:
    """`worker.rules.load.load`, once for each content. Raises RulesError."""
    found = inspect(folder).rule_set
    if found is None:
        raise RulesError("the folder is broken")
    return found


def load_contents(contents: Mapping[str, bytes]) -> RuleSet:
    """`worker.rules.load.load_contents`, once for each content."""
    key = b"\x00".join(contents[name] for name in sorted(contents))
    known = _sets.get(key)
    if known is None:
        if len(_sets) >= KEPT_MAX:
            _sets.clear()
        known = _sets[key] = loading.load_contents(contents)
    return known
