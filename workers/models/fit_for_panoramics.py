"""Is this image a panoramic? From its header alone: modality, kind of object, descriptions, shape."""

import warnings

from pydicom.dataset import Dataset

from workers.models.header import items, number, text, unreadable

_PHOTOGRAPHS = "1.2.840.10008.5.1.4.1.1.77."  # Visible Light IODs (PS3.6 annex A)
_PANORAMIC_MODALITY = "PX"
_CAMERAS = frozenset({"XC", "GM", "ES", "OP"})
_RADIOGRAPHS = frozenset({"PX", "DX", "CR", "DR", "RG", "OT", "SC", "IO", ""})
_CERTAIN_WORDS = ("PANORAM", "OPG", "OPT", "ORTHOPANT")
_SHORT = 3  # letters
_PANORAMIC_WORDS = (*_CERTAIN_WORDS, "JAW", "MANDIB", "MAXILL", "TEETH", "TOOTH", "DENTAL", "DENTIT")
#: Other views that devices for panoramics make, as series are called; the first letters of a word.
_OTHER_VIEWS = (
    "TMJ", "TEMPOROMANDIB", "KIEFERGELENK", "CEPH", "SINUS", "CARP", "HAND", "WRIST", "BITEWING", "TRANSVERS",
)  # fmt: skip
_ELSEWHERE = frozenset((
    "CHEST", "THORAX", "RIB", "ABDOMEN", "PELVIS", "HIP", "SPINE", "CSPINE", "TSPINE", "LSPINE", "LSSPINE", "WSPINE",
    "TLSPINE", "SHOULDER", "ARM", "UPPERARM", "HUMERUS", "ELBOW", "FOREARM", "WRIST", "HAND", "FINGER", "THUMB", "LEG",
    "LOWERLEG", "THIGH", "FEMUR", "KNEE", "ANKLE", "FOOT", "TOE", "EXTREMITY", "BREAST", "HEART",
))  # fmt: skip
_INTRAORAL = frozenset({"1.2.840.10008.5.1.4.1.1.1.3", "1.2.840.10008.5.1.4.1.1.1.3.1"})  # PS3.6 annex A
_TEXTS = (
    "BodyPartExamined",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
)
_CODED = ("AnatomicRegionSequence", "ViewCodeSequence")
_OF_SERIES = _TEXTS[2:]  # what is said of one image; a study may hold other views beside its panoramic
_NUMBERS = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")
_DECIDING = ("SOPClassUID", "Modality", *_NUMBERS)
_ASPECT, _STRICT_ASPECT = (1.2, 3.0), (1.5, 2.6)  # columns to rows: told to be a panoramic, or only described as dental


def judge_panoramic(header: Dataset) -> tuple[bool, str]:
    """Whether to accept, and the reason for either; never raises on odd values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes odd values in its warnings
        odd = unreadable(header, _DECIDING, _NUMBERS)
        if odd:
            return False, f"its header cannot be read ({', '.join(odd)})"
        return _judge(header)


def is_panoramic(header: Dataset) -> bool:
    """Whether it shows the arch from end to end, as far as the header tells."""
    return text(header, "Modality") == _PANORAMIC_MODALITY or judge_panoramic(header)[0]


def is_intraoral(header: Dataset) -> bool:
    """Whether modality or kind of object say that it is an intra-oral film, whatever else is said."""
    return text(header, "Modality") == "IO" or text(header, "SOPClassUID") in _INTRAORAL


def _judge(header: Dataset) -> tuple[bool, str]:
    modality = text(header, "Modality")
    rows, columns = number(header, "Rows"), number(header, "Columns")
    unfit = _unfit(header, modality, rows, columns)
    if unfit:
        return False, unfit
    if other := _other_view(header):
        return False, other
    declared = modality == _PANORAMIC_MODALITY
    word = None if declared else _panoramic_word(header)
    if not declared and word is None:
        return False, f"modality {modality or 'unknown'} and no description says that it is a panoramic"
    if word not in {None, *_CERTAIN_WORDS} and is_intraoral(header):
        return False, "it is an intra-oral film"
    least, most = _ASPECT if declared else _STRICT_ASPECT
    if not least <= columns / rows <= most:
        return False, f"its shape ({columns} x {rows} pixels) is not that of a panoramic"
    return True, f"{'modality PX' if word is None else f'described as {word.lower()}'}, {columns} x {rows} pixels"


def _unfit(header: Dataset, modality: str, rows: int, columns: int) -> str:
    """Why it cannot be one whatever the descriptions say; empty if it can."""
    checks = (
        (rows < 1 or columns < 1, "it has no image size (Rows, Columns)"),
        (number(header, "NumberOfFrames", 1) > 1, "it has several frames"),
        (text(header, "SOPClassUID").startswith(_PHOTOGRAPHS) or modality in _CAMERAS, "it is a photograph"),
        (modality not in _RADIOGRAPHS, f"modality {modality} is not a panoramic radiograph"),
        (
            modality != _PANORAMIC_MODALITY and number(header, "SamplesPerPixel", 1) > 1,
            "it is in colour and not of modality PX",
        ),
    )
    return next((reason for unfit, reason in checks if unfit), "")


def _other_view(header: Dataset) -> str:
    """What says that it shows something else, whatever its modality; empty if nothing does."""
    part = text(header, "BodyPartExamined")
    if part in _ELSEWHERE:
        return f"body part {part.lower()} is not the jaws"
    if text(header, "PositionerType") == "CEPHALOSTAT":
        return "it was taken with a cephalostat"
    said = _flat(
        part,
        *(text(header, keyword) for keyword in _OF_SERIES),
        *(text(item, "CodeMeaning") for keyword in _CODED for item in items(header, keyword)),
    )
    if any(_names(said, word) for word in _CERTAIN_WORDS):
        return ""
    other = next((word for word in said.split() if word.startswith(_OTHER_VIEWS)), "")
    return f"described as {other.lower()}, which is no panoramic" if other else ""


def _panoramic_word(header: Dataset) -> str | None:
    texts = [text(header, keyword) for keyword in _TEXTS]
    said = _flat(*texts, *(text(item, "CodeMeaning") for item in items(header, "AnatomicRegionSequence")))
    return next((word for word in _PANORAMIC_WORDS if _names(said, word)), None)


def _flat(*texts: str) -> str:
    """Words with single blanks between them."""
    return " ".join("".join(sign if sign.isalnum() else " " for sign in " ".join(texts)).split())


def _names(said: str, word: str) -> bool:
    """Whether a word is part of what is said; a short one only where it stands alone."""
    return word in said.split() if len(word) <= _SHORT else word in said
