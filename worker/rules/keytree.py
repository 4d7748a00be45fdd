"""A rule, or what holds over all rules, as a tree of keys and values written as in the files. Pure.

Made by walking the fields of the frozen values: a field that is added to one of them appears here
by itself, under its own name. The tables below only say where a file writes it otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeAlias

from pydantic import BaseModel

from worker.rules.amounts import MICROS
from worker.rules.durations import written
from worker.rules.instants import instant
from worker.rules.limits import Limits, Prices
from worker.rules.ruleset import (
    ActivityPolicy,
    LegalText,
    Matcher,
    OpenWeek,
    QuietHours,
    Rule,
    RuleSet,
    Stage,
    Variant,
)
from worker.rules.templates import Text


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value."""

    value: str
    is_text: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Members:
    """Values without names."""

    items: tuple[str, ...]
    in_order: bool = False
    """Does their order count?"""
    is_text: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Branch:
    """Keys and what stands under them."""

    keys: Mapping[str, Node]

    @property
    def is_text(self) -> bool:
        """Does a text of a message stand somewhere below?"""
        return any(node.is_text for node in self.keys.values())


@dataclass(frozen=True, slots=True)
class Keyed:
    """A list whose entries have names; its order counts. `told`: how it is called as a whole."""

    named: Mapping[str, Node]
    told: str = ""

    @property
    def is_text(self) -> bool:
        """Does a text of a message stand somewhere below?"""
        return any(node.is_text for node in self.named.values())


Node: TypeAlias = Leaf | Members | Branch | Keyed

NOT_KEYS: Mapping[type, frozenset[str]] = {
    # `revision` is a digest of keys that are told themselves, or bumped by hand (diff.py).
    Rule: frozenset({"name", "revision", "line"}),
    # `rules` are compared by name (diff.py), `quiet_hours` stand in two keys (`_windows`); the
    # others tell what the files are.
    RuleSet: frozenset({"revision", "rules", "contents", "retired", "quiet_hours"}),
    # The goals are those of the rules, told there as `conversion`.
    ActivityPolicy: frozenset({"goals"}),
    Stage: frozenset({"name"}),
    Variant: frozenset({"name"}),
    # `is_law` says in which of the two.
    QuietHours: frozenset({"name", "is_law"}),
    Matcher: frozenset({"pattern", "number"}),
}
"""Fields that are no keys of a file, or are told elsewhere."""

WRITTEN_AS: Mapping[tuple[type, str], str] = {
    (Rule, "matchers"): "match",
    (Rule, "goal"): "conversion",
    (Variant, "template"): "message",
    (Variant, "template_name"): "template",
    (QuietHours, "matchers"): "match",
    (QuietHours, "open_week"): "allow",
    (QuietHours, "assume"): "unknown_timezone.assume",
    (QuietHours, "otherwise"): "unknown_timezone.else",
    (LegalText, "matchers"): "match",
    (Limits, "caps"): "user",
    (Limits, "min_gap_ms"): "user.min_gap",
    (Limits, "send_rates"): "send_rate",
    (Limits, "budgets"): "budget",
    (Prices, "otherwise"): "default",
    (RuleSet, "timezone"): "defaults.timezone",
    (RuleSet, "activity"): "defaults.activity",
}
"""Where a file writes a field under another name than its own without `_ms` and `_micros`."""

_INSTANTS = frozenset({"enabled_from_ms", "enabled_until_ms"})
_NAMED = frozenset({"stages", "variants"})
_IN_ORDER = frozenset({"assume", "legal_texts"})
"""Lists whose order counts."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def tree_of(value: Rule | RuleSet, of: RuleSet) -> Branch:
    """The keys of a rule of the set `of`, or of that set without its rules."""
    node = _Writer(of.prices.currency).node(value, "")
    assert isinstance(node, Branch)
    return node


def compact(node: Node) -> str:
    """A node in one line, as YAML's flow style writes it."""
    match node:
        case Leaf(value):
            return value
        case Members(items=items):
            return f"[{', '.join(items)}]"
        case Branch(keys):
            return f"{{{_entries(keys)}}}"
        case Keyed(named, told):
            return told or f"[{_entries(named)}]"


def _entries(nodes: Mapping[str, Node]) -> str:
    shown = {name: compact(node) for name, node in nodes.items()}
    return ", ".join(f"{name}: {text}" for name, text in shown.items() if text not in ("[]", "{}"))


def without_texts(node: Node) -> Node | None:
    """The node less everything that is the text of a message; None when nothing is left."""
    match node:
        case Leaf() | Members():
            return None if node.is_text else node
        case Branch(keys):
            left = {key: kept for key, n in keys.items() if (kept := without_texts(n)) is not None}
            return Branch(left) if left or not keys else None
        case Keyed(named, told):
            left = {name: kept for name, n in named.items() if (kept := without_texts(n))}
            return Keyed(left, told)


