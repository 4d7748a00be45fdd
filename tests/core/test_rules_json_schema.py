"""The committed JSON Schemas are current, complete, and agree with what is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft7Validator
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from tests.core.test_rules_language import TEMPLATES, WINBACK
from worker.rules.document import read_document
from worker.rules.forms import Form
from worker.rules.json_schema import KINDS, rules_schema, template_schema
from worker.rules.messages import EmailMessage, PushMessage, SmsMessage
from worker.rules.schema import RuleFile

ROOT = Path(__file__).parents[2]
COMMITTED = {
    "rules": ROOT / "rules" / "schema.json",
    "template": ROOT / "rules" / "templates" / "schema.json",
}
EXAMPLES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "rules.md").read_text(), re.DOTALL)
RULES = Draft7Validator(rules_schema())


def as_an_editor_reads(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def complaints(validator: Draft7Validator, text: str) -> list[str]:
    return [error.message for error in validator.iter_errors(as_an_editor_reads(text))]


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property below a schema, with its path."""
    for name, shape in schema.get("properties", {}).items():
        yield name, shape
    for key in ("definitions", "properties", "patternProperties"):
        for name, shape in schema.get(key, {}).items():
            yield from ((f"{name}.{path}", found) for path, found in properties(shape))
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from properties(schema[key])
    for key in ("anyOf", "oneOf", "allOf"):
        for shape in schema.get(key, ()):
            yield from properties(shape)


@pytest.mark.parametrize("kind", KINDS)
def test_the_committed_schema_is_current(kind: str) -> None:
    made = json.dumps(KINDS[kind](), indent=2, ensure_ascii=False) + "\n"
    assert COMMITTED[kind].read_text() == made, f"comeback schema --kind {kind} > {COMMITTED[kind]}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_property_has_a_description_and_an_example_that_is_allowed(kind: str) -> None:
    schema = KINDS[kind]()
    Draft7Validator.check_schema(schema)
    walked = dict(properties(schema))
    assert len(walked) > {"rules": 120, "template": 5}[kind]
    for path, shape in walked.items():
        assert shape.get("description"), path
        assert shape.get("examples"), path
        validator = Draft7Validator({**shape, "definitions": schema["definitions"]})
        for example in [*shape["examples"], *([shape["default"]] if "default" in shape else [])]:
            assert list(validator.iter_errors(example)) == [], (path, example)


def forms_in(annotation: Any) -> Iterator[type[Form]]:
    if isinstance(annotation, type) and issubclass(annotation, Form):
        yield annotation
        for field in annotation.model_fields.values():
            yield from forms_in(field.annotation)
    for argument in get_args(annotation):
        yield from forms_in(argument)


def as_we_read(value: Any) -> Any:
    """A value as our reader hands it on: scalars are text."""
    root = read_document(json.dumps(value).encode(), "example").root
    assert root is not None
    return root.plain()


def test_every_example_and_default_of_a_form_is_one_that_we_read() -> None:
    seen = 0
    for form in set(forms_in(RuleFile)):
        shape = rules_schema()["definitions"].get(form.__name__) or rules_schema()
        for name, field in form.model_fields.items():
            told = shape["properties"][field.alias or name]
            kind = TypeAdapter(form.__pydantic_fields__[name].rebuild_annotation())
            for example in (*told["examples"], *([told["default"]] if "default" in told else ())):
                kind.validate_python(as_we_read(example))
                seen += 1
    assert seen > 150


def test_the_schema_names_the_keys_of_the_forms_and_no_other() -> None:
    definitions = rules_schema()["definitions"]
    forms = {form.__name__: form for form in forms_in(RuleFile)} | {}
    for name, form in forms.items():
        shape = definitions[name] if name in definitions else rules_schema()
        keys = {field.alias or key for key, field in form.model_fields.items()}
        assert shape["properties"].keys() == keys, name
        assert shape["additionalProperties"] is False


def test_the_shipped_files_fit_and_name_their_schema() -> None:
    for path in sorted((ROOT / "rules").glob("*.yaml")):
        if not path.stem.endswith(".test"):
            text = path.read_text()
            assert text.startswith("# yaml-language-server: $schema=schema.json\n"), path
            assert complaints(RULES, text) == []
    validator = Draft7Validator(template_schema())
    for path in sorted((ROOT / "rules" / "templates").glob("*.yaml")):
        text = path.read_text()
        assert text.startswith("# yaml-language-server: $schema=schema.json\n"), path
        assert complaints(validator, text) == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_documents_fits(example: str) -> None:
    head = "" if "apiVersion" in example else "apiVersion: v1\n"
    assert complaints(RULES, head + example) == []


def test_the_sketch_and_its_templates_fit() -> None:
    assert complaints(RULES, WINBACK) == []
    validator = Draft7Validator(template_schema())
    for text in TEMPLATES.values():
        assert complaints(validator, text) == []


def test_what_a_person_writes_without_quotes_is_allowed() -> None:
    text = """\
apiVersion: v1
rules:
  - rule: 2026
    revision: 3
    priority: -5
    owner: 42
    labels: {version: 1.10, promo: true}
    inactive_for: 7d
    rollout: 25
    holdout: {percent: 12.5}
    stages:
      - name: 1
        channel: sms
        variants:
          - {name: a, weight: 50, message: {body: 007}}
          - {name: b, weight: "50", message: {body: true}}
"""
    assert complaints(RULES, text) == []
    root = read_document(text.encode(), "f").root
    assert root is not None
    assert RuleFile.model_validate(root.plain()).rules[0].rule == "2026"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("apiVersion: v1", "apiVersion: v2"),
        ("priority: 50", "priorty: 50"),
        ("inactive_for: 7d", "inactive_for: 7"),
        ("inactive_for: 7d", "inactive_for: 7 days"),
        ("percent: 10", "percent: 110"),
        ("max: 200 USD", "max: 200"),
        ("max: 500", "max: 0"),
        ('ltv>="50"', "ltv is 50"),
        ('from: "21:00"', "from: 9pm"),
        ("mon-sat:", "mo-sa:"),
        ('"12:00-21:00"', '"noon"'),
        ("on_edit: finish_old", "on_edit: finish"),
        ("channel: email", "channel: mail"),
        ("on_exhausted: defer", "on_exhausted: skip"),
        ("US: 0.00581", "USA: 0.00581"),
    ],
)
def test_an_editor_sees_the_commonest_slips(old: str, new: str) -> None:
    assert old in WINBACK
    assert complaints(RULES, WINBACK.replace(old, new, 1))


def test_the_messages_of_a_template_are_told_apart() -> None:
    validator = Draft7Validator(template_schema())
    assert complaints(validator, "subject: x\ntitle: y\n")
    for form in (PushMessage, EmailMessage, SmsMessage):
        assert form.__name__ in template_schema()["definitions"]
