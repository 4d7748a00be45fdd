"""`comeback check`: every problem of a rules folder at once."""

from __future__ import annotations

import os
from pathlib import Path

import click

from worker.errors import ProblemsFound, UsageError
from worker.rules.load import inspect


@click.command()
@click.argument(
    "folder", type=click.Path(path_type=Path), default=Path("rules"), metavar="[FOLDER]"
)
def check(folder: Path) -> None:
    """Check a folder of rule files; print every problem as file:line:column.

    \b
    comeback check rules/
    """
    if folder.is_file():
        raise UsageError(
            f"{folder} is a file; name its folder: comeback check {folder.parent}{os.sep}"
        )
    inspection = inspect(folder)
    for problem in inspection.problems:
        click.echo(str(problem))
    if inspection.rule_set is None:
        count = len(inspection.problems)
        raise ProblemsFound(f"{count} problem{'s' if count != 1 else ''} in {folder}")
    rules = inspection.rule_set.rules
    for rule in rules:
        ladder = " -> ".join(stage.name for stage in rule.stages)
        click.echo(f"{rule.file}:{rule.line}: {rule.name} ({rule.mode}): {ladder}")
    click.echo(
        f"ok: {len(rules)} rule{'s' if len(rules) != 1 else ''}, revision "
        f"{inspection.rule_set.revision}"
    )
