"""What became of test files, as people and machines read it: lines of text, JSON. Pure.

Nothing is shown of a user but what the test file itself says of somebody invented.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from worker.ruletests.case_expected import DecisionWord
from worker.ruletests.cases import Suite
from worker.ruletests.story import Story
from worker.ruletests.verdict import Row, Section, Verdict

SUCCESS, FAILED = "SUCCESS", "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One test that was run."""

    verdict: Verdict
    story: Story
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRun:
    """One test file that was run, or that has problems and no runs."""

    suite: Suite
    runs: tuple[Run, ...] = ()

    @property
    def is_part(self) -> bool:
        """Were some of its tests passed over?"""
        return len(self.runs) < len(self.suite.cases)

    @property
    def failed(self) -> tuple[Run, ...]:
        """The runs that did not come as expected."""
        return tuple(run for run in self.runs if not run.verdict.passed)

    @property
    def passed(self) -> bool:
        """Could the file be read, and came everything as expected?"""
        return not self.suite.problems and not self.failed


def lines(files: Sequence[FileRun]) -> Iterator[str]:
    """Everything for a terminal: each file, what failed in it, and the sum."""
    for file in files:
        yield file.suite.file
        yield from (f"  {line}" if line else "" for line in _file_lines(file))
        yield ""
    unsent = never_sent(files)
    # Of some of the tests it would only say which are not run.
    if unsent and not any(file.is_part for file in files):
        yield f"no test sends: {', '.join(unsent)}"
    yield summary(files)


def summary(files: Sequence[FileRun]) -> str:
    """How many tests in how many files, and whether all is well."""
    tests = sum(len(file.runs) for file in files)
    failed = sum(len(file.failed) for file in files)
    unread = sum(bool(file.suite.problems) for file in files)
    told = f"{_count(tests, 'test')} in {_count(len(files), 'file')}"
    if not failed and not unread:
        return f"{SUCCESS}: {told}"
    troubles = [f"{failed} failed"] if failed else []
    troubles += [f"{_count(unread, 'file')} with problems"] if unread else []
    return f"{FAILED}: {told}, {', '.join(troubles)}"


def never_sent(files: Sequence[FileRun]) -> list[str]:
    """`rule/stage` for every stage of the rules that goes out, or would, in none of the tests."""
    stages: dict[tuple[str, str], None] = {}
    gone: set[tuple[str, str | None]] = set()
    for file in files:
        for rule in file.suite.rules.rules if file.suite.rules else ():
            stages |= dict.fromkeys((rule.name, stage.name) for stage in rule.stages)
        for run in file.runs:
            gone |= {(send.rule, send.stage) for send in run.story.sends}
            gone |= {
                (decision.rule, decision.stage)
                for decision in run.story.decisions
                if decision.word is DecisionWord.WOULD_SEND
            }
    return [f"{rule}/{stage}" for rule, stage in stages if (rule, stage) not in gone]


def as_json(files: Sequence[FileRun]) -> dict[str, Any]:
    """The same for machines."""
    return {
        "passed": all(file.passed for file in files),
        "tests": sum(len(file.runs) for file in files),
        "failed": sum(len(file.failed) for file in files),
        "never_sent": [] if any(file.is_part for file in files) else never_sent(files),
        "files": [
            {
                "file": file.suite.file,
                "passed": file.passed,
                "problems": [
                    {"file": p.file, "line": p.line, "column": p.column, "message": p.message}
                    for p in file.suite.problems
                ],
                "tests": [_test_json(run) for run in file.runs],
            }
            for file in files
        ],
    }


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """What is off in a test: its expectations beside what came."""
    yield from verdict.troubles
    for section in verdict.sections:
        if not section.holds:
            yield section.name
            yield from (f"  {line}" for line in _side_by_side(section.rows))


def _file_lines(file: FileRun) -> Iterator[str]:
    if file.suite.problems:
        yield FAILED
        yield from (f"  {problem}" for problem in file.suite.problems)
        return
    if file.passed:
        yield f"{SUCCESS}  {_count(len(file.runs), 'test')}"
        return
    yield f"{FAILED}  {len(file.failed)} of {_count(len(file.runs), 'test')}"
    for run in file.failed:
        case = run.verdict.case
        yield ""
        yield f"{case.form.name}  ({case.file}:{case.line})"
        yield from (f"  {line}" for line in verdict_lines(run.verdict))


def _side_by_side(rows: Iterable[Row]) -> Iterator[str]:
    rows = tuple(rows)
    width = max([len("expected"), *(len(row.expected) for row in rows)])
    yield f"  {'expected'.ljust(width)}   got"
    for row in rows:
        yield f"{row.mark} {row.expected.ljust(width)}   {row.got}"
        if row.note:
            yield f"    {row.note}"


def _test_json(run: Run) -> dict[str, Any]:
    verdict = run.verdict
    return {
        "name": verdict.case.form.name,
        "line": verdict.case.line,
        "passed": verdict.passed,
        "seconds": round(run.seconds, 6),
        "troubles": list(verdict.troubles),
        "expectations": [_section_json(section) for section in verdict.sections],
    }


def _section_json(section: Section) -> dict[str, Any]:
    return {
        "name": section.name,
        "passed": section.holds,
        "rows": [
            {"mark": row.mark, "expected": row.expected, "got": row.got, "note": row.note}
            for row in section.rows
        ],
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
