"""A whole backtest, and its forms for machines: JSON, and one CSV file a table. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.backtest.results import Result
from worker.backtest.tables import (
    Figure,
    Kind,
    Table,
    Value,
    beside,
    decimal,
    difference,
    rows_as_objects,
)
from worker.rules.durations import written
from worker.rules.instants import instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read."""

    names: tuple[str, ...]
    records: int
    bytes_read: int
    first_ms: int
    last_ms: int
    """Stream time of the first and the last record."""
    late: int = 0
    late_max_ms: int = 0
    """Records that came after newer ones, and the most they were behind."""
    unreadable: Mapping[str, int] = field(default_factory=dict)
    """By reason: what of the records could not be read, or not all of it."""
    odd: Mapping[str, int] = field(default_factory=dict)
    """By kind: records that count all the same."""
    broken: Mapping[str, int] = field(default_factory=dict)
    """By kind: what of the files could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One result, or two to compare."""

    reading: Reading
    results: tuple[Result, ...]
    as_written: bool
    """Rules in mode: shadow sent nothing."""
    after_ms: int = 0
    """How long was played on after the last record."""
    notes: tuple[str, ...] = ()
    """What else whoever reads it should know, one sentence each."""

    @property
    def compares(self) -> bool:
        """Are there two rule sets?"""
        return len(self.results) == 2

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the figures must not be read without, one sentence each."""
        shadow = (
            "rules in mode: shadow send nothing"
            if self.as_written
            else "rules in mode: shadow count as if they were live; --as-written takes them as"
            " they are"
        )
        if not self.after_ms:
            return (shadow,)
        return shadow, f"played on for {written(self.after_ms)} in which nobody comes back"

    @property
    def one_currency(self) -> bool:
        """Can amounts be compared?"""
        return len({result.currency for result in self.results}) == 1

    @property
    def tables(self) -> tuple[Table, ...]:
        """Of the one result, or of both beside each other."""
        one, *others = self.results
        if not others:
            return one.tables
        return tuple(
            beside(table, others[0].table(table.name), one_currency=self.one_currency)
            for table in one.tables
        )

    def figure_rows(self) -> tuple[tuple[Figure, tuple[Value, ...]], ...]:
        """Each figure of the summary with its value in each result, and what it changes by."""
        names = {figure.name: figure for result in self.results for figure in result.figures}
        rows = []
        for name, figure in names.items():
            values: list[Value] = [_value_of(result, name) for result in self.results]
            if self.compares:
                comparable = self.one_currency or figure.kind is not Kind.MONEY
                values.append(difference(values[0], values[1]) if comparable else None)
            rows.append((figure, tuple(values)))
        return tuple(rows)

    @property
    def currencies(self) -> str:
        """`USD`, or `USD / EUR` when the price lists differ."""
        return " / ".join(dict.fromkeys(result.currency for result in self.results))


def _value_of(result: Result, name: str) -> Value:
    return next((figure.value for figure in result.figures if figure.name == name), 0)


def as_json(report: Report) -> str:
    """Everything, with names that stay: money in millionths of `currency`, shares from 0 to 1,
    instants as RFC 3339."""
    reading = report.reading
    document: dict[str, Any] = {
        "reading": {
            "names": list(reading.names),
            "records": reading.records,
            "bytes": reading.bytes_read,
            "first": instant(reading.first_ms),
            "last": instant(reading.last_ms),
            "late": reading.late,
            "late_max_ms": reading.late_max_ms,
            "unreadable": dict(reading.unreadable),
            "odd": dict(reading.odd),
            "broken_files": dict(reading.broken),
        },
        "as_written": report.as_written,
        "after_ms": report.after_ms,
        "notes": [*report.caveats, *report.notes],
        "results": [_result_as_object(result) for result in report.results],
    }
    if report.compares:
        document["comparison"] = {
            "figures": {
                _figure_key(figure): dict(zip(("a", "b", "difference"), values, strict=True))
                for figure, values in report.figure_rows()
            },
            "tables": {table.name: rows_as_objects(table) for table in report.tables},
        }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _result_as_object(result: Result) -> dict[str, Any]:
    return {
        "rules": result.label,
        "revision": result.revision,
        "currency": result.currency,
        "figures": {_figure_key(figure): figure.value for figure in result.figures},
        "tables": {table.name: rows_as_objects(table) for table in result.tables},
    }


def _figure_key(figure: Figure) -> str:
    return f"{figure.name}_micros" if figure.kind is Kind.MONEY else figure.name


def as_csv(report: Report) -> Mapping[str, str]:
    """File name to content: one file a table, and the summary. Amounts are decimals, their column
    names end in the currency; shares are from 0 to 1."""
    currency = report.currencies.replace(" / ", "_").lower()
    sides = ("a", "b", "difference") if report.compares else ("value",)
    summary = [["figure", "unit", *sides]]
    for figure, values in report.figure_rows():
        unit = currency if figure.kind is Kind.MONEY else ""
        summary.append([figure.name, unit, *(_cell(value, figure.kind) for value in values)])
    files = {"summary.csv": _csv(summary)}
    for table in report.tables:
        names = [
            f"{column.name}_{currency}" if column.kind is Kind.MONEY else column.name
            for column in table.columns
        ]
        lines = [[*table.keys, *names]]
        for row in table.rows:
            kinds = [column.kind for column in table.columns]
            cells = [_cell(v, k) for v, k in zip(row.values, kinds, strict=True)]
            lines.append([*row.keys, *cells])
        files[f"{table.name}.csv"] = _csv(lines)
    return files


def _cell(value: Value, kind: Kind) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if kind is Kind.MONEY:
        return decimal(round(value))
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _csv(lines: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
