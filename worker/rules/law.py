"""The hours in which the law of a place lets messages be sent: a table, and nothing else. Pure.

The table is law_windows.yaml beside this module, with the source of every line; it is read once.
None of it is legal advice. Rule sets hold these windows after their own unless the files say
`law_windows: ignore`; the strictest window that matches a user holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from worker.rules.document import Node, read_document
from worker.rules.matchers import parse_matcher
from worker.rules.ruleset import QuietHours
from worker.rules.weeks import open_week

FILE = "law_windows.yaml"
KEYS = frozenset({"name", "match", "allow", "source", "since", "note"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LawWindow:
    """One line of the table."""

    window: QuietHours
    source: str
    """The provision, and who says so."""
    since: str = ""
    """Year, month or day from which it holds, when the source tells."""
    note: str = ""
    """What the window does not know, or where sources differ."""


@cache
def law_table() -> Mapping[str, LawWindow]:
    """Every legal window by its name, which is also its `QuietHours.name`."""
    document = read_document(files("worker.rules").joinpath(FILE).read_bytes(), FILE)
    assert document.root is not None, document.problems
    assert not document.problems, document.problems
    lines = [_line(item) for item in document.root.items or ()]
    table = {line.window.name: line for line in lines}
    assert len(table) == len(lines) > 0, "each legal window has a name of its own"
    return table


@cache
def law_windows() -> tuple[QuietHours, ...]:
    """The legal windows, all with `is_law`; the same tuple at every call.

    They match by `country`, which is taken from the phone number where no endpoint names it
    (`facts.match_facts`), by `region` as a code or a name in any case, and by `channel`.
    """
    return tuple(line.window for line in law_table().values())


def _line(item: Node) -> LawWindow:
    said = item.plain()
    assert KEYS >= said.keys() >= {"name", "match", "allow", "source"}, said
    window = QuietHours(
        name=said["name"],
        open_week=open_week(said["allow"]),
        matchers=tuple(parse_matcher(text) for text in said["match"]),
        is_law=True,
    )
    return LawWindow(
        window=window,
        source=said["source"],
        since=said.get("since", ""),
        note=said.get("note", ""),
    )
