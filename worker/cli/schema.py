"""`comeback schema`: the JSON Schema of the files people write, for their editors."""

from __future__ import annotations

import json

import click

from worker.rules.json_schema import KINDS
from worker.ruletests.case_forms import schema_of_tests

ALL_KINDS = {**KINDS, "test": schema_of_tests}


@click.command()
@click.option(
    "--kind",
    type=click.Choice(list(ALL_KINDS)),
    default="rules",
    show_default=True,
    help="Of which files: rule files, those of templates/, or *.test.yaml.",
)
def schema(kind: str) -> None:
    """Print the JSON Schema (draft 7) of a rule file, a template or a test file.

    \b
    comeback schema > rules/schema.json
    Editors use it when a file begins with:  # yaml-language-server: $schema=schema.json
    """
    click.echo(json.dumps(ALL_KINDS[kind](), indent=2, ensure_ascii=False))
