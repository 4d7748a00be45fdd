"""Ladders of earlier rule sets, rebuilt from their files for the users who began with them. Pure.

Source of the files is the state, which keeps those of every set that open episodes began with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from worker.errors import RulesError
from worker.model import RetiredRule
from worker.rules.load import load_contents
from worker.rules.ruleset import Rule, RuleSet


def retired_ladders(
    kept: Iterable[RetiredRule], known: Mapping[tuple[str, str], Rule] | None = None
) -> dict[tuple[str, str], Rule]:
    """(rule, revision) to its ladder, for `RuleSet.retired`. What is `known` is not built again.

    One that this version can no longer read, or reads as something else, is left out: its users go
    on with the rule as it is now.
    """
    sets: dict[int, RuleSet | None] = {}
    ladders = {}
    for item in kept:
        if known and (item.rule, item.revision) in known:
            ladders[item.rule, item.revision] = known[item.rule, item.revision]
            continue
        if id(item.contents) not in sets:
            sets[id(item.contents)] = _loaded(item.contents)
        rule_set = sets[id(item.contents)]
        rule = rule_set.rule_named(item.rule) if rule_set else None
        if rule is not None and rule.revision == item.revision:
            ladders[item.rule, item.revision] = rule
    return ladders


def _loaded(contents: Mapping[str, bytes]) -> RuleSet | None:
    try:
        return load_contents(contents)
    except RulesError:
        return None
