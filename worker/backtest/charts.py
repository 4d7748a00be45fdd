"""Charts as SVG text: stacked columns over time, bars of reasons and steps. Pure.

No script: every mark carries its numbers as a `<title>`, which browsers show on hover and screen
readers read. Colours are classes, which the page gives for light and dark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final, TypeAlias

WIDTH: Final = 1060
HEIGHT: Final = 260
LEFT: Final = 64
RIGHT: Final = 8
TOP: Final = 12
BOTTOM: Final = 28
CHAR_WIDTH: Final = 8
"""Of a label under a column, with room beside it."""

ROW_HEIGHT: Final = 30
BAR_HEIGHT: Final = 16
NAME_WIDTH: Final = 240
NUMBER_WIDTH: Final = 150

Written: TypeAlias = Callable[[float], str]
"""A number as people read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One colour of a stacked chart: a value for each column. `css` is its class."""

    title: str
    css: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of a bar chart; `parts` are (class, value) from left to right."""

    name: str
    parts: Sequence[tuple[str, float]]
    shown: str
    """The number beside the bar."""
    told: str
    """What hovering tells."""


def columns(
    names: Sequence[str],
    series: Sequence[Series],
    *,
    label: str,
    written: Written,
    most: float | None = None,
) -> str:
    """Stacked columns, one for each name. `most` is the top of the scale, for charts that are to be
    compared; None: the highest column."""
    totals = [sum(one.values[n] for one in series) for n in range(len(names))]
    step, top = ticks(most if most is not None else max(totals, default=0))
    height, width = HEIGHT - TOP - BOTTOM, WIDTH - LEFT - RIGHT
    pitch = width / max(1, len(names))
    parts = [_frame(step, top, height, written)]
    longest = max((len(name) for name in names), default=0)
    every = max(1, ceil((longest + 1) * CHAR_WIDTH / pitch))
    for n, name in enumerate(names):
        x = LEFT + n * pitch
        parts.append(_column(name, n, series, x, pitch, height / top, written))
        if n % every == 0:
            middle = x + pitch / 2
            parts.append(
                f'<text class="tick" x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
                f"{escape(name)}</text>"
            )
    return _svg(HEIGHT, label, parts)


def _frame(step: float, top: float, height: int, written: Written) -> str:
    lines = []
    for n in range(round(top / step) + 1):
        y = TOP + height * (1 - n * step / top)
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape(written(n * step))}</text>"
        )
    return "".join(lines)


def _column(
    name: str,
    n: int,
    series: Sequence[Series],
    x: float,
    pitch: float,
    scale: float,
    written: Written,
) -> str:
    """One column; its whole height answers to hovering, also where it is empty."""
    gap = min(4.0, pitch * 0.2)
    told = [f"{one.title} {written(one.values[n])}" for one in series]
    if len(series) > 1:
        told.append(f"all {written(sum(one.values[n] for one in series))}")
    marks = []
    y = float(HEIGHT - BOTTOM)
    for one in series:
        tall = one.values[n] * scale
        if tall > 0:
            y -= tall
            marks.append(
                f'<rect class="{one.css}" x="{x + gap / 2:.2f}" y="{y:.2f}" '
                f'width="{pitch - gap:.2f}" height="{tall:.2f}"/>'
            )
    title = escape(f"{name}: {', '.join(told)}")
    hover = (
        f'<rect class="hover" x="{x:.2f}" y="{TOP}" width="{pitch:.2f}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/>'
    )
    return f'<g class="column"><title>{title}</title>{hover}{"".join(marks)}</g>'


def bars(rows: Sequence[Bar], *, label: str, most: float | None = None) -> str:
    """Bars from left to right, one a row."""
    top = most if most is not None else max((sum(v for _, v in r.parts) for r in rows), default=0)
    scale = (WIDTH - NAME_WIDTH - NUMBER_WIDTH) / top if top else 0.0
    parts = []
    for n, row in enumerate(rows):
        y = n * ROW_HEIGHT + (ROW_HEIGHT - BAR_HEIGHT) / 2
        x = float(NAME_WIDTH)
        marks = []
        for css, value in row.parts:
            wide = value * scale
            marks.append(
                f'<rect class="{css}" x="{x:.2f}" y="{y}" width="{wide:.2f}" '
                f'height="{BAR_HEIGHT}" rx="2"/>'
            )
            x += wide
        middle = n * ROW_HEIGHT + ROW_HEIGHT / 2 + 4
        parts.append(
            f'<g class="bar"><title>{escape(row.told)}</title>'
            f'<rect class="hover" x="0" y="{n * ROW_HEIGHT}" width="{WIDTH}" '
            f'height="{ROW_HEIGHT}"/>{"".join(marks)}'
            f'<text class="name" x="{NAME_WIDTH - 10}" y="{middle}" text-anchor="end">'
            f"{escape(_short(row.name))}</text>"
            f'<text class="number" x="{x + 8:.1f}" y="{middle}">{escape(row.shown)}</text></g>'
        )
    return _svg(max(1, len(rows)) * ROW_HEIGHT, label, parts)


NAME_CHARS_MAX: Final = 32


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARS_MAX else f"{name[: NAME_CHARS_MAX - 1]}…"


def _svg(height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def ticks(most: float) -> tuple[float, float]:
    """The distance of grid lines, 1, 2 or 5 times a power of ten, and the top of the scale."""
    if most <= 0:
        return 1.0, 1.0
    rough = most / 4
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return step, ceil(most / step - 1e-9) * step
