"""Charts as SVG text for the report: lines, intervals, tables of counts; no script, readable in the dark and in print.

Colours are classes (``c0``.. ``c7``) that the page's style sheet fills in, in the order of Okabe and Ito (2008), which
people with colour blindness can tell apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 8
_WIDTH, _HEIGHT = 460, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 44
_TICKS = 5
_ROW = 26
_DARK_CELL = 0.55  # share from which on a cell is so full that its number must be white


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its name and points; NaN breaks it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with its interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """Label and range; None takes the range from the data."""

    label: str
    low: float | None = None
    high: float | None = None


def line_chart(lines: Sequence[Line], x: Axis, y: Axis, *, diagonal: bool = False) -> str:
    """Curves over two axes with a legend; ``diagonal``: the dashed line of equal x and y."""
    across = _span([v for line in lines for v in line.x], x)
    up = _span([v for line in lines for v in line.y], y)
    parts = [_axes(across, up, x.label, y.label)]
    if diagonal:
        (x0, y0), (x1, y1) = _at(across, up, across[0], up[0]), _at(across, up, across[1], up[1])
        parts.append(f'<line class="guide" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>')
    for number, line in enumerate(lines):
        colour = f"c{number % COLOURS}"
        points = [
            _at(across, up, a, b) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(a) and math.isfinite(b)
        ]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline class="line {colour}" points="{path}"/>')
        if line.dots:
            parts += [f'<circle class="dot {colour}" cx="{px:.1f}" cy="{py:.1f}" r="3.2"/>' for px, py in points]
    return _svg(_WIDTH, _HEIGHT, parts) + _legend([line.name for line in lines])


def interval_chart(bars: Sequence[Bar], label: str, low: float = 0.0, high: float = 1.0) -> str:
    """A row for each value: a dot, and a line for its interval."""
    left = 12 + 6.6 * min(max((len(bar.name) for bar in bars), default=0), 28)
    width, height = _WIDTH, _ROW * len(bars) + 44
    scale = (width - left - 74) / max(high - low, 1e-9)
    parts = []
    for tick in _nice(low, high):
        x = left + (tick - low) * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="6" x2="{x:.1f}" y2="{height - 36}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 22}" text-anchor="middle">{tick:g}</text>')
    for row, bar in enumerate(bars):
        y = 6 + _ROW * (row + 0.5)
        name = bar.name if len(bar.name) <= 28 else bar.name[:27] + "…"  # noqa: PLR2004 - as wide as ``left`` allows
        parts.append(f'<text class="name" x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        if bar.low is not None and bar.high is not None:
            a, b = (left + (min(max(v, low), high) - low) * scale for v in (bar.low, bar.high))
            parts.append(f'<line class="line c0" x1="{a:.1f}" y1="{y}" x2="{b:.1f}" y2="{y}"/>')
        x = left + (min(max(bar.value, low), high) - low) * scale
        parts.append(f'<circle class="dot c0" cx="{x:.1f}" cy="{y}" r="4.5"/>')
        parts.append(f'<text class="name" x="{width - 58}" y="{y + 4:.1f}">{bar.value:.3g}</text>')
    parts.append(f'<text class="label" x="{left}" y="{height - 6}">{escape(label)}</text>')
    return _svg(width, height, parts)


def count_chart(counts: Sequence[Sequence[int]], names: Sequence[str], truth: str = "truth", said: str = "said") -> str:
    """Counts of truth (rows) by what was said (columns); a cell is the darker, the more of its row it holds."""
    side = 64 if len(names) <= 6 else 44  # noqa: PLR2004 - so that ten classes still fit on the page
    left = 34 + 6.6 * min(max(len(name) for name in names), 22)
    top = 34 + (0 if len(names) <= 3 else 40)  # noqa: PLR2004 - from four columns on the names are tilted
    parts = [f'<text class="label" x="{left}" y="14">{escape(said)} →</text>']
    parts.append(f'<text class="label" x="4" y="{top - 6}">{escape(truth)} ↓</text>')
    for k, name in enumerate(names):
        short = escape(name if len(name) <= 22 else name[:21] + "…")  # noqa: PLR2004 - as wide as ``left`` allows
        x, y = left + side * (k + 0.5), top + side * (k + 0.5)
        tilt = f' transform="rotate(-35 {x:.0f} {top - 6})"' if top > 34 else ""  # noqa: PLR2004 - see ``top``
        anchor = "start" if tilt else "middle"
        parts.append(f'<text class="tick" x="{x:.0f}" y="{top - 6}" text-anchor="{anchor}"{tilt}>{short}</text>')
        parts.append(f'<text class="name" x="{left - 8:.0f}" y="{y + 4:.0f}" text-anchor="end">{short}</text>')
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            share = count / max(sum(row), 1)
            x, y = left + side * j, top + side * i
            white = " on" if share > _DARK_CELL else ""
            parts.append(
                f'<rect class="cell" x="{x}" y="{y}" width="{side - 2}" height="{side - 2}" '
                f'style="fill-opacity:{0.04 + 0.9 * share:.2f}"/>'
                f'<text class="count{white}" x="{x + side / 2 - 1}" y="{y + side / 2 + 5}">{count}</text>'
            )
    return _svg(left + side * len(names) + 90, top + side * len(names) + 8, parts)


def histogram(parts: Sequence[tuple[str, Sequence[float]]], x: Axis, bins: int = 20) -> str:
    """How often values of each height occur, as a line of steps for each named part, as shares of that part."""
    low, high = _span([v for _, values in parts for v in values], x)
    lines = []
    for name, values in parts:
        counts = [0] * bins
        for value in values:
            counts[min(max(int((value - low) / (high - low) * bins), 0), bins - 1)] += 1
        edges = [low + (high - low) * b / bins for b in range(bins + 1)]
        xs = [edge for b in range(bins) for edge in (edges[b], edges[b + 1])]
        ys = [count / max(len(values), 1) for count in counts for _ in range(2)]
        lines.append(Line(f"{name} ({len(values)})", xs, ys))
    return line_chart(lines, Axis(x.label, low, high), Axis("share", 0.0, None))


def _span(values: Sequence[float], axis: Axis) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low = min(finite) if axis.low is None else axis.low
    high = max(finite) if axis.high is None else axis.high
    return (low, high) if high > low else (low, low + 1.0)


def _at(across: tuple[float, float], up: tuple[float, float], x: float, y: float) -> tuple[float, float]:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    right = (min(max(x, across[0]), across[1]) - across[0]) / (across[1] - across[0])
    high = (min(max(y, up[0]), up[1]) - up[0]) / (up[1] - up[0])
    return _LEFT + width * right, _TOP + height * (1 - high)


def _axes(across: tuple[float, float], up: tuple[float, float], x_label: str, y_label: str) -> str:
    parts = []
    for tick in _nice(*across):
        x, bottom = _at(across, up, tick, up[0])
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom:.1f}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{_short(tick)}</text>')
    for tick in _nice(*up):
        left, y = _at(across, up, across[0], tick)
        parts.append(f'<line class="grid" x1="{left:.1f}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{_short(tick)}</text>')
    middle, centre = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<text class="label" x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    turn = f'transform="rotate(-90 12 {centre})"'
    parts.append(f'<text class="label" x="12" y="{centre}" text-anchor="middle" {turn}>{escape(y_label)}</text>')
    return "".join(parts)


def _nice(low: float, high: float) -> list[float]:
    """Round numbers inside a range, about ``_TICKS`` of them."""
    raw = (high - low) / _TICKS
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round((first + i) * step, 10) for i in range(int((high - first * step) / step + 1e-9) + 1)]


def _short(value: float) -> str:
    thousand = 1000
    return f"{value / thousand:g}k" if abs(value) >= 10 * thousand else f"{value:g}"


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    view = f'viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px"'
    return f'<svg role="img" {view} xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'


def _legend(names: Sequence[str]) -> str:
    if not any(names):
        return ""
    items = "".join(
        f'<span><i class="key c{number % COLOURS}"></i>{escape(name)}</span>' for number, name in enumerate(names)
    )
    return f'<p class="legend">{items}</p>'
