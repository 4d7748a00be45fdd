"""A backtest as one HTML page, for people who would rather look than read. Pure.

Complete in itself: no script, no font, no request. It is XML as well, so that any parser reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import Final

from worker.backtest import charts
from worker.backtest.charts import Bar, Series
from worker.backtest.report import Report
from worker.backtest.results import BEGUN, Result
from worker.backtest.tables import Column, Kind, Row, Table, places_for, shown
from worker.backtest.text import has_content, warnings
from worker.rules.instants import instant

_CHANNELS: Final = (("push", "push"), ("email", "e-mail"), ("sms", "SMS"))
REASONS_DRAWN_MAX: Final = 20
"""Reasons in a chart; the table has all."""


def as_page(report: Report) -> str:
    """The whole page."""
    title = f"Backtest of {' '.join(report.reading.names)}"
    style = files("worker.backtest").joinpath("page.css").read_text(encoding="utf-8")
    drawn = _drawn(report)
    sections = [
        _section(table, drawn.get(table.name, ""), report)
        for table in report.tables
        if has_content(table)
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en" xmlns="http://www.w3.org/1999/xhtml"><head>'
        '<meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(title)}</h1>{_head(report)}</header>"
        f"<main>{_figures(report)}{''.join(sections)}</main></body></html>\n"
    )


def _head(report: Report) -> str:
    reading = report.reading
    lines = [
        f"{reading.records:,} records, {instant(reading.first_ms)} to {instant(reading.last_ms)}"
    ]
    for letter, result in zip("AB", report.results, strict=False):
        side = f"{letter}: " if report.compares else "rules "
        lines.append(f"{side}{result.label}, revision {result.revision}")
    lines += report.caveats
    notes = [*warnings(reading), *report.notes]
    head = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return head + "".join(f'<p class="warning">{escape(note)}</p>' for note in notes)


# --- the summary and the tables ---------------------------------------------------------------


def _figures(report: Report) -> str:
    cards = []
    for figure, values in report.figure_rows():
        unit = f" ({report.currencies})" if figure.kind is Kind.MONEY else ""
        places = places_for(values)
        numbers = [shown(value, figure.kind, places=places) for value in values[:2]]
        told = figure.note
        if report.compares:
            told = shown(values[2], figure.kind, signed=True, places=places)
        value = '<span class="to">→</span>'.join(
            f'<data value="{_plain(v)}">{escape(n)}</data>'
            for v, n in zip(values[:2], numbers, strict=False)
        )
        cards.append(
            f'<div class="card" id="figure-{figure.name}"><dt>{escape(figure.title + unit)}</dt>'
            f'<dd>{value}</dd><dd class="note">{escape(told)}</dd></div>'
        )
    return f'<dl class="cards">{"".join(cards)}</dl>'


def _section(table: Table, drawing: str, report: Report) -> str:
    body = _table(table, report)
    if drawing:
        body = f"{drawing}<details><summary>the numbers</summary>{body}</details>"
    return (
        f'<section id="{table.name}"><h2>{escape(table.title)}</h2>'
        f"<p>{escape(table.about)}</p>{body}</section>"
    )


def _table(table: Table, report: Report) -> str:
    heads = [f'<th scope="col">{escape(key)}</th>' for key in table.keys]
    heads += [
        f'<th scope="col" class="{column.kind.value}">{escape(_titled(column, report))}</th>'
        for column in table.columns
    ]
    rows = "".join(_row(row, table.columns, table.places) for row in table.rows)
    return (
        f'<div class="scroll"><table><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _titled(column: Column, report: Report) -> str:
    return f"{column.title} ({report.currencies})" if column.kind is Kind.MONEY else column.title


def _row(row: Row, columns: Sequence[Column], places: int) -> str:
    cells = [f'<th scope="row">{escape(key)}</th>' for key in row.keys]
    for value, column in zip(row.values, columns, strict=True):
        text = shown(value, column.kind, signed=column.is_change, places=places)
        cells.append(
            f'<td class="{column.kind.value}"><data value="{_plain(value)}">{escape(text)}</data>'
            "</td>"
        )
    return f"<tr>{''.join(cells)}</tr>"


def _plain(value: object) -> str:
    """A figure as the JSON has it; empty for none."""
    return "" if value is None else escape(str(value))


# --- the charts -------------------------------------------------------------------------------


def _drawn(report: Report) -> dict[str, str]:
    """The charts, by the table they show."""
    draw = {
        "sends_per_day": _sends_per_day,
        "cost_per_day": _cost_per_day,
        "sends_by_hour": _sends_by_hour,
        "funnel": _funnel,
        "holds": _holds,
        "skips": _skips,
    }
    return {name: _beside(report, how(report.results)) for name, how in draw.items()}


def _beside(report: Report, drawings: Sequence[str]) -> str:
    if not report.compares:
        return f"<figure>{drawings[0]}</figure>"
    figures = [
        f"<figure><figcaption>{letter}: {escape(result.label)}</figcaption>{drawing}</figure>"
        for letter, result, drawing in zip("AB", report.results, drawings, strict=True)
    ]
    return f'<div class="pair">{"".join(figures)}</div>'


def _by_channel(results: Sequence[Result], name: str, label: str, kind: Kind) -> list[str]:
    """Columns of days, stacked by channel, on one scale."""
    tables = [result.table(name) for result in results]
    stacks = [[list(map(_number, table.column(c))) for c, _ in _CHANNELS] for table in tables]
    most = max((sum(day) for stack in stacks for day in zip(*stack, strict=True)), default=0.0)
    places = places_for([most])

    def written(value: float) -> str:
        return _count(value) if kind is Kind.COUNT else shown(value, kind, places=places)

    return [
        _legend(_CHANNELS)
        + charts.columns(
            [row.keys[0] for row in table.rows],
            [
                Series(title=title, css=css, values=values)
                for (css, title), values in zip(_CHANNELS, stack, strict=True)
            ],
            label=label,
            written=written,
            most=most,
        )
        for table, stack in zip(tables, stacks, strict=True)
    ]


def _sends_per_day(results: Sequence[Result]) -> list[str]:
    return _by_channel(results, "sends_per_day", "Sends per day by channel", Kind.COUNT)


def _cost_per_day(results: Sequence[Result]) -> list[str]:
    return _by_channel(results, "cost_per_day", "Cost per day by channel", Kind.MONEY)


def _sends_by_hour(results: Sequence[Result]) -> list[str]:
    tables = [result.table("sends_by_hour") for result in results]
    most = max((_number(v) for table in tables for v in table.column("local")), default=0.0)
    return [
        charts.columns(
            [row.keys[0] for row in table.rows],
            [
                Series(
                    title="on the user's clock",
                    css="plain",
                    values=list(map(_number, table.column("local"))),
                )
            ],
            label="Sends by hour of the user's day",
            written=_count,
            most=most,
        )
        for table in tables
    ]


_STEPS: Final = (("sent", "sent"), ("would_send", "shadow"), ("held_out", "held out"))


def _funnel(results: Sequence[Result]) -> list[str]:
    """What became of the ladders that began, step by step."""
    return [_legend(_STEPS) + _steps(result.table("funnel")) for result in results]


def _steps(table: Table) -> str:
    rows = []
    for row in table.rows:
        values = dict(zip([column.name for column in table.columns], row.values, strict=True))
        parts = [(css, _number(values[css])) for css, _ in _STEPS]
        passed = sum(value for _, value in parts)
        first = row.keys[1] == BEGUN
        rows.append(
            Bar(
                name=row.keys[0] if first else row.keys[1],
                parts=[("plain", passed)] if first else parts,
                shown=f"{_count(passed)}{' begun' if first else ''}",
                told=f"{row.keys[0]} {row.keys[1]}: "
                + ", ".join(
                    f"{column.title} {shown(v, column.kind)}" for column, v in _cells(table, row)
                ),
            )
        )
    return charts.bars(rows, label="What became of every stage, by rule")


def _cells(table: Table, row: Row) -> Iterator[tuple[Column, int | float | str | None]]:
    yield from zip(table.columns, row.values, strict=True)


def _holds(results: Sequence[Result]) -> list[str]:
    return _by_reason(results, "holds", "Holds by reason")


def _skips(results: Sequence[Result]) -> list[str]:
    return _by_reason(results, "skips", "Skipped stages by reason")


def _by_reason(results: Sequence[Result], name: str, label: str) -> list[str]:
    """One bar a reason, over all rules and stages, on one scale."""
    counts = []
    for result in results:
        of: dict[str, float] = {}
        for row in result.table(name).rows:
            of[row.keys[-1]] = of.get(row.keys[-1], 0) + _number(row.values[0])
        counts.append(of)
    most = max((value for of in counts for value in of.values()), default=0.0)
    return [
        charts.bars(
            [
                Bar(
                    name=reason,
                    parts=[("plain", value)],
                    shown=_count(value),
                    told=f"{reason}: {_count(value)}",
                )
                for reason, value in sorted(of.items(), key=lambda item: -item[1])
            ][:REASONS_DRAWN_MAX],
            label=label,
            most=most,
        )
        for of in counts
    ]


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    items = "".join(f'<li><i class="{css}"></i>{escape(title)}</li>' for css, title in entries)
    return f'<ul class="legend">{items}</ul>'


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _count(value: float) -> str:
    return f"{value:,.10g}"
