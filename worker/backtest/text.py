"""A backtest as text for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from worker.backtest.report import Reading, Report
from worker.backtest.tables import Column, Kind, Row, Table, places_for, shown
from worker.rules.durations import written
from worker.rules.instants import instant

ROWS_SHOWN_MAX: Final = 62
"""Of a table; two months of days."""

WIDTH: Final = 120
"""Characters of a line where no terminal says how wide it is."""

GAP: Final = "  "
BAR_CHARS: Final = 24
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_FULL: Final = "█"

_BARS: Final = {"sends_per_day": "sends", "sends_by_hour": "local", "cost_per_day": "cost"}
"""Tables that are drawn too, and by which column."""


def as_text(report: Report, *, width: int = WIDTH) -> str:
    """The summary and every table that has something in it. Tables wider than `width` characters
    go on below, with their first columns again, as far as that helps."""
    sections = ["\n".join(_head(report)), _figures(report)]
    sections += [_section(table, report, width) for table in report.tables if has_content(table)]
    return "\n\n".join(sections)


def has_content(table: Table) -> bool:
    """Does any of its figures say something?"""
    return any(value for row in table.rows for value in row.values if not isinstance(value, str))


def _head(report: Report) -> Iterator[str]:
    reading = report.reading
    length = written(max(0, reading.last_ms - reading.first_ms) // 60_000 * 60_000)
    yield (
        f"{reading.records:,} records from {' '.join(reading.names)}: "
        f"{instant(reading.first_ms)} to {instant(reading.last_ms)} ({length})"
    )
    for letter, result in zip("AB", report.results, strict=False):
        side = f"{letter}  " if report.compares else "rules "
        yield f"{side}{result.label}, revision {result.revision}"
    yield from report.caveats
    yield from warnings(reading)
    yield from report.notes


def warnings(reading: Reading) -> Iterator[str]:
    """What was not as it should be, one sentence each."""
    if reading.late:
        yield (
            f"{reading.late:,} records came after newer ones, up to "
            f"{written(reading.late_max_ms)} behind; they count as if they had arrived then"
        )
    if reading.unreadable:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(reading.unreadable.items()))
        yield f"not readable, or not all of it: {reasons} (what stays of such a record counts)"
    if any(reading.odd.values()):
        kinds = ", ".join(f"{kind} {n:,}" for kind, n in sorted(reading.odd.items()))
        yield f"counted as if they had come with the record before them: {kinds}"
    if reading.broken:
        kinds = ", ".join(f"{kind} {n:,}" for kind, n in sorted(reading.broken.items()))
        yield f"files that could not be read to their end: {kinds}"


def _figures(report: Report) -> str:
    lines: list[list[str]] = []
    if report.compares:
        lines.append(["", "A", "B", "change", ""])
    for figure, values in report.figure_rows():
        title = (
            f"{figure.title} ({report.currencies})" if figure.kind is Kind.MONEY else figure.title
        )
        places = places_for(values)
        cells = [shown(value, figure.kind, places=places) for value in values]
        if report.compares:
            cells[-1] = shown(values[-1], figure.kind, signed=True, places=places)
        lines.append([title, *cells, "" if report.compares else figure.note])
    return "\n".join(aligned(lines, left={0, len(lines[0]) - 1}))


def _section(table: Table, report: Report, width: int) -> str:
    columns = [column for column in table.columns if column.main or not report.compares]
    picked = [table.columns.index(column) for column in columns]
    titles = [_title(column) for column in columns]
    bar = None if report.compares else _BARS.get(table.name)
    scale = max((abs(float(v)) for v in _numbers(table, bar)), default=0.0) if bar else 0.0
    places = table.places
    lines = [[*table.keys, *titles, *([""] if bar else [])]]
    for row in table.rows[:ROWS_SHOWN_MAX]:
        cells = [_shown(row, index, table.columns[index], places) for index in picked]
        drawn = [_bar(row, table, bar, scale)] if bar else []
        lines.append([*row.keys, *cells, *drawn])
    left = {*range(len(table.keys)), *([len(lines[0]) - 1] if bar else [])}
    left |= {len(table.keys) + n for n, c in enumerate(columns) if c.kind is Kind.TEXT}
    money = any(column.kind is Kind.MONEY for column in columns)
    title = f"{table.title} ({report.currencies})" if money else table.title
    more = len(table.rows) - ROWS_SHOWN_MAX
    tail = [f"  ... and {more:,} more; --csv, --json and --html have them all"] if more > 0 else []
    together = 3 if report.compares and not any(c.kind is Kind.TEXT for c in columns) else 1
    parts = folded(lines, keys=len(table.keys), together=together, left=left, width=width)
    return "\n".join([title, *parts, *tail])


def _title(column: Column) -> str:
    return column.title or column.name


def _shown(row: Row, index: int, column: Column, places: int) -> str:
    return shown(row.values[index], column.kind, signed=column.is_change, places=places)


def _numbers(table: Table, name: str) -> list[int | float]:
    return [value for value in table.column(name) if isinstance(value, int | float)]


def _bar(row: Row, table: Table, name: str, scale: float) -> str:
    value = row.values[[column.name for column in table.columns].index(name)]
    if not isinstance(value, int | float) or scale <= 0:
        return ""
    eighths = round(value / scale * BAR_CHARS * 8)
    return (_FULL * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def folded(
    lines: Sequence[Sequence[str]], *, keys: int, together: int, left: set[int], width: int
) -> list[str]:
    """Lines of cells as columns of at most `width` characters: columns that have no room follow
    below, after the first `keys` columns again. So many columns as `together` are not parted."""
    widths = [max(len(line[n]) for line in lines) + len(GAP) for n in range(len(lines[0]))]
    groups = [range(n, min(n + together, len(widths))) for n in range(keys, len(widths), together)]
    out: list[str] = []
    while groups or not out:
        picked, used = list(range(keys)), sum(widths[:keys])
        while groups:
            needed = sum(widths[n] for n in groups[0])
            if len(picked) > keys and used + needed > width:
                break
            picked += groups.pop(0)
            used += needed
        cells = [[line[n] for n in picked] for line in lines]
        out += aligned(cells, left={n for n, column in enumerate(picked) if column in left})
    return out


def aligned(lines: Sequence[Sequence[str]], *, left: set[int], indent: str = "  ") -> list[str]:
    """Lines of cells as columns; numbers to the right, columns of `left` to the left."""
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    out = []
    for line in lines:
        cells = [
            cell.ljust(width) if n in left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        out.append((indent + GAP.join(cells)).rstrip())
    return out
