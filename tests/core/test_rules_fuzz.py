"""Whatever lies in the folder, the answer is a rule set or problems with a place; never a crash."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.rules.document import read_document
from worker.rules.load import Inspection, inspect

RULES = Path(__file__).parents[2] / "rules"
SHOP = (RULES / "shop.yaml").read_bytes()
LINES = SHOP.splitlines(keepends=True)
WORDS = [line.split(b"#")[0].strip() for line in LINES if line.split(b"#")[0].strip()]
SCRAPS = [
    b"{{",
    b"}}",
    b"{%",
    b"*x",
    b"&x ",
    b"!!str ",
    b"- ",
    b"? ",
    b": ",
    b"|\n",
    b"\t",
    b'"',
    b"'",
]
SCRAPS += [b"[", b"{", b"]", b"}", b"<<: ", b"\\U", b"---\n", b"~", b"0", b"\xff", b"\x00", b"\n  "]


def inspected(data: bytes) -> Inspection:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "rules"
        shutil.copytree(RULES, folder)
        (folder / "shop.yaml").write_bytes(data)
        return inspect(folder)


def well_told(inspection: Inspection) -> bool:
    """One of both, and every problem with a sentence and a place, if it is one of a file."""
    return (inspection.rule_set is None) == bool(inspection.problems) and all(
        ((problem.line >= 1 and problem.column >= 1) or problem.file.endswith("/rules"))
        and problem.message
        and "\n" not in str(problem)
        for problem in inspection.problems
    )


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_told_about(data: bytes) -> None:
    document = read_document(data, "f.yaml")
    assert all(problem.file == "f.yaml" and problem.line >= 1 for problem in document.problems)


@settings(max_examples=300)
@given(st.text(st.sampled_from(list("ab:-[]{}&*!|>'\"%@` \n\t#?,.~\\U0")), max_size=60))
def test_any_yaml_like_text_is_read_or_told_about(text: str) -> None:
    document = read_document(text.encode(), "f.yaml")
    assert all(problem.line >= 1 and problem.message for problem in document.problems)


@settings(max_examples=60)
@given(st.data())
def test_a_mangled_rule_file_is_told_about(data: st.DataObject) -> None:
    text = bytearray(SHOP)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        scrap = data.draw(st.sampled_from(SCRAPS + WORDS))
        cut = data.draw(st.integers(0, 20))
        text[at : at + cut] = scrap
    assert well_told(inspected(bytes(text)))


@settings(max_examples=60)
@given(st.data())
def test_a_rule_file_with_lines_lost_doubled_or_moved_is_told_about(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        line = lines.pop(at)
        for _ in range(data.draw(st.integers(0, 2))):
            lines.insert(data.draw(st.integers(0, len(lines))), line)
    assert well_told(inspected(b"".join(lines)))


@settings(max_examples=60)
@given(line=st.sampled_from(range(len(LINES))), value=st.text(max_size=20))
def test_any_value_in_any_place_is_told_about(line: int, value: str) -> None:
    key, colon, _ = LINES[line].partition(b":")
    lines = [*LINES[:line], key + colon + b" " + value.encode("utf-8", "replace"), b"\n"]
    assert well_told(inspected(b"".join([*lines, *LINES[line + 1 :]])))
