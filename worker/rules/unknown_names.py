"""Names in rules and messages that no user has: a slip, or an attribute the app never sends. Pure.

What users have comes from the state (`comeback check --state`). Only names are looked at, never
values, and only names of attributes are shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from jinja2 import Environment, TemplateSyntaxError, nodes

from worker.rules.document import Node
from worker.rules.facts import BUILT_IN
from worker.rules.load import Inspection
from worker.rules.matchers import parse_matcher
from worker.rules.problems import Place, Problem, Refused, nearest, quoted

_SYNTAX: Final = Environment(autoescape=True)  # nothing is rendered with it
_USER, _ENDPOINT = "User.UserAttributes", "Attributes"


def unknown_names(
    inspection: Inspection, user_attributes: Collection[str], attributes: Collection[str]
) -> tuple[Problem, ...]:
    """A warning for every matcher and template of a sound set that names an attribute nobody has.

    `user_attributes` and `attributes` are the names found on users and on endpoints.
    """
    known = _Known(user_attributes, attributes)
    found: list[Problem] = []
    for source in inspection.sources:
        for owner, key in _owners_of_matchers(source.root):
            for item in owner.get_items(key):
                found += _of_matcher(item, key, known)
        for rule in source.root.get_items("rules"):
            for stage in rule.get_items("stages"):
                for owner in (stage, *stage.get_items("variants")):
                    message = owner.get("message")
                    found += _of_message(message, known) if message else ()
    for root in inspection.template_roots.values():
        found += _of_message(root, known)
    return tuple(sorted(set(found)))


class _Known:
    """The names there are."""

    def __init__(self, user: Collection[str], endpoint: Collection[str]) -> None:
        self.by_group = {_USER: frozenset(user), _ENDPOINT: frozenset(endpoint)}
        self.either = self.by_group[_USER] | self.by_group[_ENDPOINT]

    def of_matcher(self, name: str) -> tuple[str, Collection[str]]:
        """The attribute a matcher's name means, and the names it may be one of."""
        for prefix, group in (("user.", _USER), ("endpoint.", _ENDPOINT)):
            # `user.x` may also be the plain name of an attribute that is called so.
            if name.startswith(prefix) and name not in self.either:
                return name.removeprefix(prefix), self.by_group[group]
        return name, self.either


def _owners_of_matchers(root: Node) -> Iterator[tuple[Node, str]]:
    for section in ("quiet_hours", "legal_texts"):
        yield from ((item, "match") for item in root.get_items(section))
    for rule in root.get_items("rules"):
        yield rule, "match"
        yield from ((stage, "only_if") for stage in rule.get_items("stages"))


def _of_matcher(item: Node, key: str, known: _Known) -> Iterator[Problem]:
    try:
        matcher = parse_matcher(item.text or "")
    except Refused:
        return
    name, names = known.of_matcher(matcher.name)
    if matcher.name not in BUILT_IN and name not in names:
        told = f"{key}: no user has the attribute {quoted(name)}{nearest(name, names) or ';'}"
        yield Problem(*item.place, f"{told} the matcher compares with an empty value")


def _of_message(message: Node, known: _Known) -> Iterator[Problem]:
    for text, place in _texts(message):
        for group, name in _named(text):
            names = known.by_group[group]
            if name not in names:
                guess = nearest(name, names)
                other = name in known.either and not guess
                guess = f"; it is one of {_other(group)}" if other else guess or ";"
                told = f"no user has {{{{{group}.{name}}}}}{guess}".rstrip(";")
                yield Problem(*place, f"{told}; it takes its default, or holds the message")


def _other(group: str) -> str:
    return _ENDPOINT if group == _USER else _USER


def _texts(node: Node) -> Iterator[tuple[str, Place]]:
    """Every text below a node, with its place."""
    if node.text is not None:
        yield node.text, node.place
    for item in node.items or ():
        yield from _texts(item)
    for entry in (node.entries or {}).values():
        yield from _texts(entry.value)


def _named(text: str) -> set[tuple[str, str]]:
    """(group, attribute) for every attribute a template names."""
    try:
        tree = _SYNTAX.parse(text)
    except TemplateSyntaxError:
        return set()
    members: list[nodes.Getattr | nodes.Getitem] = [*tree.find_all(nodes.Getattr)]
    members += tree.find_all(nodes.Getitem)
    named = {(_path(member.node), _member(member)) for member in members}
    return {(group, name) for group, name in named if group in (_USER, _ENDPOINT) and name}


def _path(node: nodes.Node) -> str:
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        return f"{_path(node.node)}.{node.attr}"
    return ""


def _member(node: nodes.Getattr | nodes.Getitem) -> str:
    if isinstance(node, nodes.Getattr):
        return node.attr
    value = node.arg.value if isinstance(node.arg, nodes.Const) else None
    return value if isinstance(value, str) else ""
