"""A test file and the rules it is about, read and checked; or every mistake in them at once.

Pure but for the files it is given to read (`rules.folder.Files`): data in, values and problems out.
A `Case` is one test as filled in, and where it stands; `timeline.py` plays it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from worker.rules.document import Node, read_document
from worker.rules.folder import TEMPLATES, Files
from worker.rules.load import inspect_files
from worker.rules.problems import Problem, not_allowed
from worker.rules.ruleset import RuleSet
from worker.rules.wording import fit
from worker.ruletests.case_checks import check_against_rules, check_names
from worker.ruletests.case_forms import CaseForm, TestFile

ENDINGS: Final = (".test.yaml", ".test.yml")
"""How the name of a test file ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test: as filled in, and the line it begins in."""

    form: CaseForm
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The tests of one file with the rules they are about. No rules: there are problems."""

    file: str
    rules: RuleSet | None
    cases: tuple[Case, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some rule files of a folder, and all its templates (`rules.folder.Files`)."""

    files: Files
    chosen: Collection[str] | None
    """Names of rule files; None: all of them."""

    def shown(self, name: str) -> str:
        """As the folder shows it."""
        return self.files.shown(name)

    def names(self, within: str) -> list[str]:
        """Raises Unlistable."""
        names = self.files.names(within)
        if self.chosen is None or within == TEMPLATES:
            return names
        return [name for name in names if name in self.chosen]

    def data(self, name: str) -> bytes:
        """Raises OSError."""
        return self.files.data(name)


def read_suite(data: bytes, file: str, files: Files) -> Suite:
    """The tests of a file beside the rules in `files`. `file`: as it is shown to people.

    Never raises on content; raises Unlistable when the folder cannot be listed.
    """
    document = read_document(data, file)
    problems = list(document.problems)
    root = document.root
    if root is None:
        if not problems:
            problems.append(Problem(file, 1, 1, "the file is empty; fill it, or remove it"))
        return Suite(file=file, rules=None, problems=tuple(problems))
    form, misfits = fit(TestFile, root)
    problems += [*misfits, *check_names(root), *_unknown_files(root, files)]
    if form is None or problems:
        return Suite(file=file, rules=None, problems=tuple(sorted(set(problems))))
    inspection = inspect_files(Chosen(files, form.rule_files))
    if inspection.rule_set is None:
        return Suite(file=file, rules=None, problems=inspection.problems)
    problems += check_against_rules(root, inspection.rule_set)
    if problems:
        return Suite(file=file, rules=None, problems=tuple(sorted(set(problems))))
    cases = tuple(
        Case(form=case, file=file, line=node.place.line)
        for case, node in zip(form.tests, root.get_items("tests"), strict=True)
    )
    return Suite(file=file, rules=inspection.rule_set, cases=cases)


def _unknown_files(root: Node, files: Files) -> list[Problem]:
    known = files.names("")
    return [
        Problem(*item.place, f"rule_files: {not_allowed('no such rule file', item.text, known)}")
        for item in root.get_items("rule_files")
        if item.text is not None and item.text not in known
    ]
