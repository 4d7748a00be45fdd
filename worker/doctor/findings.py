"""What a check found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is. UNKNOWN: nobody could be asked, so nothing is said of it."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the table. `todo` is empty when there is nothing to do."""

    check: str
    verdict: Verdict
    found: str
    todo: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, verdict=Verdict.OK, found=found)


def warn(check: str, found: str, todo: str) -> Finding:
    """It works, and somebody should look at it."""
    return Finding(check=check, verdict=Verdict.WARN, found=found, todo=todo)


def fail(check: str, found: str, todo: str) -> Finding:
    """The worker cannot do its work like this."""
    return Finding(check=check, verdict=Verdict.FAIL, found=found, todo=todo)


def unknown(check: str, found: str, todo: str = "") -> Finding:
    """It could not be found out."""
    return Finding(check=check, verdict=Verdict.UNKNOWN, found=found, todo=todo)


def has_failed(findings: Iterable[Finding]) -> bool:
    """Does any of them stop the worker?"""
    return any(finding.verdict is Verdict.FAIL for finding in findings)
