"""Is this image a film of the spine from the front or the back? From its header alone."""

import warnings

from pydicom.dataset import Dataset

from workers.models.header import UNREADABLE, items, number, text, unreadable

_PHOTOGRAPHS = "1.2.840.10008.5.1.4.1.1.77."  # Visible Light IODs (PS3.6 annex A)
_CAMERAS = frozenset({"XC", "GM", "ES", "OP"})
_RADIOGRAPHS = frozenset({"DX", "CR", "DR", "RG", "RF", "OT", "SC", ""})
_SPINES = frozenset({"SPINE", "WSPINE", "TSPINE", "TLSPINE", "TLSP"})  # PS3.16 annex L
_WORDS = ("SPINE", "SPINAL", "SCOLI", "SKOLI", "VERTEBR", "WIRBELS", "COLUMNA", "RACHIS")
_PARTS_ONLY = frozenset({"CSPINE", "LSPINE", "LSSPINE", "SSPINE", "CERVICAL", "SACRUM", "COCCYX"})
_OTHER_PARTS = ("CERVICAL SPINE", "C SPINE", "LUMBAR SPINE", "L SPINE", "SACRAL")
_LATERAL = frozenset({"LAT", "LATERAL", "LL", "RL", "LLAT", "RLAT", "LLO", "RLO", "OBLIQUE", "FLEXION", "EXTENSION"})
_TEXTS = ("StudyDescription", "SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
_NUMBERS = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")
_DECIDING = ("SOPClassUID", "Modality", "BodyPartExamined", "ViewPosition", *_NUMBERS)
_SIDES = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")  # rows first
_MOST_OBLONG = 3.0  # more is damage
_LEAST_TALL, _MOST_TALL = 1.2, 8.0  # rows to columns; a whole spine is taller than wide, narrow crops to 6.2


def judge_spine(header: Dataset) -> tuple[bool, str]:
    """Whether to accept, and the reason for either; never raises on odd values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes odd values in its warnings
        odd = unreadable(header, _DECIDING, _NUMBERS)
        if odd:
            return False, f"its header cannot be read ({', '.join(odd)})"
        return _judge(header)


def pixel_shape(header: Dataset) -> float:
    """How many times as tall as wide a pixel is, by its spacing or aspect ratio (PS3.3 10.7, C.7.6.3.1.7).

    1 where nothing or nothing plausible is said. Angles are true only where pixels are square.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword in _SIDES:
            try:
                down, across = (float(side) for side in header.get(keyword) or ())
            except UNREADABLE:
                continue
            if down > 0 and across > 0 and 1 / _MOST_OBLONG <= down / across <= _MOST_OBLONG:
                return down / across
    return 1.0


def _judge(header: Dataset) -> tuple[bool, str]:
    modality, part = text(header, "Modality"), text(header, "BodyPartExamined")
    rows, columns = number(header, "Rows"), number(header, "Columns")
    unfit = _unfit(header, modality, rows, columns)
    if unfit:
        return False, unfit
    said = " ".join(text(header, keyword) for keyword in _TEXTS) + " " + _codes(header, "AnatomicRegionSequence")
    flat = " ".join(said.replace("-", " ").replace("_", " ").replace("/", " ").split())
    named = _named(part, flat)
    if not named:
        return False, f"modality {modality or 'unknown'} and neither body part nor description says that it is a spine"
    if part in _PARTS_ONLY or (part not in _SPINES and any(word in flat for word in _OTHER_PARTS)):
        return False, "it shows a part of the spine; whole spines (T1 to L5) are read"
    views = {*flat.split(), text(header, "ViewPosition"), *_codes(header, "ViewCodeSequence").split()}
    lateral = sorted(views & _LATERAL)
    if lateral:
        return False, f"its view is {lateral[0].lower()}; films from the front or the back are read"
    if not _LEAST_TALL <= rows / columns * pixel_shape(header) <= _MOST_TALL:
        return False, f"its shape ({columns} x {rows} pixels) is not that of a whole spine"
    return True, f"{named}, {columns} x {rows} pixels"


def _named(part: str, said: str) -> str:
    """What says that it is a spine; empty if nothing does."""
    if part in _SPINES or part in _PARTS_ONLY:
        return f"body part {part}"
    word = next((word for word in _WORDS if word in f"{part} {said}"), "")
    return f"described as {word.lower()}" if word else ""


def _unfit(header: Dataset, modality: str, rows: int, columns: int) -> str:
    """Why it cannot be one whatever the descriptions say; empty if it can."""
    checks = (
        (rows < 1 or columns < 1, "it has no image size (Rows, Columns)"),
        (number(header, "NumberOfFrames", 1) > 1, "it has several frames"),
        (text(header, "SOPClassUID").startswith(_PHOTOGRAPHS) or modality in _CAMERAS, "it is a photograph"),
        (modality not in _RADIOGRAPHS, f"modality {modality} is no radiograph of a spine"),
        (number(header, "SamplesPerPixel", 1) > 1, "it is in colour"),
    )
    return next((reason for unfit, reason in checks if unfit), "")


def _codes(header: Dataset, keyword: str) -> str:
    return " ".join(text(item, "CodeMeaning") for item in items(header, keyword))
