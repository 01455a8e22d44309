"""Templates and the few formats they need. Autoescape is on for all of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import jinja2
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.templating import Jinja2Templates

from service.db.status import in_words

_DATE_DIGITS = 8
_COUNTS_SHOWN = 4


def person(name: str) -> str:
    """A DICOM person name (PS3.5 6.2.1.1) for reading: "Doe^Jane" -> "Doe, Jane"; the first group that has one."""
    groups = [group for group in name.split("=") if group.strip("^ ")]
    parts = [part.strip() for part in groups[0].split("^")] if groups else [""]
    family, given = parts[0], " ".join(part for part in parts[1:3] if part)
    return ", ".join(part for part in (family, given) if part)


def date(value: str) -> Markup:
    """A DICOM date (YYYYMMDD) that the browser shows in its own locale; anything else as it is."""
    if len(value) != _DATE_DIGITS or not value.isdecimal():
        return escape(value)
    iso = f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return Markup('<time datetime="{0}" data-date>{0}</time>').format(iso)


def moment(value: datetime | None) -> Markup:
    """A time that the browser shows in its own locale and zone."""
    if value is None:
        return Markup("")
    return Markup('<time datetime="{}" data-moment>{} UTC</time>').format(
        value.isoformat(timespec="seconds"), value.strftime("%Y-%m-%d %H:%M:%S")
    )


def size(value: int) -> str:
    """Bytes for reading: "3.4 MB"."""
    number, unit = float(value), "B"
    for larger in ("kB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004 - SI prefixes
            break
        number, unit = number / 1000, larger
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def seconds(value: float | None) -> str:
    """A duration for reading: "0.42 s"."""
    return "" if value is None else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"  # noqa: PLR2004


def teeth(counts: Sequence[int]) -> str:
    """Teeth found in each image: "30 + 29"; only the number of images where there are many of them, empty for none."""
    if len(counts) > _COUNTS_SHOWN:
        return f"{len(counts)} images"
    return " + ".join(str(count) for count in counts)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"person": person, "dicom_date": date, "moment": moment, "size": size, "seconds": seconds}
    environment.filters |= {"teeth": teeth, "in_words": in_words}
    return environment


_TEMPLATES = Jinja2Templates(env=_environment())


def render(request: Request, template: str, context: Mapping[str, object], status: int = 200) -> HTMLResponse:
    """A page from a template."""
    return _TEMPLATES.TemplateResponse(request, template, dict(context), status_code=status)
