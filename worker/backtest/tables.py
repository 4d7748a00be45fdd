"""The figures of a backtest as tables, which every output is made of. Pure.

A table has key columns, which say what a row is about, and value columns. Two tables of the same
name can be put beside each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from worker.rules.amounts import MICROS

Value: TypeAlias = int | float | str | None
"""None: there is no such figure, or not enough data for it."""


class Kind(StrEnum):
    """What a figure is, and so how it is written."""

    COUNT = "count"
    MONEY = "money"
    """Millionths of the currency."""
    SHARE = "share"
    """0 to 1."""
    POINTS = "points"
    """A difference of shares."""
    TEXT = "text"


CHANGE: Final = "_difference"
"""How names of columns end that say what changes from one run to the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`name` in JSON and CSV, `title` for people. `main`: shown when two runs stand side by side in
    a terminal."""

    name: str
    title: str
    kind: Kind = Kind.COUNT
    main: bool = True

    @property
    def is_change(self) -> bool:
        """Does it say by how much one run has more than another?"""
        return self.name.endswith(CHANGE)


@dataclass(frozen=True, slots=True)
class Row:
    """Texts that say what it is about, and the figures."""

    keys: tuple[str, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`about` is one sentence for whoever reads it the first time."""

    name: str
    title: str
    about: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def places(self) -> int:
        """How many decimal places its amounts are shown with."""
        columns = [n for n, column in enumerate(self.columns) if column.kind is Kind.MONEY]
        return places_for(row.values[n] for row in self.rows for n in columns)

    def column(self, name: str) -> Sequence[Value]:
        """The values of a column, row by row."""
        index = [column.name for column in self.columns].index(name)
        return [row.values[index] for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of the summary."""

    name: str
    title: str
    kind: Kind
    value: Value
    note: str = ""


def beside(one: Table, other: Table, *, one_currency: bool = True) -> Table:
    """Both tables in one: each value of `one` (`_a`), of `other` (`_b`), and what it changes by;
    not of amounts, when they are in different currencies."""
    values_of = [{row.keys: row.values for row in table.rows} for table in (one, other)]
    columns = tuple(wide for column in one.columns for wide in _three(column))
    rows = []
    for keys in _all_keys(one, other):
        pair = [values.get(keys) or _nothing(one.columns) for values in values_of]
        values = [
            value
            for a, b, column in zip(*pair, one.columns, strict=True)
            for value in _beside(a, b, column.kind, one_currency=one_currency)
        ]
        rows.append(Row(keys, tuple(values)))
    return replace(one, columns=columns, rows=tuple(rows))


def _three(column: Column) -> Iterator[Column]:
    name, title = column.name, column.title
    yield replace(column, name=f"{name}_a", title=f"{title} A")
    yield replace(column, name=f"{name}_b", title=f"{title} B")
    if column.kind is not Kind.TEXT:
        kind = Kind.POINTS if column.kind is Kind.SHARE else column.kind
        yield replace(column, name=f"{name}{CHANGE}", title="change", kind=kind)


def _all_keys(one: Table, other: Table) -> Iterator[tuple[str, ...]]:
    """Rows of the first table in their order; those that only the second has come where they stand
    in it: after the row before them."""
    order = [row.keys for row in one.rows]
    known = set(order)
    place = 0
    for row in other.rows:
        if row.keys in known:
            place = order.index(row.keys) + 1
        else:
            order.insert(place, row.keys)
            place += 1
    yield from order


def _nothing(columns: Sequence[Column]) -> tuple[Value, ...]:
    return tuple(0 if c.kind in (Kind.COUNT, Kind.MONEY) else None for c in columns)


def _beside(a: Value, b: Value, kind: Kind, *, one_currency: bool) -> Iterator[Value]:
    yield a
    yield b
    if kind is not Kind.TEXT:
        yield difference(a, b) if one_currency or kind is not Kind.MONEY else None


def difference(a: Value, b: Value) -> Value:
    """By how much `b` is more; None when one of them is not known."""
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        return None
    return b - a


# --- for people -------------------------------------------------------------------------------


PLACES_MAX: Final = 6
"""Of an amount: millionths."""


def places_for(values: Iterable[Value]) -> int:
    """How many decimal places amounts are shown with that stand below each other: two, and more
    when the largest is small, so that three figures of it can be seen."""
    most = max((abs(value) for value in values if isinstance(value, int | float)), default=0)
    places = 2
    while places < PLACES_MAX and 0 < most < MICROS * 10.0 ** (2 - places):
        places += 1
    return places


def shown(value: Value, kind: Kind, *, signed: bool = False, places: int = 2) -> str:
    """A figure as people read it: `1,234`, `12.30`, `4.5%`, `+1.2 pts`; a dash for none. `places`
    are those of money."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    sign = "+" if signed and value > 0 else ""
    match kind:
        case Kind.MONEY:
            return f"{sign}{value / MICROS:,.{places}f}"
        case Kind.SHARE:
            return f"{sign}{value:.1%}"
        case Kind.POINTS:
            return f"{value * 100:+.1f} pts"
        case Kind.COUNT | Kind.TEXT:
            return f"{sign}{value:,}"


# --- for machines -----------------------------------------------------------------------------


def decimal(micros: int) -> str:
    """Millionths as an exact amount with two to six places: `0.00581`, `1200.00`."""
    whole, rest = divmod(abs(micros), MICROS)
    places = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole}.{places}"


def key_of(column: Column) -> str:
    """The name of a column in JSON and CSV; money says its unit."""
    return f"{column.name}_micros" if column.kind is Kind.MONEY else column.name


def rows_as_objects(table: Table) -> list[Mapping[str, Value]]:
    """One object a row: keys, then figures; money in millionths."""
    names = [*table.keys, *(key_of(column) for column in table.columns)]
    return [dict(zip(names, (*row.keys, *row.values), strict=True)) for row in table.rows]
