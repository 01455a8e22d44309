"""Is this image a panoramic? From its header alone: modality, kind of object, descriptions, shape."""

import struct
import warnings

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException

_PHOTOGRAPHS = "1.2.840.10008.5.1.4.1.1.77."  # Visible Light IODs (PS3.6 annex A)
_PANORAMIC_MODALITY = "PX"
_CAMERAS = frozenset({"XC", "GM", "ES", "OP"})
_RADIOGRAPHS = frozenset({"PX", "DX", "CR", "DR", "RG", "OT", "SC", "IO", ""})
_PANORAMIC_WORDS = (
    "PANORAM",
    "OPG",
    "OPT",
    "ORTHOPANT",
    "JAW",
    "MANDIB",
    "MAXILL",
    "TEETH",
    "TOOTH",
    "DENTAL",
    "DENTIT",
)
_TEXTS = (
    "BodyPartExamined",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
)
_NUMBERS = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")
_DECIDING = ("SOPClassUID", "Modality", *_NUMBERS)
#: What pydicom raises for a value that it cannot convert: an unknown VR, a wrong length, no number, a broken sequence.
_UNREADABLE = (
    NotImplementedError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError, EOFError, OSError,
    BytesLengthException, struct.error,
)  # fmt: skip
_ASPECT, _STRICT_ASPECT = (1.2, 3.0), (1.5, 2.6)  # columns to rows: told to be a panoramic, or only described as dental


def judge_panoramic(header: Dataset) -> tuple[bool, str]:
    """Whether to accept, and the reason for either; never raises on odd values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes odd values in its warnings
        unreadable = [keyword for keyword in _DECIDING if not _is_readable(header, keyword)]
        if unreadable:
            return False, f"its header cannot be read ({', '.join(unreadable)})"
        return _judge(header)


def _judge(header: Dataset) -> tuple[bool, str]:
    modality = _text(header, "Modality")
    rows, columns = _number(header, "Rows"), _number(header, "Columns")
    unfit = _unfit(header, modality, rows, columns)
    if unfit:
        return False, unfit
    declared = modality == _PANORAMIC_MODALITY
    word = None if declared else _panoramic_word(header)
    if not declared and word is None:
        return False, f"modality {modality or 'unknown'} and no description says that it is a panoramic"
    least, most = _ASPECT if declared else _STRICT_ASPECT
    if not least <= columns / rows <= most:
        return False, f"its shape ({columns} x {rows} pixels) is not that of a panoramic"
    return True, f"{'modality PX' if word is None else f'described as {word.lower()}'}, {columns} x {rows} pixels"


def _unfit(header: Dataset, modality: str, rows: int, columns: int) -> str:
    """Why it cannot be one whatever the descriptions say; empty if it can."""
    checks = (
        (rows < 1 or columns < 1, "it has no image size (Rows, Columns)"),
        (_number(header, "NumberOfFrames", 1) > 1, "it has several frames"),
        (_text(header, "SOPClassUID").startswith(_PHOTOGRAPHS) or modality in _CAMERAS, "it is a photograph"),
        (modality not in _RADIOGRAPHS, f"modality {modality} is not a panoramic radiograph"),
        (
            modality != _PANORAMIC_MODALITY and _number(header, "SamplesPerPixel", 1) > 1,
            "it is in colour and not of modality PX",
        ),
    )
    return next((reason for unfit, reason in checks if unfit), "")


def _panoramic_word(header: Dataset) -> str | None:
    texts = [_text(header, keyword) for keyword in _TEXTS]
    try:
        texts += [_text(item, "CodeMeaning") for item in header.get("AnatomicRegionSequence") or ()]
    except _UNREADABLE:
        texts += []  # a malformed sequence says nothing
    said = " ".join(texts)
    tokens = said.replace("-", " ").replace("_", " ").split()
    for word in _PANORAMIC_WORDS:
        hit = word in tokens if len(word) <= 3 else word in said  # noqa: PLR2004 - short words only as whole words
        if hit:
            return word
    return None


def _is_readable(header: Dataset, keyword: str) -> bool:
    try:
        value = header.get(keyword)
        if keyword in _NUMBERS and value not in {None, ""}:
            int(value)
    except _UNREADABLE:
        return False
    return True


def _text(header: Dataset, keyword: str) -> str:
    try:
        value = header.get(keyword)
    except _UNREADABLE:
        return ""
    return "" if value is None else str(value).strip().upper()


def _number(header: Dataset, keyword: str, default: int = 0) -> int:
    value = header.get(keyword)
    return default if value is None or value == "" else int(value)
