"""What the documents show can be copied: complete rule files load, named settings exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.rules.folder import Kept
from worker.rules.load import inspect
from worker.ruletests.cases import read_suite
from worker.ruletests.timeline import play_case
from worker.ruletests.verdict import judge
from worker.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]

FENCE = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)


def rule_files_of(document: str) -> list[str]:
    """The complete rule files among a document's examples; the others are parts of one."""
    return [example for example in FENCE.findall(document) if "apiVersion" in example]


def examples() -> Iterator[tuple[str, str]]:
    for path in DOCUMENTS:
        for number, example in enumerate(rule_files_of(path.read_text()), start=1):
            yield f"{path.name}-{number}", example


EXAMPLES = dict(examples())


def test_the_readme_and_the_rule_language_show_a_complete_rule_file() -> None:
    assert {"README.md-1", "rules.md-1"} <= EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_rule_file_in_a_document_passes_the_check(name: str, tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(EXAMPLES[name])
    assert [str(problem) for problem in inspect(tmp_path).problems] == []


TESTS = [
    example for example in FENCE.findall((ROOT / "README.md").read_text()) if "\ntests:" in example
]


def test_the_readme_shows_a_test() -> None:
    assert len(TESTS) == 1


@pytest.mark.parametrize("text", TESTS)
def test_a_rule_test_in_the_readme_passes_against_the_rule_beside_it(text: str) -> None:
    files = Kept({"shop.yaml": EXAMPLES["README.md-1"].encode()})
    suite = read_suite(text.encode(), "shop.test.yaml", files)
    assert [str(problem) for problem in suite.problems] == []
    assert suite.rules is not None
    verdicts = [judge(case, play_case(case.form, suite.rules)) for case in suite.cases]
    assert [verdict.sections for verdict in verdicts if not verdict.passed] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_setting_a_document_names_exists(path: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]", path.read_text()))
    assert sorted(named - known) == []


def test_an_example_that_is_no_complete_file_is_left_out() -> None:
    document = "```yaml\nlimits: {}\n```\n```yaml\napiVersion: v1\n```\n```sh\napiVersion\n```\n"
    assert rule_files_of(document) == ["apiVersion: v1\n"]
