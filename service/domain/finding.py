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
class Finding:
    """One thing seen.

    Attributes:
        kind: key of ``service.domain.codes.FINDINGS``, for example "tooth".
        tooth: FDI number, None if the finding belongs to no tooth.
        certainty: 0 to 1, the model's own estimate.
        region: where; None for a finding of the whole image.
        flags: remarks for the reader, for example "number-uncertain".
    """

    kind: str
    tooth: int | None
    certainty: float
    region: Region | None = None
    flags: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Short text that names the finding within its analysis, for example "FDI36"; equal for equal findings."""
        site = f"FDI{self.tooth}" if self.tooth is not None else ""
        return site if self.kind == "tooth" else "/".join(part for part in (site, self.kind) if part)


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
    """

    algorithm: Algorithm
    sop_instance_uid: str
    rows: int
    columns: int
    started_at: datetime
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

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
        )


def _finding(entry: dict[str, Any]) -> Finding:
    region = entry["region"]
    return Finding(
        kind=entry["kind"],
        tooth=entry["tooth"],
        certainty=entry["certainty"],
        region=None
        if region is None
        else Region(tuple(region["box"]), tuple(region["runs"]), tuple((x, y) for x, y in region["outline"])),
        flags=tuple(entry["flags"]),
    )