class _Writer:
    """Writes values as nodes; knows the currency amounts are in."""

    def __init__(self, currency: str) -> None:
        self._currency = currency

    def node(self, value: object, name: str) -> Node | None:
        """The value of the field `name`; None for none."""
        match value:
            case None:
                return None
            case Text():
                return Leaf(value.source, is_text=True)
            case Matcher():
                return Leaf(str(value))
            case BaseModel():
                return self._branch((n, n, getattr(value, n)) for n in type(value).model_fields)
            case Mapping():
                keys = sorted(value.items(), key=lambda item: str(item[0]))
                return self._branch((str(key), name, below) for key, below in keys)
            case frozenset() | set():
                return Members(tuple(sorted(self._line(item) for item in value)))
            case tuple() | list():
                return self._list(tuple(value), name)
        if is_dataclass(value):
            return self._dataclass(value)
        return Leaf(self._scalar(value, name))

    def _dataclass(self, value: Any) -> Node:
        kind = type(value)
        if kind is Prices:
            return self._prices(value)
        return self._branch_of(value)

    def _branch_of(self, value: Any) -> Branch:
        kind = type(value)
        hidden = NOT_KEYS.get(kind, frozenset())
        branch = self._branch(
            (WRITTEN_AS.get((kind, f.name), _plain(f.name)), f.name, getattr(value, f.name))
            for f in fields(value)
            if f.name not in hidden
        )
        match value:
            case RuleSet():
                return Branch({**branch.keys, **self._windows(value)})
            case Stage(variants=(Variant(name="") as only,)):
                return Branch({**branch.keys, **self._only_text(only)})
        return branch

    def _only_text(self, variant: Variant) -> dict[str, Node]:
        """The text of a stage without variants stands in the stage itself."""
        keys = dict(self._branch_of(variant).keys)
        weight = keys.pop("weight")
        return {
            "variants": Keyed({}),
            **keys,
            **({} if variant.weight == 1 else {"weight": weight}),
        }

    def _windows(self, rule_set: RuleSet) -> dict[str, Node]:
        """Quiet hours of the files, and apart from them those the law brings in as a whole."""
        own, law = (
            {w.name: self._branch_of(w) for w in rule_set.quiet_hours if w.is_law is by_law}
            for by_law in (False, True)
        )
        enforced = Keyed(law, told="enforce") if law else Leaf("ignore")
        return {"quiet_hours": Keyed(own), "law_windows": enforced}

    def _branch(self, entries: Any) -> Branch:
        keys: dict[str, Node] = {}
        for key, name, value in entries:
            node = self.node(value, name)
            if node is not None:
                keys[key] = _as_text(node) if name == "template" else node
        return Branch(keys)

    def _prices(self, prices: Prices) -> Branch:
        """`prices.sms.US`, as a file groups them."""
        keys: dict[str, Node] = {}
        for channel in sorted({*prices.otherwise, *prices.by_country}):
            listed = dict(prices.by_country.get(channel, {}))
            if channel in prices.otherwise:
                listed = {"default": prices.otherwise[channel], **listed}
            keys[channel.value] = Branch(
                {place: Leaf(self._money(micros)) for place, micros in sorted(listed.items())}
            )
        return Branch({**keys, "currency": Leaf(prices.currency)})

    def _list(self, items: tuple[Any, ...], name: str) -> Node:
        if name == "open_week":
            return Leaf(written_week(items))
        if name in _NAMED:
            return Keyed({item.name: self._branch_of(item) for item in items})
        lines = tuple(self._line(item) for item in items)
        return Members(lines, in_order=name in _IN_ORDER, is_text=name == "legal_texts")

    def _line(self, item: object) -> str:
        node = self.node(item, "")
        return "none" if node is None else compact(node)

    def _scalar(self, value: object, name: str) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, Enum):
            return str(value.value)
        if name == "file":
            # Where the folder lies is no matter: the state keeps the names within it.
            return PurePath(str(value)).name
        if isinstance(value, int) and name in _INSTANTS:
            return instant(value)
        if isinstance(value, int) and name.endswith("_ms"):
            return written(value)
        if isinstance(value, int) and name.endswith("_micros"):
            return self._money(value)
        return f"{value:g}" if isinstance(value, float) else str(value)

    def _money(self, micros: int) -> str:
        return f"{money(micros)} {self._currency}"


def _as_text(node: Node) -> Node:
    match node:
        case Leaf() | Members():
            return replace(node, is_text=True)
        case Branch(keys):
            return Branch({key: _as_text(below) for key, below in keys.items()})
        case Keyed(named, told):
            return Keyed({name: _as_text(below) for name, below in named.items()}, told)


def money(micros: int) -> str:
    """Millionths as people write an amount: `200`, `0.00581`, `0.50`."""
    whole, fraction = divmod(micros, MICROS)
    digits = f"{fraction:06d}".rstrip("0")
    return f"{whole}.{digits:0<2}" if digits else str(whole)


def written_week(week: OpenWeek) -> str:
    """`mon-fri: 08:00-21:00, sat: 10:00-24:00`; days that are left out are closed."""
    told: list[str] = []
    day = 0
    while day < len(week):
        last = day
        while last + 1 < len(week) and week[last + 1] == week[day]:
            last += 1
        if week[day]:
            days = DAYS[day] if last == day else f"{DAYS[day]}-{DAYS[last]}"
            spans = " and ".join(f"{_clock(begin)}-{_clock(end)}" for begin, end in week[day])
            told.append(f"{days}: {spans}")
        day = last + 1
    return ", ".join(told) or "never"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _plain(name: str) -> str:
    return name.removesuffix("_ms").removesuffix("_micros")
