"""The analyzed image as the writers of DICOM results need it, and what every DICOM result has in common.

highdicom 0.28 reads a dozen attributes without asking, and refuses values that real devices write. So it never sees
the header itself but a clean copy: patient and study attributes, mended where they are missing or malformed.
"""

import contextlib
import copy
import hashlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import highdicom as hd
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as SrCode
from pydicom.valuerep import format_number_as_ds

from service.domain.codes import PRIVATE_SCHEME, PRIVATE_SCHEME_NAME, Code
from service.domain.errors import Permanent
from service.domain.finding import Algorithm, Analysis
from service.domain.result import Result
from service.domain.uid import is_uid
from service.results.identity import device_uid, result_uid, series_uid
from service.results.mending import mend, zone_of
from service.results.subject import Source, Subject
from service.results.verification import described

MANUFACTURER = "Dentgate"
_DESIGNATOR = 0x00080102  # Coding Scheme Designator

#: Copied into every result where the image has them: Patient, General Study and Patient Study (PS3.3 C.7.1, C.7.2).
STUDY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "OtherPatientIDsSequence",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "PatientComments",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ProcedureCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "TimezoneOffsetFromUTC",
)
#: Needed to refer to the image, to describe it in the Image Library (TID 1600) and to name what acquired it.
_IMAGE = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "Rows",
    "Columns",
    "PatientOrientation",
    "ImagerPixelSpacing",
    "AnatomicRegionSequence",
    "ImageLaterality",
    "PositionerPrimaryAngle",
    "PositionerSecondaryAngle",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "InstitutionName",
)
#: Highest Series and Instance Number of an image that the Series Number of its results follows, so that IS can hold it.
_MOST_SERIES, _MOST_IMAGES = 20_000, 10_000
#: Our models by their place among the results of an image. Fixed for ever: append only.
_OUR_MODELS = (
    "teeth_panoramic",
    "tooth_conditions",
    "oral_photo",
    "fracture",
    "spine_landmarks",
    "teeth_intraoral",
    "image_gate",
)
_KEPT_PLACES = 20  # for models of ours
_IMAGES_OF_A_MODEL = 100  # images of one series whose results stand apart also where several models read them


