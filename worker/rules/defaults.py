"""`defaults.rule` and `defaults.stage` put into every rule and stage that leaves a key out. Pure.

Works on nodes before they are held against the forms, so that a rule is checked as it will hold. A
mistake in the defaults has one place and is told once, whatever the number of rules it reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from worker.rules.document import Entry, Node
from worker.rules.schema import RuleDefaults
from worker.rules.schema_ladder import StageDefaults

_ONLY_OF = {
    "ttl": ("push",),
    "on_failed": ("email", "sms"),
    "soft_bounces": ("email",),
}
"""Keys that stages of other channels do not have."""


def with_defaults(roots: Mapping[str, Node]) -> dict[str, Node]:
    """The same documents, with rules and stages that hold every key they take from the defaults.

    `after` is not taken by the first stage of a ladder, nor a key by a stage that has none such.
    """
    defaults = next((root.get("defaults") for root in roots.values() if root.get("defaults")), None)
    of_rule = _entries(defaults, "rule", RuleDefaults.model_fields)
    of_stage = _entries(defaults, "stage", StageDefaults.model_fields)
    if not of_rule and not of_stage:
        return dict(roots)
    return {file: _filled(root, of_rule, of_stage) for file, root in roots.items()}


def _entries(defaults: Node | None, key: str, known: Mapping[str, object]) -> dict[str, Entry]:
    stated = defaults.get(key) if defaults else None
    entries = (stated.entries if stated else None) or {}
    # What is not known has been told where it stands; what is nothing holds for nobody.
    return {k: e for k, e in entries.items() if k in known and not e.value.is_nothing}


def _filled(root: Node, of_rule: Mapping[str, Entry], of_stage: Mapping[str, Entry]) -> Node:
    rules = root.get("rules")
    if rules is None or rules.items is None:
        return root
    items = [_rule(rule, of_rule, of_stage) for rule in rules.items]
    return root.with_value("rules", replace(rules, items=items))


def _rule(rule: Node, of_rule: Mapping[str, Entry], of_stage: Mapping[str, Entry]) -> Node:
    if rule.entries is None:
        return rule
    stages = rule.get("stages")
    if stages is not None and stages.items is not None:
        items = [_stage(stage, of_stage, index == 0) for index, stage in enumerate(stages.items)]
        rule = rule.with_value("stages", replace(stages, items=items))
    return rule.with_inherited(of_rule)


def _stage(stage: Node, of_stage: Mapping[str, Entry], is_first: bool) -> Node:
    if stage.entries is None:
        return stage
    left_out = {"after"} if is_first else set()
    channel = stage.get_text("channel")
    left_out.update(key for key, channels in _ONLY_OF.items() if channel not in channels)
    return stage.with_inherited({k: e for k, e in of_stage.items() if k not in left_out})
