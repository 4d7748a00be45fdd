"""What an edit of the rules changes, key by key, in the words of the files. Pure.

Both rule sets are written as trees of keys by walking their fields, so that a key added later is
told of without a line here; then the trees are compared. Message texts are ops' own, and short
quotes of them stand in `str(change)`; `summary`, which is for logs, leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from worker.rules.keytree import Branch, Keyed, Leaf, Members, Node, compact, tree_of, without_texts
from worker.rules.problems import quoted
from worker.rules.ruleset import OnEdit, Rule, RuleSet

CHANGES_TOLD_MAX = 20
"""In one line of a log."""
VALUE_CHARS_MAX = 120
NONE = "none"


class ChangeKind(StrEnum):
    """What happened to a key."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"


class Reach(StrEnum):
    """Whom a change touches."""

    NOBODY = "nobody"
    """It is for people to read."""
    NEW = "new"
    """Users whose ladder has yet to begin; those on one finish it as it was."""
    MOVED = "moved"
    """Users on the ladder go on with the new one."""
    CANCELLED = "cancelled"
    """The ladders that have begun end."""
    EVERYBODY = "everybody"
    """At once, also users on a ladder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key that is not what it was.

    `key` is the path of keys below the rule, or below the file when `rule` is None; empty for a
    whole rule. `before` and `after` are written as in the files; None: there is none. `is_text`:
    they are (or hold) the text of a message.
    """

    kind: ChangeKind
    rule: str | None
    key: str
    before: str | None
    after: str | None
    reach: Reach
    is_text: bool = False

    def __str__(self) -> str:
        """`winback: inactive_for: 7d -> 5d`."""
        if self.kind is ChangeKind.CHANGED:
            return f"{self.path}: {self._shown(self.before)} -> {self._shown(self.after)}"
        if self.kind is ChangeKind.MOVED:
            return f"{self.path}: order {self.before} -> {self.after}"
        value = self.after if self.kind is ChangeKind.ADDED else self.before
        return f"{self.path}: {self.kind} {self._shown(value)}" if value else self.bare

    @property
    def path(self) -> str:
        """`winback: stages.sms.after`, `limits.min_gap`."""
        return ": ".join(filter(None, (self.rule, self.key)))

    @property
    def bare(self) -> str:
        """What happened, without values."""
        return f"{self.path}: {self.kind}"

    def _shown(self, value: str | None) -> str:
        if value is None:
            return NONE
        if self.is_text:
            return quoted(value)
        return value if len(value) <= VALUE_CHARS_MAX else f"{value[: VALUE_CHARS_MAX - 3]}..."


def difference(before: RuleSet, after: RuleSet) -> tuple[Change, ...]:
    """Every key that differs: rules in the order of `after` and then those removed, then what holds
    over all rules. Empty when both sets mean the same."""
    return (*_of_rules(before, after), *_of_the_whole(before, after))


def summary(changes: Sequence[Change]) -> str:
    """The changes as a log tells them, without texts: at most `CHANGES_TOLD_MAX` of them."""
    told = [change.bare if change.is_text else str(change) for change in changes]
    more = len(told) - CHANGES_TOLD_MAX
    shown = [*told[:CHANGES_TOLD_MAX], *([f"and {more} more"] if more > 0 else [])]
    return "; ".join(shown) or "none in the rules"


def _of_rules(before: RuleSet, after: RuleSet) -> Iterator[Change]:
    old = {rule.name: rule for rule in before.rules}
    new = {rule.name: rule for rule in after.rules}
    for rule in after.rules:
        former = old.get(rule.name)
        if former is None:
            yield _whole_rule(rule, ChangeKind.ADDED)
        else:
            yield from _of_rule(former, rule, before, after)
    yield from (
        _whole_rule(rule, ChangeKind.REMOVED) for rule in before.rules if rule.name not in new
    )
    # A changed priority is told as such; here is told what files and lines decide.
    asked = [rule.name for rule in before.rules if rule.name in new]
    expected = sorted(asked, key=lambda name: -new[name].priority)
    found = [rule.name for rule in after.rules if rule.name in old]
    if expected != found:
        yield Change(
            kind=ChangeKind.MOVED,
            rule=None,
            key="rules",
            before=", ".join(expected),
            after=", ".join(found),
            reach=Reach.EVERYBODY,
        )


def _whole_rule(rule: Rule, kind: ChangeKind) -> Change:
    told = f"({rule.mode}): {' -> '.join(stage.name for stage in rule.stages)}"
    added = kind is ChangeKind.ADDED
    return Change(
        kind=kind,
        rule=rule.name,
        key="",
        before=None if added else told,
        after=told if added else None,
        reach=Reach.NEW if added else Reach.CANCELLED,
    )


