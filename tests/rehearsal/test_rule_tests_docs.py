"""docs/testing-rules.md tells of every key and word of a test file, and its example passes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from tests.rehearsal.test_rule_tests_winback import HERE
from worker.rules.folder import Folder, Kept
from worker.rules.forms import Form
from worker.ruletests.case_expected import DecisionWord, OutcomeWord, State
from worker.ruletests.case_forms import TestFile
from worker.ruletests.case_world import Answer
from worker.ruletests.cases import read_suite
from worker.ruletests.timeline import play_case
from worker.ruletests.verdict import judge

DOCS = (Path(__file__).parents[2] / "docs" / "testing-rules.md").read_text()
(EXAMPLE,) = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)


def forms_in(annotation: Any) -> Iterator[type[Form]]:
    if isinstance(annotation, type) and issubclass(annotation, Form):
        yield annotation
        for field in annotation.model_fields.values():
            yield from forms_in(field.annotation)
    for argument in get_args(annotation):
        yield from forms_in(argument)


def test_every_key_and_every_word_is_told_of() -> None:
    keys = {
        field.alias or name
        for form in forms_in(TestFile)
        for name, field in form.model_fields.items()
    }
    assert len(keys) > 50
    words = {*keys, *State, *OutcomeWord, *DecisionWord, *Answer}
    # Told in braces, as one writes them.
    told = {word for word in words if re.search(rf"[`{{\[ ]{re.escape(word)}[`,:}}\]]", DOCS)}
    assert sorted(words - told) == []


def test_every_state_has_a_row_of_its_own() -> None:
    assert [state for state in State if f"\n| `{state}` |" not in DOCS] == []


def test_the_example_passes_against_the_rules_it_is_about() -> None:
    suite = read_suite(EXAMPLE.encode(), "example.test.yaml", Folder(HERE))
    assert suite.problems == ()
    assert suite.rules is not None
    (case,) = suite.cases
    assert judge(case, play_case(case.form, suite.rules)).passed


def test_the_example_passes_against_the_rule_of_the_readme_too() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    rule = next(
        text for text in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "apiVersion" in text
    )
    suite = read_suite(EXAMPLE.encode(), "x.test.yaml", Kept({"winback.yaml": rule.encode()}))
    assert suite.problems == ()
    assert suite.rules is not None
    (case,) = suite.cases
    assert judge(case, play_case(case.form, suite.rules)).passed
