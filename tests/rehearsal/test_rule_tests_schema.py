"""The JSON Schema of test files is current, complete, and agrees with what is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from tests.rehearsal.rule_tests import suite_of
from worker.ruletests.case_forms import schema_of_tests

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "rules" / "test.schema.json"
SHIPPED = (ROOT / "rules" / "shop.test.yaml", Path(__file__).parent / "winback/winback.test.yaml")


def complaints(text: str) -> list[str]:
    value = YAML(typ="safe", pure=True).load(text)
    return [error.message for error in Draft7Validator(schema_of_tests()).iter_errors(value)]


def properties(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property anywhere in a schema."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
        for below in schema.values():
            yield from properties(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from properties(below)


def test_the_committed_schema_is_current() -> None:
    made = json.dumps(schema_of_tests(), indent=2, ensure_ascii=False) + "\n"
    assert COMMITTED.read_text() == made, f"comeback schema --kind test > {COMMITTED}"


def test_every_property_has_a_description_and_an_example_that_is_allowed() -> None:
    schema = schema_of_tests()
    Draft7Validator.check_schema(schema)
    walked = list(properties({key: schema[key] for key in ("properties", "definitions")}))
    assert len(walked) > 70
    for name, shape in walked:
        assert shape.get("description"), name
        assert shape.get("examples"), name
        validator = Draft7Validator({**shape, "definitions": schema["definitions"]})
        for example in shape["examples"]:
            assert list(validator.iter_errors(example)) == [], (name, example)


def test_the_shipped_tests_fit_it() -> None:
    for path in SHIPPED:
        assert complaints(path.read_text()) == [], path
    assert SHIPPED[0].read_text().startswith("# yaml-language-server: $schema=test.schema.json\n")


def test_an_editor_finds_what_we_find() -> None:
    text = SHIPPED[1].read_text()
    for said, instead in (
        ("expect_sends", "expect_send"),
        ("state: due", "state: du"),
        ("holdout: in", "holdout: inside"),
        ('at: "2026-11-01T20:30:00Z"', "at: 2026-11-01"),
        ("amount: 199.99 USD", "amount: 199.99"),
    ):
        broken = text.replace(said, instead, 1)
        assert broken != text
        assert complaints(broken) != [], instead
        assert suite_of(broken).problems != (), instead
