"""Codes that devices write for a tooth: those of today, and those that earlier editions of DICOM had.

The current codes stand in ``tooth``. The older ones are read and never written: SNOMED RT (schemes SRT, SNM3, 99SDM),
the SNOMED CT codes that CID 4018 and 4019 had before 2022, and the "Entire tooth" codes. No code names two teeth.
"""

from service.domain.tooth import TEETH

#: FDI number, codes of SNOMED RT, earlier and "entire tooth" codes of SNOMED CT.
_LEGACY: tuple[tuple[int, str, str], ...] = (
    (11, "T-54282 T-54280", "22120004 245575001"),
    (12, "T-54272 T-54270", "11712009 245574002"),
    (13, "T-54260", "80647007 245572003"),
    (14, "T-54250", "245571005"),
    (15, "T-54240", "245570006"),
    (16, "T-54230", "5140004 245568002"),
    (17, "T-54220", "7121006 245567007"),
    (18, "T-54210", "245566003"),
    (21, "T-54292 T-54290", "31982000 245587008"),
    (22, "T-54302 T-54300", "25748002 245586004"),
    (23, "T-54310", "72876007 245584001"),
    (24, "T-54320", "245583007"),
    (25, "T-54330", "245582002"),
    (26, "T-54340", "23427002 245579007"),
    (27, "T-54350", "66303006 245578004"),
    (28, "T-54360", "245577009"),
    (31, "T-54442 T-54440", "113278005 245611006"),
    (32, "T-54432 T-54430", "77130001 245610007"),
    (33, "T-54420", "39844006 245608005"),
    (34, "T-54410", "245607000"),
    (35, "T-54400", "245606009"),
    (36, "T-54390", "89625000 245604007"),
    (37, "T-54380", "48402004 245603001"),
    (38, "T-54370", "245602006"),
    (41, "T-54452 T-54450", "15422005 245600003"),
    (42, "T-54462 T-54460", "82628004 245599001"),
    (43, "T-54470", "47055002 245597004"),
    (44, "T-54480", "245596008"),
    (45, "T-54490", "245595007"),
    (46, "T-54500", "28480000 245592005"),
    (47, "T-54510", "40005008 245591003"),
    (48, "T-54520", "245590002"),
    (51, "T-54610 T-54611", "245620002"),
    (52, "T-54620 T-54621", "245619008"),
    (53, "T-54630", "245617005"),
    (54, "T-54640 T-54641", "245616001"),
    (55, "T-54650", "245615002"),
    (61, "T-54660", "245627004"),
    (62, "T-54670", "245626008"),
    (63, "T-54680", "245624006"),
    (64, "T-54690", "245623000"),
    (65, "T-54700", "245622005"),
    (71, "T-54760", "245642001"),
    (72, "T-54770", "245641008"),
    (73, "T-54780 T-54781", "245639007"),
    (74, "T-54790", "245638004"),
    (75, "T-54800", "245637009"),
    (81, "T-54710", "245635001"),
    (82, "T-54720", "245634002"),
    (83, "T-54730", "245632003"),
    (84, "T-54740 T-54741", "245631005"),
    (85, "T-54750", "245630006"),
)

_SNOMED_RT = {code: fdi for fdi, codes, _ in _LEGACY for code in codes.split()}
_SNOMED_CT = {tooth.snomed: fdi for fdi, tooth in TEETH.items()}
_SNOMED_CT |= {code: fdi for fdi, _, codes in _LEGACY for code in codes.split()}
#: Coding Scheme Designator -> its codes (PS3.16 table 8-1); the code decides where the device names no scheme.
_SCHEMES = {
    "SCT": _SNOMED_CT,
    "SNOMED-CT": _SNOMED_CT,
    "SRT": _SNOMED_RT,
    "SNM3": _SNOMED_RT,
    "99SDM": _SNOMED_RT,
    "": _SNOMED_CT | _SNOMED_RT,
}


def tooth_number(code: str, scheme: str = "") -> int | None:
    """The FDI number of a coded tooth; None where the code names no single tooth, or the scheme is another."""
    return _SCHEMES.get(scheme.strip().upper(), {}).get(code.strip().upper())


def codes_of(fdi: int) -> list[tuple[str, str]]:
    """Every code, with its scheme, by which a tooth is known; the one that is written comes first."""
    of_tooth = [(code, "SCT") for code, number in _SNOMED_CT.items() if number == fdi]
    return of_tooth + [(code, "SRT") for code, number in _SNOMED_RT.items() if number == fdi]
