"""What an import found and did, for people and for machines. Pure; holds no address and no id."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from worker.imports.findings import MADE_OF, PASSED_OVER, Findings, Place

FILES_NAMED_MAX: Final = 20
"""Of each kind in the text; machines get all."""

_CHANGES: Final = {
    "new": "new endpoints",
    "changed": "endpoints with newer facts",
    "same": "endpoints as they were known",
    "forgotten": "endpoints of people who were erased, not taken",
    "users_merged": "users known by an endpoint only, who have their user id now",
    "users_first_seen": "users who count as last seen at their EffectiveDate",
    "episodes_returned": "ladders ended: EffectiveDate is after the silence began",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """One run of `comeback import`."""

    state: str
    mode: str
    """`alone`, `beside` a worker, or `dry`."""
    last_seen: bool
    files: Sequence[str]
    """Those named, in the order of their numbers in places."""
    known: Sequence[str]
    """Those an earlier run had taken to their end."""
    continued: Sequence[str]
    broken: Sequence[tuple[str, str]]
    """File and fault."""
    lines: int
    changes: Mapping[str, int]
    """The fields of `store.importing.Written`."""
    findings: Findings
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def passed_over(self) -> int:
        """Lines that became no endpoint."""
        return sum(self.findings.count(oddity) for oddity in PASSED_OVER)

    def _place(self, place: Place) -> str:
        number, line = place
        return f"{self.files[number]}:{line}"

    def as_json(self) -> str:
        """Everything, as a JSON object."""
        document: dict[str, Any] = {
            "state": self.state,
            "mode": self.mode,
            "last_seen": "effective-date" if self.last_seen else None,
            "files": len(self.files),
            "files_known": list(self.known),
            "files_continued": list(self.continued),
            "files_broken": [{"file": name, "fault": fault} for name, fault in self.broken],
            "lines": self.lines,
            "lines_passed_over": self.passed_over,
            "endpoints": dict(self.changes),
            "findings": [
                {
                    "kind": oddity.value,
                    "count": found.count,
                    "found": MADE_OF[oddity][0],
                    "made_of_it": MADE_OF[oddity][1],
                    "places": [self._place(place) for place in found.places],
                }
                for oddity, found in self.findings
            ],
            "notes": list(self.notes),
        }
        return json.dumps(document, indent=2)

    def as_text(self) -> str:
        """For a person."""
        verb = "would be" if self.mode == "dry" else "were"
        told = [
            f"{self.lines:,} endpoints of {len(self.files):,} files {verb} read into {self.state}"
        ]
        told += [
            f"  {count:>13,}  {_CHANGES[name]}" for name, count in self.changes.items() if count
        ]
        told += _named("continued where an earlier run stopped", self.continued)
        told += _named("taken by an earlier run, not read again (--again reads them)", self.known)
        told += _named("NOT read to the end", [f"{name}: {fault}" for name, fault in self.broken])
        found = list(self.findings)
        if found:
            told += ["", "what was odd, and what was made of it"]
        for oddity, finding in found:
            what, made = MADE_OF[oddity]
            told += [
                f"  {finding.count:>13,}  {what}",
                f"                 {made}",
                f"                 {', '.join(map(self._place, finding.places))}",
            ]
        return "\n".join([*told, *(line for note in self.notes for line in ("", note))])


def _named(title: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = len(names) - FILES_NAMED_MAX
    shown = [f"  {name}" for name in names[:FILES_NAMED_MAX]]
    return ["", f"{title}: {len(names):,}", *shown, *([f"  and {more:,} more"] if more > 0 else [])]
