"""What the results for viewers have in common: they show all analyses of an image together, and are plain data sets.

Their UIDs depend on every image and algorithm that they show, so that one more of either makes another object and
never the same one with other content.
"""

import math
from collections.abc import Sequence

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from service.domain.finding import LANDMARKS, Finding
from service.domain.result import Result
from service.results import evidence
from service.results.evidence import MANUFACTURER, common, evidence_of, finished, short
from service.results.identity import derived_uid, device_uid
from service.results.mending import text_of
from service.results.subject import Source, Subject
from service.results.verification import headline

RESEARCH_ONLY = "RESEARCH MODEL - NOT FOR DIAGNOSIS"
Sources = Sequence[Source]
#: Body parts that the body has once.
_SINGLE_PARTS = {"JAW", "MOUTH", "MANDIBLE", "MAXILLA", "SKULL", "HEAD", "NECK", "CHEST", "ABDOMEN", "PELVIS", "SPINE"}
_SINGLE_PARTS |= {"CSPINE", "TSPINE", "LSPINE", "WSPINE", "TLSPINE", "LSSPINE", "SSPINE"}


def images_of(subject: Subject) -> list[list[Source]]:
    """The analyses of each image, images and analyses in their order."""
    images: dict[str, list[Source]] = {}
    for source in subject.sources:
        images.setdefault(source.analysis.sop_instance_uid, []).append(source)
    return list(images.values())


def findings_of(sources: Sources) -> list[Finding]:
    """Everything that was found in one image, teeth and vertebrae first: what is found of them is drawn over them."""
    found = [finding for source in sources for finding in source.analysis.findings]
    return sorted(found, key=lambda finding: finding.kind not in LANDMARKS)


def uid_for(subject: Subject, sources: Sources, kind: str, what: str = "instance", edition: str | None = None) -> str:
    """UID of a result of several analyses; the revision of the study takes no part.

    Args:
        edition: of another signature than that of the sources.
    """
    shown = [
        part for source in sources for part in (source.analysis.sop_instance_uid, device_uid(source.analysis.algorithm))
    ]
    signed = sources[0].edition if edition is None else edition
    return derived_uid("composite", what, subject.study_instance_uid, kind, *shown, *([signed] if signed else []))


def composite(subject: Subject, sources: Sources, kind: str, series: tuple[int, str], sop_class: str) -> Dataset:
    """Patient, Study, Series, Equipment and SOP Common modules (PS3.3 C.7.1 to C.7.5, C.12.1) of a result.

    Args:
        sources: what it shows, at least one; the first gives patient and study.
        series: Series Number for the first image of the first series, and Series Description.

    Raises:
        Permanent: the header lacks a UID.
    """
    first = sources[0]
    clean = evidence_of(first)
    said = common(subject, first, kind, *series)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.update({element.tag: element for element in clean if element.keyword in evidence.STUDY})
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(uid_for(subject, sources, kind))
    ds.SeriesInstanceUID = uid_for(subject, sources, kind, "series")
    ds.SeriesNumber, ds.InstanceNumber = said["series_number"], 1
    ds.SeriesDescription = said["series_description"]
    ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURER, said["manufacturer_model_name"]
    ds.SoftwareVersions, ds.DeviceSerialNumber = said["software_versions"], said["device_serial_number"]
    items: dict[str, Dataset] = {}
    for source in sources:
        for item in common(subject, source, kind, *series)["contributing_equipment"]:
            items.setdefault(device_uid(source.analysis.algorithm), item)
    ds.ContributingEquipmentSequence = list(items.values())
    return ds


def date_content(ds: Dataset, sources: Sources) -> None:
    """Content Date and Time: the start of the first analysis, or when it was signed."""
    said_at = sources[0].said_at
    ds.ContentDate, ds.ContentTime = f"{said_at:%Y%m%d}", f"{said_at:%H%M%S}"


def place_body_part(ds: Dataset, header: Dataset) -> None:
    """Body Part Examined and Laterality as the image has them (PS3.3 C.7.3.1).

    Laterality may be empty, but not missing, of a part that the body has twice (Type 2C).
    """
    part, side = (
        text_of(header, "BodyPartExamined").upper(),
        text_of(header, "Laterality").upper() or text_of(header, "ImageLaterality").upper(),
    )
    if part:
        ds.BodyPartExamined = part[:16]
    if part not in _SINGLE_PARTS:
        ds.Laterality = side if side in {"R", "L"} else ""


def numbers_of(header: Dataset, keyword: str) -> list[float]:
    """The numbers of an attribute of one or several values; none where it is missing or makes no sense."""
    try:
        value = header.get(keyword)
        raw = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        numbers = [float(each) for each in raw]
    except Exception:  # noqa: BLE001 - malformed elements make pydicom raise nearly anything
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []


def reference_to(header: Dataset) -> Dataset:
    """An item of a Referenced or Source Image Sequence (PS3.3 Table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = str(header.SOPClassUID), str(header.SOPInstanceUID)
    return item


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded concept as an item (PS3.3 section 8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, short(meaning)
    return item


def warning_lines(sources: Sources) -> list[str]:
    """What must stand on every picture of a result."""
    research = any(source.analysis.algorithm.research for source in sources)
    return [headline(sources), *([RESEARCH_ONLY] if research else [])]


def as_result(ds: Dataset, sources: Sources, kind: str) -> Result:
    """The data set as the bytes of a result."""
    return finished(ds, sources[0], kind)
