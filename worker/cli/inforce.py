"""The rule sets a command compares or explains: the one in force as the state keeps it, and others.

Old ladders that users may still finish come from the state as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from worker.errors import ConfigurationError, ProblemsFound, RulesError, TryLater, UsageError
from worker.ports import Clock
from worker.rules.load import inspect, load, load_contents
from worker.rules.retired import retired_ladders
from worker.rules.ruleset import RuleSet
from worker.store.reading import StateReader


@dataclass(frozen=True, slots=True)
class InForce:
    """A rule set, and where it was found, as people are told."""

    rules: RuleSet
    found: str


def rules_in_force(reader: StateReader, folder: Path) -> InForce:
    """What the state says is in force. `folder` is gone by when the state keeps no rule files yet,
    or some that this version cannot read; `found` says so. Raises RulesError when nothing can be
    read."""
    contents = reader.rule_set_in_force()
    if contents is None:
        rules, found = load(folder), f"{folder} (the state keeps no rule files yet)"
    else:
        try:
            rules, found = load_contents(contents), "the state"
        except RulesError:
            rules = load(folder)
            found = f"{folder} (this version cannot read the rule files of the state)"
    return InForce(with_old_ladders(reader, rules), found)


def with_old_ladders(reader: StateReader, rules: RuleSet) -> RuleSet:
    """The set with the ladders users of the state began with and may finish."""
    kept = reader.retired(rules.adoption.rules)
    return replace(rules, retired=retired_ladders(kept))


def ladders_known(state: str, folder: Path, *, clock: Clock) -> Mapping[str, frozenset[str]] | None:
    """Rule to its stages: of the folder, of what is in force, and of old ladders users may still
    finish. None when the folder has problems: then nobody can say what does not exist."""
    rules = inspect(folder).rule_set
    if rules is None:
        return None
    sets = [rules]
    try:
        with StateReader(state, clock=clock) as reader:
            sets.append(rules_in_force(reader, folder).rules)
    except (RulesError, TryLater, UsageError, ConfigurationError):
        pass  # what the command does with the state says so better
    known: dict[str, frozenset[str]] = {}
    for rule in (r for each in sets for r in (*each.rules, *each.retired.values())):
        stages = frozenset(stage.name for stage in rule.stages)
        known[rule.name] = known.get(rule.name, frozenset()) | stages
    return known


def rules_of(folder: Path) -> RuleSet:
    """The rule set of a folder. Raises UsageError for a file, and ProblemsFound when there are
    mistakes in it, after they were printed."""
    if folder.is_file():
        raise UsageError(f"{folder} is a file; name its folder: {folder.parent}")
    inspection = inspect(folder)
    if inspection.rule_set is None:
        for problem in inspection.problems:
            click.echo(str(problem))
        count = len(inspection.problems)
        raise ProblemsFound(f"{count} problem{'s' if count != 1 else ''} in {folder}")
    return inspection.rule_set
