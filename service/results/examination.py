"""What kind of examination an image belongs to: which report its findings go into, and under which code."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from service.domain import codes
from service.domain.codes import Code
from service.results.subject import Source, Subject

_PHOTOGRAPHS = "1.2.840.10008.5.1.4.1.1.77."  # Visible Light IODs (PS3.6 annex A)
_CAMERAS = {"XC", "GM", "ES", "OP"}
_PANORAMIC, _INTRAORAL, _PHOTOGRAPH = "teeth-panoramic", "teeth-intraoral", "oral-photograph"
#: What is looked for -> line of the report; the first that fits. Fixed for ever: records look a report up by it.
_LINES = (
    ({"tooth", "filling", "crown", "root-canal-treated", "implant", "impacted", "destroyed-crown"}, _PANORAMIC),
    ({"scoliosis", "vertebra"}, "spine"),
    ({"fracture"}, "fracture"),
)
#: What a description says -> kind of examination. Devices have no code that they agree on.
_WORDS = (
    (re.compile(r"ceph|fernr(ö|oe)ntgen"), "cephalometric"),
    (re.compile(r"bite ?-?wing|\bbwx?\b"), "bitewing"),
    (re.compile(r"peri-?apical|\bpax?\b"), "periapical"),
    (re.compile(r"panoram|orthopanto|\b(opg|opt|opan)\b"), "panoramic"),
)
#: Looked at in this order: what says most of the image first, what says most of the whole study last.
_SAYING = (
    "SeriesDescription",
    "ProtocolName",
    "ImageComments",
    "PerformedProcedureStepDescription",
    "StudyDescription",
)


@dataclass(frozen=True, slots=True)
class Examination:
    """One kind of examination.

    Attributes:
        line: what tells its report from the other reports of the study.
        code: of the report (LOINC).
        photograph: no radiation was used.
    """

    line: str
    code: Code
    photograph: bool


def examinations(subject: Subject) -> dict[Examination, list[Source]]:
    """The analyses of a study by examination; all analyses of one image belong to the same."""
    images: dict[str, list[Source]] = {}
    for source in subject.sources:
        images.setdefault(source.analysis.sop_instance_uid, []).append(source)
    lines: dict[str, list[Source]] = {}
    for of_image in images.values():
        lines.setdefault(_line(of_image), []).extend(of_image)
    return {_examination(line, of_line, subject.report_codes): of_line for line, of_line in lines.items()}


def is_photograph(header: Dataset) -> bool:
    """Whether an image was taken by visible light."""
    return str(header.get("Modality")) in _CAMERAS or str(header.get("SOPClassUID")).startswith(_PHOTOGRAPHS)


def _line(sources: Sequence[Source]) -> str:
    """The line of one image."""
    header = sources[0].header
    if is_photograph(header):
        return _PHOTOGRAPH
    kinds = {kind for source in sources for kind in source.analysis.looks_for}
    line = next((line for wanted, line in _LINES if wanted & kinds), sources[0].analysis.algorithm.name)
    return _INTRAORAL if line == _PANORAMIC and header.get("Modality") == "IO" else line


def _examination(line: str, sources: Sequence[Source], own: Mapping[str, Code]) -> Examination:
    kinds = {_kind(line, source.header) for source in sources}
    kind = kinds.pop() if len(kinds) == 1 else "other"  # bitewings and periapicals together are neither
    return Examination(line, own.get(kind, codes.EXAMINATIONS[kind]), photograph=line == _PHOTOGRAPH)


def _kind(line: str, header: Dataset) -> str:
    """Key of ``codes.EXAMINATIONS``: from the line where that says it, else from the device's own words."""
    if line in {"spine", "fracture"}:
        return line
    if line == _PHOTOGRAPH:
        return "photo"
    intraoral = header.get("Modality") == "IO"
    said = next(_said(header), "")
    if said and intraoral == (said in {"bitewing", "periapical"}):
        return said
    return "panoramic" if header.get("Modality") == "PX" else "other"


def _said(header: Dataset) -> Iterator[str]:
    """What the descriptions name, the best first."""
    if _text(header, "PositionerType") == "cephalostat":  # PS3.3 C.8.11.5
        yield "cephalometric"
    for keyword in _SAYING:
        yield from (kind for pattern, kind in _WORDS if pattern.search(_text(header, keyword)))


def _text(header: Dataset, keyword: str) -> str:
    try:
        return str(header.get(keyword) or "").strip().lower()
    except Exception:  # noqa: BLE001 - malformed elements make pydicom raise nearly anything
        return ""
