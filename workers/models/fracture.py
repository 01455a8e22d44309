"""Fractures on radiographs of arms and legs, as an answer for the whole image with a heat map.

Which images it takes is read from the header, for it was trained on extremities: on a spine, a chest or a jaw its
answer would mean nothing. Where the pixels then show noise, teeth or a spine, it declines.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from service.domain.errors import Declined
from workers.models import LoadedModel, Verdict
from workers.models.bundle import BUNDLES
from workers.models.elsewhere import Elsewhere
from workers.models.header import UNREADABLE
from workers.models.image_classifier import ImageClassifier
from workers.pixels import Image
from workers.regions import Detection

_RADIOGRAPHS = frozenset({"CR", "DX", "DR", "RG", "RF", "OT", "SC", ""})
_PHOTOGRAPHS = "1.2.840.10008.5.1.4.1.1.77."  # Visible Light IODs (PS3.6 annex A)
#: Words of Body Part Examined (PS3.16 annex L, and what devices write), of coded regions and of descriptions.
_EXTREMITY = frozenset((
    "HAND", "WRIST", "FINGER", "THUMB", "CARPAL", "METACARPAL", "SCAPHOID", "FOREARM", "RADIUS", "ULNA",
    "ELBOW", "ARM", "UPPERARM", "HUMERUS", "SHOULDER", "CLAVICLE", "FOOT", "FEET", "TOE", "CALCANEUS", "HEEL",
    "ANKLE", "LEG", "LOWERLEG", "TIBIA", "FIBULA", "TIBFIB", "TIB", "FIB", "KNEE", "PATELLA", "FEMUR", "THIGH", "HIP",
    "TARSAL", "METATARSAL", "PHALANX", "PHALANGES", "OLECRANON", "EXTREMITY", "EXTREMITIES", "LIMB", "UPRLIMB",
    "LOWLIMB",
))  # fmt: skip
_ELSEWHERE = frozenset((
    "SPINE", "CSPINE", "TSPINE", "LSPINE", "WSPINE", "TLSPINE", "LSSPINE", "CERVICAL", "THORACIC", "LUMBAR",
    "SACRUM", "COCCYX", "VERTEBRA", "SCOLIOSIS", "CHEST", "THORAX", "LUNG", "RIB", "ABDOMEN", "PELVIS",
    "SKULL", "HEAD", "NECK", "JAW", "MANDIBLE", "MAXILLA", "TEETH", "TOOTH", "DENTAL", "MOUTH", "PANORAMIC",
    "OPG", "OPT", "ORTHOPANTOMOGRAM", "SINUS", "NOSE", "FACE", "BREAST",
))  # fmt: skip
_LEAST_LIKENESS = 0.5  # radiographs have more than 0.9, noise has none
_ROWS = 256  # that are looked at
_EVEN = 1e-6  # variance of grey values, 0 to 1
_DESCRIPTIONS = ("StudyDescription", "SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")


class Fracture:
    """Fracture or none, on radiographs of the extremities."""

    name = "fracture"
    looks_for = ("fracture",)

    def __init__(self, bundle: Path | None = None) -> None:
        """``bundle``: another folder than the one that ships."""
        self._path = bundle or BUNDLES / self.name

    def judge(self, header: Dataset) -> Verdict:
        """Accept radiographs of arms and legs by modality, body part, coded region or descriptions."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom quotes odd values in its warnings
            unfit = _unfit(header)
            if unfit:
                return Verdict(accepted=False, reason=unfit)
            return Verdict(*_region(header))

    def load(self, device: str) -> LoadedModel:
        """Read the bundle and open the network. Raises ConfigurationError."""
        return LoadedFracture(self._path, device)


class LoadedFracture(ImageClassifier):
    """The classifier, but for noise and other anatomy, of which its network is easily sure."""

    def __init__(self, path: Path, device: str) -> None:
        """See ``ImageClassifier``; ``path``: the bundle. Opens the networks for other anatomy. ConfigurationError."""
        super().__init__(path, device)
        self._elsewhere = Elsewhere.open(device)

    def analyze(self, image: Image, before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """See ``ImageClassifier``. Raises Declined for noise, and where teeth or a spine are seen."""
        if likeness_of_neighbours(image.pixels) < _LEAST_LIKENESS:
            message = "its neighbouring pixels have nothing in common; it shows noise, not a radiograph"
            raise Declined(message)
        if reason := self._elsewhere.reason(image.pixels):
            message = f"{reason}, but it came as an image of an arm or a leg"
            raise Declined(message)
        return super().analyze(image, before)


def likeness_of_neighbours(pixels: NDArray[np.float32]) -> float:
    """Correlation of pixels (rows, columns) with their right neighbours; 1 for an even plane."""
    some = pixels[:: max(pixels.shape[0] // _ROWS, 1)]
    here, beside = some[:, :-1].ravel().astype(np.float64), some[:, 1:].ravel().astype(np.float64)
    here, beside = here - here.mean(), beside - beside.mean()
    spread = float(np.sqrt((here**2).sum() * (beside**2).sum()))
    return float((here * beside).sum()) / spread if spread > _EVEN * here.size else 1.0


def _unfit(header: Dataset) -> str:
    """Why it cannot be a plain radiograph whatever the descriptions say; empty if it can."""
    modality = _text(header, "Modality")
    if _text(header, "SOPClassUID").startswith(_PHOTOGRAPHS):
        return "it is a photograph"
    if modality not in _RADIOGRAPHS:
        return f"modality {modality} is not a plain radiograph of an arm or leg"
    if _number(header, "NumberOfFrames") > 1:
        return "it has several frames"
    if _number(header, "SamplesPerPixel") > 1:
        return "it is in colour"
    return ""


def _region(header: Dataset) -> tuple[bool, str]:
    """The first of body part, coded region and descriptions that names a part of the body decides."""
    said = [("body part", _text(header, "BodyPartExamined")), ("coded region", _coded(header))]
    said.append(("description", " ".join(_text(header, keyword) for keyword in _DESCRIPTIONS)))
    for source, text in said:
        words = "".join(sign if sign.isalnum() else " " for sign in text).split()
        words += [word.removesuffix("S") for word in words]
        if elsewhere := next((word for word in words if word in _ELSEWHERE), ""):
            return False, f"{source} {elsewhere.lower()} is no part of an arm or leg"
        if part := next((word for word in words if word in _EXTREMITY), ""):
            return True, f"radiograph, {source} {part.lower()}"
    return False, "neither body part nor description says that it shows an arm or a leg"


def _coded(header: Dataset) -> str:
    try:
        items = header.get("AnatomicRegionSequence") or ()
        return " ".join(_text(item, "CodeMeaning") for item in items)
    except UNREADABLE:
        return ""  # a malformed sequence says nothing


def _text(header: Dataset, keyword: str) -> str:
    try:
        value = header.get(keyword)
    except UNREADABLE:
        return ""
    return "" if value is None else str(value).strip().upper()


def _number(header: Dataset, keyword: str) -> int:
    try:
        return int(header.get(keyword) or 1)
    except UNREADABLE:
        return 1
