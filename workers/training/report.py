"""The report of a training or a measurement: one HTML file that needs nothing else, and the same figures as JSON.

A page is a head (what, on which data, by which weights), blocks in order, and caveats. Classifiers get their blocks
from ``workers.training.classifier_report``; other tasks put tables, charts and pictures together themselves.
"""

import base64
import io
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

from workers.training.charts import Axis, Line, line_chart
from workers.training.outcome import Outcome
from workers.training.report_style import STYLE

OUTCOME, ORDER, REPORT = "outcome.npz", "order.json", "report.json"
_CLOCKS = {"epoch", "step", "minutes", "seconds"}
_THUMBNAIL, _WIDE = 256, 900  # pixels of the longer side


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text or numbers under column names; the first column names the row. ``note`` stands below."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Charts:
    """SVG from ``workers.training.charts``, each with its caption, side by side."""

    title: str
    charts: Sequence[tuple[str, str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures, uint8 (h, w) or (h, w, 3), each with its caption; shown small, or ``wide``: two in a row."""

    title: str
    pictures: Sequence[tuple[NDArray[np.uint8], str]]
    note: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Prose:
    """Paragraphs. ``warning`` makes them stand out."""

    title: str
    text: Sequence[str]
    warning: bool = False


Block = Table | Charts | Gallery | Prose


@dataclass(frozen=True, slots=True)
class Page:
    """A report.

    Attributes:
        title: what was trained or measured.
        headline: the figure that matters, with n and interval, in one sentence.
        facts: what a reader must know to trust or repeat it: data, split, weights, seed, minutes, hardware, command.
        blocks: in order.
        caveats: what was not tested, what may be wrong; one sentence each.
        figures: for report.json, beside title, headline, facts and caveats.
        outcome: of a classifier; kept in outcome.npz, from which folds are pooled.
    """

    title: str
    headline: str
    facts: dict[str, str]
    blocks: Sequence[Block]
    caveats: Sequence[str] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None


def write_report(out: Path, page: Page) -> Path:
    """Write ``out/report.html`` and ``out/report.json``; gives the path of the page.

    How the run was ordered (see ``note_order``) and the hardware are added to the facts; an outcome is kept beside.
    """
    out.mkdir(parents=True, exist_ok=True)
    page = replace(page, facts=page.facts | _order(out) | {"hardware": _hardware()})
    document = {"title": page.title, "headline": page.headline, "facts": page.facts, "caveats": list(page.caveats)}
    text = json.dumps(document | page.figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if page.outcome is not None:
        page.outcome.save(out / OUTCOME)
    (out / "report.html").write_text(to_html(page), encoding="utf-8")
    (out / REPORT).write_text(text, encoding="utf-8")  # the last: a report that is there is whole
    return out / "report.html"


def note_order(out: Path, facts: dict[str, str]) -> None:
    """Keep how a run was ordered (command, seed, minutes), for every report that is written into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    (out / ORDER).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _order(out: Path) -> dict[str, str]:
    try:
        facts = json.loads((out / ORDER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}


def _hardware() -> str:
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} CPU cores ({platform.machine()}){gpu}; torch {torch.__version__}"


def to_html(page: Page) -> str:
    """The page as one file."""
    facts = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in page.facts.items())
    body = "\n".join(_section(block) for block in page.blocks)
    caveats = "".join(f"<li>{escape(text)}</li>" for text in page.caveats)
    if caveats:
        body += f'\n<section class="warning"><h2>What to keep in mind</h2><ul>{caveats}</ul></section>'
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(page.title)}</title><style>{STYLE}</style></head><body><main>\n"
        f'<header><h1>{escape(page.title)}</h1><p class="headline">{escape(page.headline)}</p>'
        f"<dl>{facts}</dl></header>\n{body}\n"
        "<footer>Written by Dentgate. Not for diagnosis. It may show images of the data: treat it as such.</footer>"
        "</main></body></html>\n"
    )


def _section(block: Block) -> str:
    warning = ' class="warning"' if isinstance(block, Prose) and block.warning else ""
    note = "" if isinstance(block, Prose) or not block.note else f'<p class="note">{escape(block.note)}</p>'
    return f"<section{warning}><h2>{escape(block.title)}</h2>{_inside(block)}{note}</section>"


def _inside(block: Block) -> str:
    match block:
        case Table():
            head = "".join(f"<th>{escape(name)}</th>" for name in block.columns)
            rows = "".join(
                "<tr>" + "".join(f"<{_tag(i)}>{escape(_cell(v))}</{_tag(i)}>" for i, v in enumerate(row)) + "</tr>"
                for row in block.rows
            )
            return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        case Charts():
            figures = (f"<figure><figcaption>{escape(text)}</figcaption>{svg}</figure>" for text, svg in block.charts)
            return f'<div class="charts">{"".join(figures)}</div>'
        case Gallery():
            longest = _WIDE if block.wide else _THUMBNAIL
            figures = (
                f'<figure><img alt="" src="{png_url(pixels, longest)}"><figcaption>{escape(text)}</figcaption></figure>'
                for pixels, text in block.pictures
            )
            return f'<div class="gallery{" wide" if block.wide else ""}">{"".join(figures)}</div>'
        case Prose():
            return "".join(f"<p>{escape(text)}</p>" for text in block.text)


def _tag(column: int) -> str:
    return "td" if column else "th"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def png_url(pixels: NDArray[np.uint8], longest: int = _THUMBNAIL) -> str:
    """A picture as a ``data:`` address, at most ``longest`` pixels wide and high."""
    picture = Picture.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((longest, longest), Picture.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def learning_curves(log: Path) -> Charts | None:
    """Charts of log.jsonl: one object a line, ``step`` or ``epoch`` and ``seconds`` beside any numbers.

    A chart for each quantity; ``val_loss`` and ``train_loss`` (or ``loss``) share one, like all that end in the same
    word. None without a log or where nothing in it can be drawn. A half-written last line is left out.
    """
    lines = _log_lines(log)
    keys = sorted(
        {key for line in lines for key, value in line.items() if _number(value)} - {"step", "epoch", "seconds"}
    )
    clock = next((key for key in ("epoch", "step", "minutes", "seconds") if any(key in line for line in lines)), None)
    if clock is None or not keys:
        return None
    families: dict[str, list[str]] = {}
    for key in keys:
        families.setdefault(key.removeprefix("train_").removeprefix("val_"), []).append(key)
    charts = []
    for family, members in families.items():
        curves = []
        for key in members:
            points = [(line[clock], line[key]) for line in lines if _number(line.get(key)) and clock in line]
            curves.append(Line(key, [x for x, _ in points], [y for _, y in points]))
        charts.append((family.replace("_", " "), line_chart(curves, Axis(clock), Axis(""))))
    return Charts("Learning curves", charts)


def _log_lines(log: Path) -> list[dict[str, Any]]:
    if not log.is_file():
        return []
    lines = []
    for text in log.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
