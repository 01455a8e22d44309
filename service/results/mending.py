"""Values of a header that would make a result invalid: emptied, cut or left out, by the rules of PS3.5 6.2.

What names a patient or an order (Patient ID, Accession Number) is never cut: a result must be filed where its image is.
"""

import re
from datetime import timedelta, timezone

from pydicom.datadict import dictionary_VM
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

#: Type 2 attributes that highdicom takes for granted and dental files often lack.
_ALWAYS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_OFFSET = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)")  # from -1200 to +1400 (PS3.3 C.12.1.1.8)
#: Keyword -> what its value must look like; else it is emptied.
_SHAPES = {
    **dict.fromkeys(("PatientBirthDate", "StudyDate"), re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")),
    **dict.fromkeys(("PatientBirthTime", "StudyTime"), re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")),
    "PatientSex": re.compile(r"[MFO]"),
    "PatientAge": re.compile(r"\d{3}[DWMY]"),
    "TimezoneOffsetFromUTC": _OFFSET,
}
_OPTIONAL = {"PatientAge", "TimezoneOffsetFromUTC", "PatientBirthTime"}  # left out rather than emptied
_LENGTHS = {"LO": 64, "SH": 16}
_KEPT_WHOLE = {"PatientID", "AccessionNumber"}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\\]+")
_NAME_GROUPS, _NAME_PARTS, _NAME_LENGTH = 3, 5, 64
_DIRECTION = re.compile(r"(?!.*[LR].*[LR])(?!.*[AP].*[AP])(?!.*[FH].*[FH])[LRAPFH]{1,3}")  # PS3.3 C.7.6.1.1.1
_AXES = 2


def mend(ds: Dataset) -> None:
    """Make the patient and study attributes of a header fit for a result; those that are always there may be empty."""
    for element in list(ds):
        _shorten(element)
    for keyword in _ALWAYS:
        if ds.get(keyword) is None:
            setattr(ds, keyword, "")
    for keyword, pattern in _SHAPES.items():
        if keyword in ds and not pattern.fullmatch(str(ds[keyword].value)):
            if keyword in _OPTIONAL:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, "")
    if "PatientOrientation" in ds and not _is_orientation(ds.PatientOrientation):
        del ds.PatientOrientation
    ds.Modality = ds.get("Modality") or "OT"


def text_of(header: Dataset, keyword: str) -> str:
    """The text of an attribute, without spaces around; of several values the first, as in every DICOM result."""
    try:
        value = header.get(keyword)
        value = next(iter(value), "") if isinstance(value, MultiValue) else value
        return str(value or "").strip()
    except Exception:  # noqa: BLE001 - malformed elements make pydicom raise nearly anything
        return ""


def zone_of(header: Dataset) -> timezone | None:
    """The zone in which an image gives its dates and times, None if it does not say."""
    try:
        match = _OFFSET.fullmatch(str(header.get("TimezoneOffsetFromUTC") or "").strip())
    except Exception:  # noqa: BLE001 - malformed elements make pydicom raise nearly anything
        return None
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


def _is_orientation(value: object) -> bool:
    """Directions of row and column."""
    return isinstance(value, MultiValue) and len(value) == _AXES and all(map(_DIRECTION.fullmatch, value))


def _shorten(element: DataElement) -> None:
    """One value where one is allowed, in the characters and the length that are allowed."""
    value = element.value
    if isinstance(value, MultiValue) and dictionary_VM(element.tag) == "1":
        value = value[0] if value else ""
    if element.VR == "PN":
        value = _name(str(value or ""))
    elif element.VR in _LENGTHS and isinstance(value, str):
        value = _CONTROLS.sub(" ", value).strip()
        if element.keyword not in _KEPT_WHOLE:
            value = value[: _LENGTHS[element.VR]]
    if value != element.value:
        element.value = value


def _name(value: str) -> str:
    """At most three groups of at most five parts (PS3.5 6.2.1)."""
    groups = _CONTROLS.sub(" ", value).split("=")[:_NAME_GROUPS]
    return "=".join("^".join(group.split("^")[:_NAME_PARTS])[:_NAME_LENGTH] for group in groups).rstrip("= ")