@contextlib.contextmanager
def unwarned() -> Iterator[None]:
    """Silence warnings: pydicom and highdicom quote the sender's names and dates in them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def evidence_of(source: Source) -> Dataset:
    """A clean copy of an image's header, without pixels, in ISO_IR 192, ready for highdicom.

    PixelSpacing and Frame of Reference stay behind: a panoramic has no millimetres, and either would make a SEG claim
    geometry that nobody measured (see PS3.3 C.8.20.2: both are optional there).

    Raises:
        Permanent: the header lacks a UID that a result must refer to.
    """
    clean = Dataset()
    clean.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*STUDY, *_IMAGE):
        element = copied(source.header, keyword)
        if element is not None and not (
            element.VR == "SQ" and element.is_empty
        ):  # a sequence without items says nothing
            clean.add(element)
    mend(clean)
    clean.Rows, clean.Columns = source.analysis.rows, source.analysis.columns
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        if not is_uid(str(clean.get(keyword) or "")):
            message = f"the image has no valid {keyword}, so no result can refer to it"
            raise Permanent(message)
    return clean


def copied(header: Dataset, keyword: str) -> DataElement | None:
    """A copy of an attribute, its texts in Unicode; None if it is missing or its bytes make no sense."""
    try:
        element = copy.deepcopy(header[keyword]) if keyword in header else None
        for item in element.value if element is not None and element.VR == "SQ" else ():
            _read_texts(item)
    except Exception:  # noqa: BLE001 - malformed elements make pydicom raise nearly anything
        return None
    return element


def _read_texts(item: Dataset) -> None:
    """Turn the texts of an item into Unicode while the character set of their image is still known.

    What was not read would be written as the bytes that it came in, under a character set that they are not in.
    """
    for element in item:
        for nested in element.value if element.VR == "SQ" else ():
            _read_texts(nested)
    if "SpecificCharacterSet" in item:
        del item.SpecificCharacterSet


def coded(code: Code) -> SrCode:
    """The concept as highdicom takes it."""
    return SrCode(code.value, code.scheme, code.meaning)


def common(subject: Subject, source: Source, kind: str, number: int, description: str) -> dict[str, Any]:
    """What every DICOM result says of itself: identity, series, our equipment and the algorithm behind it.

    Args:
        kind: what makes its UIDs differ from those of the other results of the image.
        number: Series Number of the results of the first image of the first series.
        description: Series Description; says that it is AI and unverified. The place of the image is added.
    """
    analysis = source.analysis
    identity = (subject.study_instance_uid, analysis.algorithm, kind, analysis.sop_instance_uid, source.edition)
    return {
        "series_instance_uid": series_uid(*identity),
        "series_number": _series_number(number, source),
        "series_description": _described(described(description, source), source),
        "sop_instance_uid": result_uid(*identity),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": short(analysis.algorithm.name),
        "software_versions": short(analysis.algorithm.version),
        "device_serial_number": serial_number(analysis.algorithm),
        "content_date": source.said_at.date(),
        "content_time": source.said_at.time(),
        "contributing_equipment": [_equipment(source)],
    }


def _series_number(base: int, source: Source) -> int:
    """The base, moved by the numbers of the image and the place of the model, so that results stand apart in a list.

    It depends on this image and model only: a late image, or another model, must not change earlier results.
    """
    series, image = source.numbers
    if series is not None and 1 <= series <= _MOST_SERIES:
        base += 10 * _MOST_IMAGES * (series - 1)
    if image is not None and 1 <= image <= _MOST_IMAGES:
        base += 10 * (image - 1)
    return base + 10 * _IMAGES_OF_A_MODEL * _place_of_model(source.analysis)


def _place_of_model(analysis: Analysis) -> int:
    """0 for the numbering of teeth, then a place for each of our models; other models have one by their name."""
    name = analysis.algorithm.name
    if name in _OUR_MODELS:
        return _OUR_MODELS.index(name)
    if "tooth" in analysis.looks_for:
        return 0
    kept = _MOST_IMAGES // _IMAGES_OF_A_MODEL - _KEPT_PLACES
    return _KEPT_PLACES + int(hashlib.sha256(name.encode()).hexdigest(), 16) % kept


def _described(description: str, source: Source) -> str:
    """The description and the place of the image, unless that is too long: half a number would name another image."""
    full = f"{description}, {source.place}"
    return full if source.place and full == short(full) else description


def short(text: str) -> str:
    """At most 64 characters, which is what LO holds (PS3.5 section 6.2)."""
    return text[:64]


def serial_number(algorithm: Algorithm) -> str:
    """Device serial number of a model: the beginning of the digest of its weights."""
    return algorithm.weights_sha256[:16]


def percent(certainty: float) -> float:
    """A certainty of 0 to 1 in percent with one decimal, as a plain float that DS can hold."""
    return float(format_number_as_ds(round(float(certainty) * 100, 1)))


def _equipment(source: Source) -> hd.ContributingEquipment:
    """One item for each algorithm (IHE AIR)."""
    algorithm = source.analysis.algorithm
    item = hd.ContributingEquipment(
        manufacturer=short(algorithm.manufacturer),
        manufacturer_model_name=short(algorithm.name),
        software_versions=short(algorithm.version),
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        contribution_datetime=source.analysis.started_at,
        contribution_description="AI inference",
        device_serial_number=serial_number(algorithm),
    )
    item.DeviceUID = device_uid(algorithm)  # highdicom has no argument for it
    return item


def finished(ds: Dataset, source: Source, kind: str) -> Result:
    """The result as bytes that depend on the subject only: highdicom's own time stamps are replaced."""
    if any(element.value == PRIVATE_SCHEME for element in ds.iterall() if element.tag == _DESIGNATOR):
        declare_private_scheme(ds)
    return stamped(ds, source, kind)


def stamped(ds: Dataset, source: Source, kind: str) -> Result:
    """The same for a data set whose codes were looked at already."""
    said_at, zone = source.said_at, zone_of(source.header)
    ds.InstanceCreationDate = f"{said_at:%Y%m%d}"
    ds.InstanceCreationTime = f"{said_at:%H%M%S.%f}"
    if zone is not None:  # highdicom takes the study's date and time, and leaves behind where they were
        ds.TimezoneOffsetFromUTC = f"{said_at:%z}"
    ds.ContributingEquipmentSequence[-1].ContributionDateTime = f"{said_at:%Y%m%d%H%M%S.%f}"  # highdicom's own item
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return Result(kind, str(ds.SOPInstanceUID), "application/dicom", buffer.getvalue())


def declare_private_scheme(ds: Dataset) -> None:
    """Coding Scheme Identification (PS3.3 C.12.1.1), where a code of our own is used."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = PRIVATE_SCHEME_NAME
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    ds.CodingSchemeIdentificationSequence = [*ds.get("CodingSchemeIdentificationSequence", ()), item]
