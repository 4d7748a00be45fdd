"""docs/rules.md tells of every key that works, and its examples load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from worker.rules import messages, schema, schema_ladder, schema_limits
from worker.rules.forms import Form
from worker.rules.limits import OnHit, Window
from worker.rules.load import inspect
from worker.rules.ruleset import Clocked, ExitOn, Mode, OnEdit, OnUncertain, OnUndeliverable
from worker.rules.schema import RuleFile
from worker.rules.templates import _FILTERS

DOCS = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
CHOICES = {*Mode, *ExitOn, *OnEdit, *OnUndeliverable, *OnUncertain, *OnHit, *Window, *Clocked}
ALIASES = {"d", "count", "e"}
"""Second names of filters, known to those who know Jinja2."""


def forms_in(annotation: Any) -> Iterator[type[Form]]:
    if isinstance(annotation, type) and issubclass(annotation, Form):
        yield annotation
        for field in annotation.model_fields.values():
            yield from forms_in(field.annotation)
    for argument in get_args(annotation):
        yield from forms_in(argument)


KEYS = sorted(
    {
        field.alias or name
        for form in forms_in(RuleFile)
        for name, field in form.model_fields.items()
    }
)


def test_every_key_every_exit_and_every_filter_is_told_of() -> None:
    assert len(KEYS) > 75
    words = {*KEYS, *CHOICES, *_FILTERS} - ALIASES
    assert sorted(word for word in words if f"`{word}`" not in DOCS) == []


def test_every_form_and_field_has_a_description() -> None:
    for form in forms_in(RuleFile):
        assert form.__doc__
        for name, field in form.model_fields.items():
            assert field.description, (form, name)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_loads_and_raises_no_doubt(example: str, tmp_path: Path) -> None:
    if "rules:" not in example:
        example = EXAMPLES[0] + example
    elif "apiVersion" not in example:
        example = "apiVersion: v1\n" + example
    (tmp_path / "example.yaml").write_text(example)
    inspection = inspect(tmp_path)
    assert (inspection.problems, inspection.warnings) == ((), ())


def test_every_bound_of_the_schema_is_told_of() -> None:
    told = DOCS[DOCS.index("## Bounds") :].replace(",", "")
    modules = (schema, schema_ladder, schema_limits)
    bounds = {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if name.endswith("_MAX")
    }
    bounds["LOCALES_MAX"] = messages.LOCALES_MAX
    words = {
        "STAGES_MAX": "stages",
        "RULES_PER_FILE_MAX": "rules",
        "MATCHERS_MAX": "matchers",
        "LIMITS_MAX": "entries of `limits",
        "QUIET_HOURS_MAX": "quiet hours",
        "PATTERNS_MAX": "patterns",
        "LABELS_MAX": "`labels`",
        "VARIANTS_MAX": "variants",
        "LEGAL_TEXTS_MAX": "legal texts",
        "PRICES_MAX": "prices",
        "LOCALES_MAX": "`locales`",
    }
    assert bounds.keys() == words.keys()
    for name, word in words.items():
        assert re.search(rf"^\| {word}.* \| {bounds[name]} \|$", told, re.M), name
