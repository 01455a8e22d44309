"""Findings of an analysis: what was seen, where in the stored image, how certain, and which algorithm said so.

All coordinates are those of the *stored* image, whatever was flipped for the model: x to the right, y down, (0, 0)
is the top left corner of the first pixel (as in SCOORD, PS3.3 C.18.6).
"""

import json
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

_NOT_WRITTEN = {"rejected", "reviewed"}  # by a person: kept elsewhere
#: Flag of a finding whose place is not sure.
UNCERTAIN = "number-uncertain"
#: Kinds that are there anyway: they say where something is, and nothing about it.
LANDMARKS = frozenset({"tooth", "vertebra"})


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


class Judgement(StrEnum):
    """What a person made of a finding."""

    PENDING = "pending"  #: nobody has said anything yet; a signature lets it stand
    ACCEPTED = "accepted"
    CHANGED = "changed"  #: another tooth, site or kind than the algorithm said
    REJECTED = "rejected"
    ADDED = "added"  #: seen by the person, not by the algorithm


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a review adds to a finding.

    Attributes:
        tracking_uid: stands for the finding, whatever was changed of it.
        label: Tracking Identifier; stays unless tooth, site or kind were changed.
        place: of the finding in its analysis, 1 for the first; those that were added come after all others.
        was: of a changed finding, its label before.
        revised: it was changed or added again after an earlier signature.
    """

    judgement: Judgement
    tracking_uid: str
    label: str
    place: int
    was: str = ""
    revised: bool = False


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
        reviewed: what a person made of it; None in an analysis as a model wrote it.
    """

    kind: str
    tooth: int | None
    certainty: float
    region: Region | None = None
    flags: tuple[str, ...] = ()
    site: str = ""
    measurements: tuple[Measurement, ...] = ()
    heat: HeatMap | None = None
    reviewed: Reviewed | None = None

    @property
    def by_person(self) -> bool:
        """Whether a person says so and not the algorithm; then there is no certainty."""
        return self.reviewed is not None and self.reviewed.judgement in {Judgement.CHANGED, Judgement.ADDED}

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
        rejected: what a person struck out; empty in an analysis as a model wrote it.
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
    rejected: tuple[Finding, ...] = ()

    @property
    def counted(self) -> tuple[tuple[Finding, int], ...]:
        """The findings, each with its number among those of the same label: 1 for the first, which is nearly all."""
        seen: dict[str, int] = {}
        counted = []
        for finding in self.findings:
            seen[finding.label] = seen.get(finding.label, 0) + 1
            counted.append((finding, seen[finding.label]))
        return tuple(counted)

    def to_json(self) -> bytes:
        """The analysis of a model as UTF-8 JSON; ``from_json`` gives it back equal. Reviews are kept elsewhere."""
        document = _written(self) | {"started_at": self.started_at.isoformat()}
        return json.dumps(document, separators=(",", ":"), default=_written).encode()

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


def _written(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass of an analysis
    """Its attributes as they are (``asdict`` would copy every number); the encoder asks again for those below."""
    return {each.name: getattr(value, each.name) for each in fields(value) if each.name not in _NOT_WRITTEN}


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
