"""What became of test files as JUnit XML, the form build servers read. Pure.

Source of the form: the JUnit report schema of Jenkins' xunit plugin (`testsuites`, `testsuite`,
`testcase`, `failure`, `error`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from worker.ruletests.report import FileRun, Run, verdict_lines

UNREADABLE = "the file can be read"
"""The one test case of a file with problems."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(files: Sequence[FileRun]) -> bytes:
    """One `testsuite` a file; UTF-8, with the XML declaration."""
    root = Xml.Element("testsuites", {"name": "comeback test", **_counts(files)})
    for file in files:
        suite = Xml.SubElement(
            root, "testsuite", {"name": _clean(file.suite.file), **_counts([file])}
        )
        if file.suite.problems:
            _unreadable(suite, file)
        for run in file.runs:
            _case(suite, file, run)
    Xml.indent(root)
    written: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _counts(files: Sequence[FileRun]) -> dict[str, str]:
    unread = sum(bool(file.suite.problems) for file in files)
    return {
        "tests": str(sum(len(file.runs) for file in files) + unread),
        "failures": str(sum(len(file.failed) for file in files)),
        "errors": str(unread),
        "time": f"{sum(run.seconds for file in files for run in file.runs):.6f}",
    }


def _unreadable(suite: Xml.Element, file: FileRun) -> None:
    name = _clean(file.suite.file)
    case = Xml.SubElement(suite, "testcase", {"classname": name, "name": UNREADABLE, "time": "0"})
    problems = [_clean(str(problem)) for problem in file.suite.problems]
    error = Xml.SubElement(case, "error", {"message": problems[0]})
    error.text = "\n".join(problems)


def _case(suite: Xml.Element, file: FileRun, run: Run) -> None:
    case = Xml.SubElement(
        suite,
        "testcase",
        {
            "classname": _clean(file.suite.file),
            "name": _clean(run.verdict.case.form.name),
            "time": f"{run.seconds:.6f}",
        },
    )
    if run.verdict.passed:
        return
    off = [section.name for section in run.verdict.sections if not section.holds]
    message = ", ".join(off) or run.verdict.troubles[0]
    failure = Xml.SubElement(case, "failure", {"message": _clean(message)})
    failure.text = _clean("\n".join(verdict_lines(run.verdict)))


def _clean(text: str) -> str:
    """Without the characters XML has no way to write."""
    return _NOT_XML.sub("\ufffd", text)
