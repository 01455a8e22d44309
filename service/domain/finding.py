"""Findings of an analysis: what was seen, where in the stored image, how certain, and which algorithm said so.

All coordinates are those of the *stored* image, whatever was flipped for the model: x to the right, y down, (0, 0)
is the top left corner of the first pixel (as in SCOORD, PS3.3 C.18.6).
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Region:
    """A region of the stored image.

    Attributes:
        box: x0, y0, x1, y1 in pixels; x1 and y1 exclusive.
        runs: the mask inside the box, row by row, as alternating run lengths that begin with "off"; empty = whole box.
        outline: polygon around the mask in pixels, first point not repeated; empty = the box.
    """

    box: tuple[int, int, int, int]
    runs: tuple[int, ...] = ()
    outline: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number that was measured.

    Attributes:
        kind: key of ``service.domain.codes.MEASUREMENTS``, which also gives the unit; for example "cobb-angle".
        value: in that unit.
    """

    kind: str
    value: float


@dataclass(frozen=True, slots=True)
class HeatMap:
    """How much each part of the image spoke for a finding (Grad-CAM), a coarse grid over the whole stored image.

    Attributes:
        rows, columns: of the grid.
        values: 0 (nothing) to 255 (most), row by row.
    """

    rows: int
    columns: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing seen.

    Attributes:
        kind: key of ``service.domain.codes.FINDINGS``, for example "tooth".
        tooth: FDI number, None if the finding belongs to no tooth.
        certainty: 0 to 1, the model's own estimate.
        region: where; None for a finding of the whole image.
        flags: remarks for the reader, for example "number-uncertain".
        site: key of ``service.domain.codes.SITES`` for a finding that belongs to no tooth, for example "T12"; empty =
            the part of the body that the image shows.
        measurements: what was measured there, for example a Cobb angle.
        heat: what of the image spoke for it.
    """

    kind: str
    tooth: int | None
    certainty: float
    region: Region | None = None
    flags: tuple[str, ...] = ()
    site: str = ""
    measurements: tuple[Measurement, ...] = ()
    heat: HeatMap | None = None

    @property
    def label(self) -> str:
        """Short text that names the finding within its analysis, for example "FDI36"; equal for equal findings."""
        site = f"FDI{self.tooth}" if self.tooth is not None else self.site
        return site if self.kind == "tooth" and site else "/".join(part for part in (site, self.kind) if part)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """Which algorithm, version and weights made a result (PS3.16 TID 4019)."""

    name: str
    version: str
    weights_sha256: str
    manufacturer: str
    research: bool


@dataclass(frozen=True, slots=True)
class Analysis:
    """What one model found in one image.

    Attributes:
        algorithm: who found it.
        sop_instance_uid: the image.
        rows, columns: its size in pixels.
        started_at: start of the analysis, with time zone; written into every result, so that twice is the same.
        findings: what was found, empty = nothing found.
        notes: what the reader must know, for example "orientation assumed".
        refused: why the image was not read (too dark, not a mouth, ...), in words; then there are no findings, and the
            results say so instead of "nothing found". Empty = it was read.
        looks_for: kinds of finding that the algorithm can find, keys of ``service.domain.codes.FINDINGS``: without
            them nobody could say what "nothing found" means.
    """

    algorithm: Algorithm
    sop_instance_uid: str
    rows: int
    columns: int
    started_at: datetime
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    refused: str = ""
    looks_for: tuple[str, ...] = ("tooth",)

    def to_json(self) -> bytes:
        """The analysis as UTF-8 JSON; ``from_json`` gives it back equal."""
        document = asdict(self) | {"started_at": self.started_at.isoformat()}
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> "Analysis":
        """Read what ``to_json`` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        document = json.loads(raw)
        return cls(
            algorithm=Algorithm(**document["algorithm"]),
            sop_instance_uid=document["sop_instance_uid"],
            rows=document["rows"],
            columns=document["columns"],
            started_at=datetime.fromisoformat(document["started_at"]),
            findings=tuple(_finding(entry) for entry in document["findings"]),
            notes=tuple(document["notes"]),
            refused=document.get("refused", ""),
            looks_for=tuple(document.get("looks_for", ("tooth",))),  # analyses of version 0.1 looked for teeth
        )


def _finding(entry: dict[str, Any]) -> Finding:
    """Analyses of version 0.1 have no site, measurements and heat."""
    region, heat = entry["region"], entry.get("heat")
    return Finding(
        kind=entry["kind"],
        tooth=entry["tooth"],
        certainty=entry["certainty"],
        region=None
        if region is None
        else Region(tuple(region["box"]), tuple(region["runs"]), tuple((x, y) for x, y in region["outline"])),
        flags=tuple(entry["flags"]),
        site=entry.get("site", ""),
        measurements=tuple(Measurement(**measured) for measured in entry.get("measurements", ())),
        heat=None if heat is None else HeatMap(heat["rows"], heat["columns"], tuple(heat["values"])),
    )
