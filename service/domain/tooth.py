"""Teeth: FDI (ISO 3950), ADA universal and SNOMED CT, permanent and deciduous.

The SNOMED CT codes are those of PS3.16 CID 4018 (permanent) and 4019 (deciduous); they carry side and arch: a finding
site needs no laterality modifier. There is no registered coding scheme for FDI numbers: FDI goes into text only.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tooth:
    """One tooth.

    Attributes:
        fdi: number by ISO 3950, 11 to 48 permanent, 51 to 85 deciduous.
        universal: ADA universal number 1 to 32, letter A to T for deciduous teeth.
        snomed: SNOMED CT code, as in PS3.16 CID 4018 and 4019.
        meaning: code meaning as PS3.16 prints it (at most 64 characters).
    """

    fdi: int
    universal: str
    snomed: str
    meaning: str

    @property
    def quadrant(self) -> int:
        """FDI quadrant: 1 upper right, 2 upper left, 3 lower left, 4 lower right; 5 to 8 the same, deciduous."""
        return self.fdi // 10

    @property
    def upper(self) -> bool:
        """True in the maxilla."""
        return self.quadrant in {1, 2, 5, 6}

    @property
    def deciduous(self) -> bool:
        """True for the deciduous dentition."""
        return self.quadrant > 4  # noqa: PLR2004 - quadrants 5 to 8 are the deciduous ones (ISO 3950)


_ROWS = (
    (11, "8", "422653006", "Permanent maxillary right central incisor tooth"),
    (12, "7", "424877001", "Permanent maxillary right lateral incisor tooth"),
    (13, "6", "860767006", "Permanent maxillary right canine tooth"),
    (14, "5", "57826002", "Permanent maxillary right first premolar tooth"),
    (15, "4", "36492000", "Permanent maxillary right second premolar tooth"),
    (16, "3", "865995000", "Permanent maxillary right first molar tooth"),
    (17, "2", "863902006", "Permanent maxillary right second molar tooth"),
    (18, "1", "68085002", "Permanent maxillary right third molar tooth"),
    (21, "9", "424399000", "Permanent maxillary left central incisor tooth"),
    (22, "10", "423185002", "Permanent maxillary left lateral incisor tooth"),
    (23, "11", "860780009", "Permanent maxillary left canine tooth"),
    (24, "12", "61897005", "Permanent maxillary left first premolar tooth"),
    (25, "13", "23226009", "Permanent maxillary left second premolar tooth"),
    (26, "14", "865988009", "Permanent maxillary left first molar tooth"),
    (27, "15", "863901004", "Permanent maxillary left second molar tooth"),
    (28, "16", "87704003", "Permanent maxillary left third molar tooth"),
    (31, "24", "425106001", "Mandibular left central incisor tooth"),
    (32, "23", "423331005", "Mandibular left lateral tooth"),
    (33, "22", "860782001", "Mandibular left canine tooth"),
    (34, "21", "2400006", "Mandibular left first premolar tooth"),
    (35, "20", "24573005", "Mandibular left second premolar tooth"),
    (36, "19", "866006002", "Mandibular left first molar tooth"),
    (37, "18", "863898000", "Mandibular left second molar tooth"),
    (38, "17", "74344005", "Mandibular left third molar tooth"),
    (41, "25", "424575004", "Mandibular right central incisor tooth"),
    (42, "26", "423937004", "Mandibular right lateral incisor tooth"),
    (43, "27", "860785004", "Mandibular right canine tooth"),
    (44, "28", "80140008", "Mandibular right first premolar tooth"),
    (45, "29", "8873007", "Mandibular right second premolar tooth"),
    (46, "30", "866005003", "Mandibular right first molar tooth"),
    (47, "31", "863899008", "Mandibular right second molar tooth"),
    (48, "32", "38994002", "Mandibular right third molar tooth"),
    (51, "E", "88824007", "Deciduous maxillary right central incisor tooth"),
    (52, "D", "65624003", "Deciduous maxillary right lateral incisor tooth"),
    (53, "C", "30618001", "Deciduous maxillary right canine tooth"),
    (54, "B", "17505006", "Deciduous maxillary right first molar tooth"),
    (55, "A", "27855007", "Deciduous maxillary right second molar tooth"),
    (61, "F", "51678005", "Deciduous maxillary left central incisor tooth"),
    (62, "G", "43622005", "Deciduous maxillary left lateral incisor tooth"),
    (63, "H", "73937000", "Deciduous maxillary left canine tooth"),
    (64, "I", "45234009", "Deciduous maxillary left first molar tooth"),
    (65, "J", "51943008", "Deciduous maxillary left second molar tooth"),
    (71, "O", "89552004", "Deciduous mandibular left central incisor tooth"),
    (72, "N", "14770005", "Deciduous mandibular left lateral incisor tooth"),
    (73, "M", "43281008", "Deciduous mandibular left canine tooth"),
    (74, "L", "38896004", "Deciduous mandibular left first molar tooth"),
    (75, "K", "49330006", "Deciduous mandibular left second molar tooth"),
    (81, "P", "67834006", "Deciduous mandibular right central incisor tooth"),
    (82, "Q", "22445006", "Deciduous mandibular right lateral incisor tooth"),
    (83, "R", "6062009", "Deciduous mandibular right canine tooth"),
    (84, "S", "58646007", "Deciduous mandibular right first molar tooth"),
    (85, "T", "61868007", "Deciduous mandibular right second molar tooth"),
)

TEETH: dict[int, Tooth] = {row[0]: Tooth(*row) for row in _ROWS}
PERMANENT: tuple[int, ...] = tuple(fdi for fdi, tooth in TEETH.items() if not tooth.deciduous)
_UPPER, _LOWER = (*range(18, 10, -1), *range(21, 29)), (*range(48, 40, -1), *range(31, 39))
_UPPER_DECIDUOUS, _LOWER_DECIDUOUS = (*range(55, 50, -1), *range(61, 66)), (*range(85, 80, -1), *range(71, 76))


def tooth_of(fdi: int) -> Tooth:
    """The tooth of an FDI number. Raises KeyError for a number that ISO 3950 does not know."""
    return TEETH[fdi]


def chart_rows(teeth: Iterable[int]) -> tuple[tuple[int, ...], ...]:
    """FDI numbers of a tooth chart, row by row from above, the patient's right at the left.

    Args:
        teeth: those that must have a place: with a deciduous one among them the chart has their two rows as well.
    """
    if any(TEETH[fdi].deciduous for fdi in teeth):
        return (_UPPER, _UPPER_DECIDUOUS, _LOWER_DECIDUOUS, _LOWER)
    return (_UPPER, _LOWER)
