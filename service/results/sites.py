"""Where a finding is: the codes of its site, from the finding itself, else from what the image says it shows."""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from service.domain.codes import BODY_PARTS, FINDINGS, SITES, VERTEBRAE, Code
from service.domain.errors import Permanent
from service.domain.finding import Finding
from service.domain.tooth import tooth_of
from service.domain.words import span_of
from service.results.mending import text_of

_BY_CODE = {code.value: key for key, code in SITES.items()}


def sites_of(finding: Finding, header: Dataset) -> tuple[Code, ...]:
    """The site, the one that says most first: a tooth, a vertebra, a part of the spine with its ends, a body part.

    Raises:
        Permanent: the finding names a site that the code table does not have.
        KeyError: a tooth number that ISO 3950 does not know.
    """
    if finding.tooth is not None:
        tooth = tooth_of(finding.tooth)
        return (Code(tooth.snomed, "SCT", tooth.meaning),)
    if not finding.site:
        return (SITES[shown_in(header, FINDINGS[finding.kind].site)],)
    ends = span_of(finding)
    if ends:
        part = finding.site if finding.site in SITES else _part_of_spine(ends)
        return (SITES[part], *(VERTEBRAE[end] for end in ends))
    if finding.site not in SITES:
        message = f"no code for site {finding.site}; add it to service/domain/codes.py"
        raise Permanent(message)
    return (SITES[finding.site],)


def shown_in(header: Dataset, otherwise: str) -> str:
    """The body part that the image shows, as a key of ``SITES``; teeth and mouths have their own, whatever it says."""
    if otherwise in {"jaw", "mouth"}:
        return otherwise
    said = [_region(header), BODY_PARTS.get(text_of(header, "BodyPartExamined").upper().replace(" ", ""), "")]
    return next((key for key in said if key), otherwise)


def _part_of_spine(ends: Sequence[str]) -> str:
    letters = {end[0] for end in ends}
    return "thoracolumbar-spine" if len(letters) > 1 else {"T": "thoracic-spine", "L": "lumbar-spine"}[letters.pop()]


def _region(header: Dataset) -> str:
    """The site that the first item of the Anatomic Region Sequence codes, empty if the table does not know it."""
    try:
        items = header.get("AnatomicRegionSequence") or ()
        return _BY_CODE.get(str(items[0].get("CodeValue")), "") if items else ""
    except Exception:  # noqa: BLE001 - malformed elements make pydicom raise nearly anything
        return ""


def region_of(finding: Finding, header: Dataset) -> Code:
    """The anatomic region around a finding, as a segmentation names it: of a tooth the jaw."""
    return SITES["jaw"] if finding.tooth is not None else sites_of(finding, header)[0]
