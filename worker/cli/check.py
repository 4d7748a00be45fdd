"""`comeback check`: every problem of a rules folder at once, and what is probably not meant."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from worker.clock import SystemClock
from worker.errors import ProblemsFound, UsageError
from worker.rules.load import Inspection, inspect
from worker.rules.problems import Problem
from worker.rules.unknown_names import unknown_names
from worker.settings import read_settings
from worker.store.reading import StateReader


@click.command()
@click.argument(
    "folder", type=click.Path(path_type=Path), default=Path("rules"), metavar="[FOLDER]"
)
@click.option("--strict", is_flag=True, help="Warnings count as problems.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also warn of attributes that no user of this state file has.",
)
@click.option("--with-state", is_flag=True, help="The same, with the file COMEBACK_STATE names.")
def check(
    *, folder: Path, strict: bool, as_json: bool, state: Path | None, with_state: bool
) -> None:
    """Check a folder of rule files; print every problem as file:line:column, then the warnings.

    \b
    comeback check rules/
    comeback check rules/ --strict --state comeback.db
    """
    if folder.is_file():
        raise UsageError(
            f"{folder} is a file; name its folder: comeback check {folder.parent}{os.sep}"
        )
    if with_state and state is None:
        state = read_settings(os.environ).state
    inspection = inspect(folder)
    warnings = sorted({*inspection.warnings, *_unknown(inspection, state)})
    if as_json:
        click.echo(_as_json(inspection, warnings))
    else:
        _print(inspection, warnings)
    if inspection.rule_set is None:
        raise ProblemsFound(f"{_counted(len(inspection.problems), 'problem')} in {folder}")
    if strict and warnings:
        raise ProblemsFound(f"{_counted(len(warnings), 'warning')} in {folder}, with --strict")


def _unknown(inspection: Inspection, state: Path | None) -> tuple[Problem, ...]:
    """What the state knows of names, when there is a state to ask and a set to ask about."""
    if state is None or inspection.rule_set is None:
        return ()
    with StateReader(str(state), clock=SystemClock()) as reader:
        user_attributes, attributes = reader.attribute_names()
    return unknown_names(inspection, user_attributes, attributes)


def _print(inspection: Inspection, warnings: list[Problem]) -> None:
    for problem in inspection.problems:
        click.echo(str(problem))
    for warning in warnings:
        click.echo(str(_marked(warning)))
    if inspection.rule_set is None:
        return
    rules = inspection.rule_set.rules
    for rule in rules:
        ladder = " -> ".join(stage.name for stage in rule.stages)
        click.echo(f"{rule.file}:{rule.line}: {rule.name} ({rule.mode}): {ladder}")
    noted = f", {_counted(len(warnings), 'warning')}" if warnings else ""
    click.echo(
        f"ok: {_counted(len(rules), 'rule')}{noted}, revision {inspection.rule_set.revision}"
    )


def _marked(warning: Problem) -> Problem:
    return Problem(
        warning.file, warning.line, warning.column, message=f"warning: {warning.message}"
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _as_json(inspection: Inspection, warnings: list[Problem]) -> str:
    rule_set = inspection.rule_set
    document = {
        "ok": rule_set is not None,
        "revision": rule_set.revision if rule_set else None,
        "problems": [_told(problem) for problem in inspection.problems],
        "warnings": [_told(warning) for warning in warnings],
        "rules": [
            {
                "rule": rule.name,
                "revision": rule.revision,
                "mode": rule.mode,
                "priority": rule.priority,
                "file": rule.file,
                "line": rule.line,
                "stages": [
                    {"stage": stage.name, "channel": stage.channel, "after_ms": stage.after_ms}
                    for stage in rule.stages
                ],
            }
            for rule in (rule_set.rules if rule_set else ())
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _told(problem: Problem) -> dict[str, str | int]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
    }
