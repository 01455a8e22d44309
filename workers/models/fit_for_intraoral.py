"""Is this image an intra-oral X-ray film, and what does its header say about jaw, side and teeth?"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from service.domain.tooth_codes import tooth_number
from workers.models.arch import FDI, LOWER, UPPER
from workers.models.fit_for_panoramics import is_intraoral, judge_panoramic
from workers.models.header import codes, number, text, unreadable

_NUMBERS = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")
_DECIDING = ("SOPClassUID", "Modality", *_NUMBERS)
_SLIMMEST, _WIDEST = 0.4, 2.5  # columns to rows of films and sensors, and what is cropped from them
_MAXILLA = frozenset({"70925003", "T-11170", "T-D1217"})  # CID 4016; sensors write older SNOMED codes as well
_MANDIBLE = frozenset({"91609006", "T-11180"})
_UP_OR_DOWN = ("H", "F")
_PERMANENT = 50  # FDI numbers above are deciduous teeth
_SUCCESSOR = 40  # less than a deciduous tooth's number is that of the tooth which takes its place
_DOUBT = 3.0  # natural log by which a number that the header contradicts is thought less likely
_DOUBT_A_PLACE = 1.0  # the same for each place between a number and the next tooth that is named, up to _DOUBT
_PLACE = {fdi: place for jaw in (UPPER, LOWER) for place, fdi in enumerate(jaw)}
_APART = 2  # a film shows the neighbours of the tooth that is meant, and the tooth itself may be lost


def judge_intraoral(header: Dataset) -> tuple[bool, str]:
    """Whether to accept, and the reason for either; never raises on odd values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes odd values in its warnings
        odd = unreadable(header, _DECIDING, _NUMBERS)
        if odd:
            return False, f"its header cannot be read ({', '.join(odd)})"
        rows, columns = number(header, "Rows"), number(header, "Columns")
        if not is_intraoral(header):
            return False, "neither its modality nor its kind of object is that of an intra-oral film"
        checks = (
            (rows < 1 or columns < 1, "it has no image size (Rows, Columns)"),
            (number(header, "NumberOfFrames", 1) > 1, "it has several frames"),
            (number(header, "SamplesPerPixel", 1) > 1, "it is in colour"),
            (rows > 0 and not _SLIMMEST <= columns / max(rows, 1) <= _WIDEST, "its shape is not that of a film"),
            (judge_panoramic(header)[0], "it is described as a panoramic"),
            (_directions(header)[0][:1] in _UP_OR_DOWN, "it lies on its side (Patient Orientation), and is not turned"),
        )
    unfit = next((reason for wrong, reason in checks if wrong), "")
    return not unfit, unfit or f"an intra-oral film, {columns} x {rows} pixels"


@dataclass(frozen=True, slots=True)
class Told:
    """What a header says about an intra-oral film.

    Attributes:
        right: True = the patient's right, False = left, None = both or unknown (Image Laterality).
        upper: True = maxilla, False = mandible, None = both or unknown (Anatomic Region).
        teeth: FDI numbers (Primary Anatomic Structure); empty = none named.
        mirrored: the front of the mouth lies on the side where the back belongs (Patient Orientation).
    """

    right: bool | None = None
    upper: bool | None = None
    teeth: frozenset[int] = frozenset()
    mirrored: bool = False

    @property
    def deciduous(self) -> bool:
        """Whether deciduous teeth are named."""
        return any(tooth > _PERMANENT for tooth in self.teeth)

    def prior(self) -> NDArray[np.float64]:
        """(32,) what to add to the log probability of each number, in the order of ``arch.FDI``."""
        doubts = [
            (self.right is not None and (fdi // 10 in (1, 4)) != self.right)
            + (self.upper is not None and (fdi // 10 in (1, 2)) != self.upper)
            for fdi in FDI
        ]
        places = [min(_DOUBT, _DOUBT_A_PLACE * self.places_off(fdi)) for fdi in FDI]
        prior: NDArray[np.float64] = -_DOUBT * np.array(doubts, float) - np.array(places, float)
        return prior

    def places_off(self, fdi: int) -> int:
        """How many places a permanent tooth stands from the next one that is named, in either jaw; 0 if none is named.

        A bitewing shows both jaws and often names the teeth of one: which jaw is meant is said by ``upper``.
        """
        named = [tooth - _SUCCESSOR if tooth > _PERMANENT else tooth for tooth in self.teeth]
        return min((abs(_PLACE[fdi] - _PLACE[each]) for each in named), default=0)

    def contradicts(self, seen: Sequence[int]) -> bool:
        """Whether teeth are named and none of those seen (permanent, FDI) stands near one of them."""
        return bool(self.teeth and seen) and all(self.places_off(fdi) > _APART for fdi in seen)


def told(header: Dataset) -> Told:
    """What the header says; nothing where it is silent or odd."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        side = {"R": True, "L": False}.get(text(header, "ImageLaterality"))
        regions = codes(header, "AnatomicRegionSequence")
        structures = [*regions, *codes(header, "PrimaryAnatomicStructureSequence")]  # some devices name teeth as region
        directions = _directions(header)
    said = {code for code, _ in regions}
    upper = True if said & _MAXILLA else False if said & _MANDIBLE else None
    teeth = frozenset(fdi for code in structures if (fdi := tooth_number(*code)) is not None)
    if teeth and upper is None:
        jaws = {tooth // 10 in (1, 2, 5, 6) for tooth in teeth}
        upper = jaws.pop() if len(jaws) == 1 else None
    if teeth and side is None:
        sides = {tooth // 10 in (1, 4, 5, 8) for tooth in teeth}
        side = sides.pop() if len(sides) == 1 else None
    # towards the image's right lies the back on the patient's left, the front on the right
    mirrored = side is not None and directions[0][:1] == ("P" if side else "A")
    return Told(side, upper, teeth, mirrored)


def _directions(header: Dataset) -> list[str]:
    """Where the rows and the columns run (PS3.3 C.7.6.1.1.1); one empty word where nothing is said."""
    return text(header, "PatientOrientation").strip("[]").replace("'", "").split(", ")
