"""Is this image a photograph of a mouth? From its header alone: modality, kind of object, colour, part of the body."""

import warnings

from pydicom.dataset import Dataset

from workers.models.header import items, text

_PHOTOGRAPHIC, _ENDOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.840.10008.5.1.4.1.1.77.1.1"  # PS3.6 annex A
_CAPTURES = frozenset({"1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.4"})  # Secondary Capture, in colour too
_OF_A_CAPTURE = frozenset({"XC", "ES", "PHOTO"})
_OTHER_CAMERAS = {
    "OP": "it is a photograph of the eye (modality OP)",
    "OPT": "it is a scan of the eye (modality OPT)",
    "GM": "it is a picture from a microscope (modality GM)",
    "SM": "it is a picture from a microscope (modality SM)",
    "DMS": "it is a photograph of the skin (modality DMS)",
}
_MOUTH = (
    "MOUTH", "ORAL", "INTRAORAL", "TEETH", "TOOTH", "DENTAL", "DENTIT", "DENTURE", "GUM", "GINGIV", "LIP", "TONGUE",
    "JAW", "PALAT", "MAXILL", "MANDIB", "ORTHODONT", "STOMAT", "OCCLUS", "INCISOR", "MOLAR", "CHEEK", "BUCCAL",
)  # fmt: skip
_ELSEWHERE = (
    "SKIN", "DERMA", "MOLE", "WOUND", "EYE", "FUNDUS", "RETINA", "CORNEA", "EAR", "NOSE", "NASAL", "FACE", "FACIAL",
    "COLON", "STOMACH", "GASTR", "BRONCH", "LARYN", "ESOPHAG", "OESOPHAG", "RECTUM", "BLADDER", "UTERUS", "HAND",
    "FOOT", "ARM", "LEG", "CHEST", "BREAST", "NAIL", "HAIR", "SCALP",
)  # fmt: skip
_WHOLE_WORDS = 5  # letters; shorter words count only where they stand alone
_PARTS = ("BodyPartExamined", "AnatomicRegionSequence", "PrimaryAnatomicStructureSequence")
_TEXTS = ("StudyDescription", "SeriesDescription", "ProtocolName", "RequestedProcedureDescription", "ImageComments")


def judge_photo(header: Dataset) -> tuple[bool, str]:
    """Whether to accept, and the reason for either; never raises on odd values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes odd values in its warnings
        unfit = _unfit(header)
        if unfit:
            return False, unfit
        return _by_part(header, endoscope=_from_endoscope(header))


def _unfit(header: Dataset) -> str:
    """Why it is no photograph that could be read; empty if it is one."""
    modality, sop_class = text(header, "Modality"), text(header, "SOPClassUID")
    photograph = sop_class in {_PHOTOGRAPHIC, _ENDOSCOPIC} or (sop_class in _CAPTURES and modality in _OF_A_CAPTURE)
    checks = (
        (modality in _OTHER_CAMERAS, _OTHER_CAMERAS.get(modality, "")),
        (not photograph, f"it is no photograph (modality {modality or 'unknown'})"),
        (text(header, "NumberOfFrames") not in {"", "0", "1"}, "it has several frames"),
        (text(header, "PhotometricInterpretation").startswith("MONOCHROME"), "it is a picture without colours"),
    )
    return next((reason for holds, reason in checks if holds), "")


def _by_part(header: Dataset, *, endoscope: bool) -> tuple[bool, str]:
    """By the part of the body that the header names, or else by its descriptions."""
    kind = "photograph from an endoscope or intra-oral camera" if endoscope else "photograph"
    parts = [said for keyword in _PARTS if (said := _said(header, keyword))]
    for said in parts:
        if word := _first(_MOUTH, said):
            return True, f"{kind}, body part {word.lower()}"
    if parts and "HEAD" not in " ".join(parts):
        return False, f"body part {parts[0].lower()[:40]} is not the mouth"
    described = " ".join(text(header, keyword) for keyword in _TEXTS)
    if word := _first(_MOUTH, described):
        return True, f"{kind}, described as {word.lower()}"
    if word := _first(_ELSEWHERE, described):
        return False, f"described as {word.lower()}, not as the mouth"
    if endoscope:
        return False, "it comes from an endoscope, and nothing says that it shows the mouth"
    return True, f"{kind} without a body part; its pixels decide"


def _from_endoscope(header: Dataset) -> bool:
    return text(header, "Modality") == "ES" or text(header, "SOPClassUID") == _ENDOSCOPIC


def _first(words: tuple[str, ...], said: str) -> str:
    tokens = "".join(letter if letter.isalpha() else " " for letter in said).split()
    for word in words:
        if word in tokens or (len(word) >= _WHOLE_WORDS and any(token.startswith(word) for token in tokens)):
            return word
    return ""


def _said(header: Dataset, keyword: str) -> str:
    """A value in capitals; of a sequence of codes their meanings."""
    if not keyword.endswith("Sequence"):
        return text(header, keyword)
    return " ".join(text(item, "CodeMeaning") for item in items(header, keyword))
