"""What is wrong with a rules folder, and where: the values every check here answers with.

A `Problem` is for a person: what was found, what is allowed, what to do. It may quote the rule
file, which ops wrote; it never quotes a user's data, for no user is known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

QUOTED_CHARS_MAX = 60
ALLOWED_SHOWN_MAX = 25
"""Of more allowed words, only the nearest are told."""
NEAREST_SHOWN = 5


class Place(NamedTuple):
    """A position in a file, as it is shown to people; line and column count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to repair. Sorts by file, then line, and prints as `file:line:column: message`.

    What is wrong with a folder as a whole has line 0, and prints without a place.
    """

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.file}{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem whose place is not known yet: `line` counts from 0 within the text it is about."""

    message: str
    line: int = 0


class Refused(Exception):
    """A value cannot be used; carries every finding about it."""

    def __init__(self, *findings: Finding | str) -> None:
        self.findings = tuple(
            finding if isinstance(finding, Finding) else Finding(finding) for finding in findings
        )
        super().__init__("; ".join(finding.message for finding in self.findings))


def quoted(text: str) -> str:
    """The text in double quotes on one line, cut to `QUOTED_CHARS_MAX`."""
    line = " ".join(text.split())
    return f'"{line[: QUOTED_CHARS_MAX - 3]}..."' if len(line) > QUOTED_CHARS_MAX else f'"{line}"'


def nearest(word: str, allowed: Iterable[str]) -> str:
    """` did you mean "live"?` with a leading semicolon, or nothing when no allowed word is near."""
    by_lower = {name.lower(): name for name in allowed}
    found = get_close_matches(word.lower()[:QUOTED_CHARS_MAX], by_lower, n=1, cutoff=0.6)
    return f'; did you mean "{by_lower[found[0]]}"?' if found else ""


def not_allowed(what: str, word: str, allowed: Iterable[str], meant: str | None = None) -> str:
    """`unknown key "lve"; did you mean "live"? allowed here: live, shadow`. `meant`: known better
    than by its letters."""
    names = list(allowed)
    guess = f'; did you mean "{meant}"?' if meant else nearest(word, names) or ";"
    if len(names) <= ALLOWED_SHOWN_MAX:
        return f"{what} {quoted(word)}{guess} allowed here: {', '.join(names)}"
    near = get_close_matches(word[:QUOTED_CHARS_MAX], names, n=NEAREST_SHOWN, cutoff=0)
    return f"{what} {quoted(word)}{guess} the nearest of {len(names)}: {', '.join(near)}"
