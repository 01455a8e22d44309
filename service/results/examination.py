"""What kind of examination an image belongs to: which report its findings go into, and under which code."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from service.domain import codes
from service.domain.codes import Code
from service.results.subject import Source

_PHOTOGRAPHS = "1.2.840.10008.5.1.4.1.1.77."  # Visible Light IODs (PS3.6 annex A)
_CAMERAS = {"XC", "GM", "ES", "OP"}
_PANORAMIC, _INTRAORAL, _PHOTOGRAPH = "teeth-panoramic", "teeth-intraoral", "oral-photograph"
#: What is looked for -> line of the report; the first that fits. Fixed for ever: records look a report up by it.
_LINES = (
    ({"tooth", "filling", "crown", "root-canal-treated", "implant", "impacted", "destroyed-crown"}, _PANORAMIC),
    ({"scoliosis", "vertebra"}, "spine"),
    ({"fracture"}, "fracture"),
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


def examinations(sources: Sequence[Source]) -> dict[Examination, list[Source]]:
    """The analyses of a study by examination; all analyses of one image belong to the same."""
    images: dict[str, list[Source]] = {}
    for source in sources:
        images.setdefault(source.analysis.sop_instance_uid, []).append(source)
    lines: dict[str, list[Source]] = {}
    for of_image in images.values():
        lines.setdefault(_line(of_image), []).extend(of_image)
    return {_examination(line, of_line): of_line for line, of_line in lines.items()}


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


def _examination(line: str, sources: Sequence[Source]) -> Examination:
    panoramic = any(source.header.get("Modality") == "PX" for source in sources)
    code = codes.PANORAMIC_REPORT if panoramic else codes.IMAGING_REPORT
    return Examination(line, code, photograph=line == _PHOTOGRAPH)