_LADDER = frozenset({"match", "exit_on", "stages", "revision"})
_AT_THE_START = frozenset(
    {"inactive_for", "max_inactive", "cooldown", "holdout", "rollout", "enabled_from"}
)
_FOR_PEOPLE = frozenset({"owner", "file", "labels"})

_REACH_OF_EDIT = {
    OnEdit.FINISH_OLD: Reach.NEW,
    OnEdit.MOVE: Reach.MOVED,
    OnEdit.CANCEL: Reach.CANCELLED,
}


def _of_rule(former: Rule, rule: Rule, before: RuleSet, after: RuleSet) -> Iterator[Change]:
    edited = former.revision != rule.revision
    ladder_told = False
    found = _Differences(rule.name, tree_of(former, before), tree_of(rule, after))
    for change in found.all():
        head = change.key.partition(".")[0]
        reach = Reach.EVERYBODY
        if head in _LADDER:
            ladder_told = True
            reach = _REACH_OF_EDIT[rule.on_edit]
        elif head in _AT_THE_START:
            reach = Reach.NEW
        elif head in _FOR_PEOPLE:
            reach = Reach.NOBODY
        yield replace(change, reach=reach)
    if edited and not ladder_told:
        yield Change(
            kind=ChangeKind.CHANGED,
            rule=rule.name,
            key="revision",
            before=former.revision,
            after=rule.revision,
            reach=_REACH_OF_EDIT[rule.on_edit],
        )


def _of_the_whole(before: RuleSet, after: RuleSet) -> Iterator[Change]:
    return _Differences(None, tree_of(before, before), tree_of(after, after)).all()


class _Differences:
    """The differences of two trees of keys of one rule, or of the files as a whole."""

    def __init__(self, rule: str | None, before: Node, after: Node) -> None:
        self._rule = rule
        self._before = before
        self._after = after

    def all(self) -> Iterator[Change]:
        return self._between(self._before, self._after, ())

    def _between(
        self, before: Node | None, after: Node | None, path: tuple[str, ...]
    ) -> Iterator[Change]:
        if isinstance(before, Members) and isinstance(after, Members):
            yield from self._members(before, after, path)
        elif isinstance(before, Keyed) and isinstance(after, Keyed):
            yield from self._keyed(before, after, path)
        elif isinstance(before, Branch) and isinstance(after, Branch):
            for key in dict.fromkeys((*before.keys, *after.keys)):
                yield from self._between(before.keys.get(key), after.keys.get(key), (*path, key))
        elif before != after:
            yield self._change(ChangeKind.CHANGED, path, before, after)

    def _members(self, before: Members, after: Members, path: tuple[str, ...]) -> Iterator[Change]:
        is_text = before.is_text or after.is_text
        for item in before.items:
            if item not in after.items:
                gone = Leaf(item, is_text=is_text)
                yield self._change(ChangeKind.REMOVED, path, gone, None)
        for item in after.items:
            if item not in before.items:
                come = Leaf(item, is_text=is_text)
                yield self._change(ChangeKind.ADDED, path, None, come)
        if (
            before.in_order
            and before.items != after.items
            and set(before.items) == set(after.items)
        ):
            yield self._change(ChangeKind.MOVED, path, before, after)

    def _keyed(self, before: Keyed, after: Keyed, path: tuple[str, ...]) -> Iterator[Change]:
        for name, node in after.named.items():
            if name not in before.named:
                yield self._change(ChangeKind.ADDED, (*path, name), None, without_texts(node))
            else:
                yield from self._between(before.named[name], node, (*path, name))
        for name, node in before.named.items():
            if name not in after.named:
                yield self._change(ChangeKind.REMOVED, (*path, name), without_texts(node), None)
        stood = [name for name in before.named if name in after.named]
        stand = [name for name in after.named if name in before.named]
        if stood != stand:
            order = Leaf(", ".join(stood)), Leaf(", ".join(stand))
            yield self._change(ChangeKind.MOVED, path, *order)

    def _change(
        self, kind: ChangeKind, path: tuple[str, ...], before: Node | None, after: Node | None
    ) -> Change:
        nodes = [node for node in (before, after) if node is not None]
        return Change(
            kind=kind,
            rule=self._rule,
            key=".".join(path),
            before=None if before is None else compact(before),
            after=None if after is None else compact(after),
            reach=Reach.EVERYBODY,
            is_text=any(node.is_text for node in nodes),
        )
