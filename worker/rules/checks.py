"""What the rules of a folder must be to themselves and to one another. Pure; works on nodes.

Each check looks at the document as it will hold (defaults filled in) and passes over what does not
fit the schema, so that a file with both kinds of mistakes shows them all at once. Limits, quiet
hours and money are looked at in `checks_limits.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from worker.model import Channel
from worker.rules.document import Node
from worker.rules.durations import parse_duration
from worker.rules.forms import PERCENT_MAX, parse_percent
from worker.rules.instants import parse_instant
from worker.rules.problems import Place, Problem, Refused, quoted
from worker.rules.reach import check_matchers
from worker.rules.wording import key_meant

RULES_MAX = 1_000
STATED_ONCE = ("defaults", "limits", "law_windows", "prices")

Documents: TypeAlias = Mapping[str, Node]
"""File name, as shown to people, to its root node."""
Told: TypeAlias = Iterator[tuple[Place, str]]


def check_file(root: Node) -> Iterator[Problem]:
    """What is wrong with the rules of one file."""
    for rule in root.get_items("rules"):
        yield from problems(_rule(rule))
        yield from problems(check_matchers(rule, of_rule=True))
    defaults = root.get("defaults")
    for key, matchers in (("rule", "match"), ("stage", "only_if")):
        stated = defaults.get(key) if defaults else None
        if stated is not None:
            yield from problems(check_matchers(stated, of_rule=True, key=matchers))


def check_email(message: Node) -> Iterator[Problem]:
    """An e-mail needs a text or an HTML part."""
    if message.entries is not None and not _states(message, ("text", "html")):
        told = 'an e-mail needs "text" or "html", or both; state one'
        yield Problem(*message.place, told)


def check_across(documents: Documents) -> Iterator[Problem]:
    """What is wrong between files."""
    yield from _unique(documents, "rules", "rule")
    yield from _unique(documents, "quiet_hours", "name")
    for key in STATED_ONCE:
        stated = [root for root in documents.values() if root.get(key)]
        for root in stated[1:]:
            first = stated[0].key_place(key)
            told = (
                f'"{key}" is stated in {first.file}:{first.line} already; it holds for all files, '
                "keep one"
            )
            yield Problem(*root.key_place(key), told)
    yield from _too_many_rules(documents)


def problems(told: Iterable[tuple[Place, str]]) -> Iterator[Problem]:
    """Sentences at places as problems."""
    for place, message in told:
        yield Problem(*place, message)


def _rule(rule: Node) -> Told:
    if rule.entries is None:
        return
    yield from _spans_of_rule(rule)
    yield from _shares(rule)
    exit_on = rule.get_items("exit_on")
    if exit_on and "activity" not in [item.text for item in exit_on]:
        told = (
            "exit_on must contain activity: nobody gets a message after they came back "
            "(promise P3); add it"
        )
        yield exit_on[0].place, told
    names: dict[str, Place] = {}
    for index, stage in enumerate(rule.get_items("stages")):
        yield from _stage(stage, is_first=index == 0, names=names)


def _spans_of_rule(rule: Node) -> Told:
    inactive_for, max_inactive = duration(rule, "inactive_for"), duration(rule, "max_inactive")
    if inactive_for is not None and max_inactive is not None and max_inactive <= inactive_for:
        told = (
            f"max_inactive {rule.get_text('max_inactive')} must be longer than inactive_for "
            f"{rule.get_text('inactive_for')}, or nobody is ever in between"
        )
        yield rule.value_place("max_inactive"), told
    begin, end = _instant(rule, "enabled_from"), _instant(rule, "enabled_until")
    if begin is not None and end is not None and end <= begin:
        told = (
            f"enabled_until {rule.get_text('enabled_until')} must be later than enabled_from "
            f"{rule.get_text('enabled_from')}; exchange or mend them"
        )
        yield rule.value_place("enabled_until"), told


def _shares(rule: Node) -> Told:
    holdout, rollout = rule.get("holdout"), rule.get("rollout")
    held_out = _share(holdout)
    if held_out is not None and _percent(held_out) == PERCENT_MAX:
        told = (
            "holdout: 100 percent leaves nobody to send to; write less, or mode: shadow to send "
            "nothing"
        )
        yield held_out.place, told
    share = _share(rollout)
    if share is not None and _percent(share) == 0:
        told = (
            "rollout: at 0 percent the rule begins for nobody; write more, or remove the rule; "
            "comeback pause stops it for a while"
        )
        yield share.place, told


def _share(share: Node | None) -> Node | None:
    """The percentage of a share, stated alone or as `percent`."""
    return share if share is None or share.entries is None else share.get("percent")


def _stage(stage: Node, *, is_first: bool, names: dict[str, Place]) -> Told:
    if stage.entries is None:
        return
    name = stage.get_text("name")
    if name is not None and name in names:
        told = f"the stage {quoted(name)} is there already, in line {names[name].line}; rename one"
        yield stage.value_place("name"), told
    elif name is not None:
        names[name] = stage.value_place("name")
    if not is_first and not _states(stage, ("after",)):
        told = 'a later stage must state "after", the wait since the stage before, such as 2d'
        yield stage.place, told
    yield from check_matchers(stage, of_rule=True, key="only_if")
    yield from _one_of(stage, ("message", "template", "variants"), "the stage")
    is_email = stage.get_text("channel") == Channel.EMAIL
    yield from _message(stage, is_email=is_email)
    yield from _variants(stage.get_items("variants"), is_email=is_email)


def _one_of(owner: Node, keys: tuple[str, ...], what: str) -> Told:
    stated = [key for key in keys if key in (owner.entries or {})]
    if not _states(owner, keys):
        told = f'{what} has nothing to say; state "message" here, or "template" for a file'
        yield owner.place, told
    for key in stated[1:]:
        told = f'{what} has either "{stated[0]}" or "{key}"; remove one'
        yield owner.key_place(key), told


def _states(owner: Node, keys: tuple[str, ...]) -> bool:
    """Is one of the keys there, or one that is misspelt? That has been told."""
    return any(key in keys or key_meant(key, keys) for key in owner.entries or ())


def _message(owner: Node, *, is_email: bool) -> Told:
    message = owner.get("message")
    if message is not None and is_email:
        yield from ((Place(p.file, p.line, p.column), p.message) for p in check_email(message))


def _variants(variants: Iterable[Node], *, is_email: bool) -> Told:
    names: dict[str, Place] = {}
    weighed: set[bool] = set()
    for variant in variants:
        if variant.entries is None:
            continue
        name = variant.get_text("name")
        if name in names:
            told = f"the variant {quoted(name)} is there already, in line {names[name].line}"
            yield variant.value_place("name"), f"{told}; rename one"
        elif name is not None:
            names[name] = variant.value_place("name")
        if len(weighed) == 1 and ("weight" in variant.entries) not in weighed:
            told = "state the weight of every variant, or of none, which makes equal parts"
            yield variant.key_place("weight"), told
        weighed.add("weight" in variant.entries)
        yield from _one_of(variant, ("message", "template"), "the variant")
        yield from _message(variant, is_email=is_email)


def _unique(documents: Documents, section: str, key: str) -> Iterator[Problem]:
    seen: dict[str, Place] = {}
    for root in documents.values():
        for item in root.get_items(section):
            name, place = item.get_text(key), item.value_place(key)
            if name is None:
                continue
            if name in seen:
                first = f"{seen[name].file}:{seen[name].line}"
                told = f"{key} {quoted(name)} is there already, in {first}; rename one"
                yield Problem(*place, told)
            else:
                seen[name] = place


def _too_many_rules(documents: Documents) -> Iterator[Problem]:
    count = 0
    for root in documents.values():
        count += len(root.get_items("rules"))
        if count > RULES_MAX:
            told = f"more than {RULES_MAX} rules in the folder; merge those that differ little"
            yield Problem(*root.key_place("rules"), told)
            return


def duration(node: Node, key: str) -> int | None:
    """A duration in ms; None when it is missing or none."""
    try:
        return parse_duration(node.get_text(key) or "")
    except Refused:
        return None


def _instant(node: Node, key: str) -> int | None:
    try:
        return parse_instant(node.get_text(key) or "")
    except Refused:
        return None


def _percent(node: Node | None) -> float | None:
    try:
        return parse_percent((node.text if node else None) or "")
    except Refused:
        return None
