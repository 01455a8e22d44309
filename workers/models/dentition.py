"""Whether a patient may have deciduous teeth, by age: the tooth model knows permanent teeth only and would misnumber.

The first permanent teeth erupt at about six, the last deciduous teeth go at about twelve (Logan & Kronfeld 1933).
"""

import re
import warnings

from pydicom.dataset import Dataset

from workers.models.header import text

MIXED = "deciduous-teeth-not-told-apart"  # a flag: the age allows deciduous teeth, which have no numbers here
_FIRST_PERMANENT, _LAST_DECIDUOUS = 6, 12  # years of age, complete
_AGE = re.compile(r"(\d{3})([DWMY])")  # PS3.5 6.2, AS
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_A_YEAR = {"D": 365, "W": 52, "M": 12, "Y": 1}


def deciduous_only(header: Dataset) -> str:
    """Why a patient is too young to have permanent teeth, in words for the user; empty if not, or if nobody knows."""
    years = age(header)
    if years is None or years >= _FIRST_PERMANENT:
        return ""
    return f"the patient is younger than {_FIRST_PERMANENT} years: deciduous teeth, which the model does not know"


def mixed(header: Dataset) -> bool:
    """Whether the age allows deciduous teeth beside permanent ones; False if nobody knows it."""
    years = age(header)
    return years is not None and years <= _LAST_DECIDUOUS


def age(header: Dataset) -> int | None:
    """Complete years at the time of the study, from the dates or from Patient's Age; None where neither is usable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes odd values in its warnings
        born, taken = (_DATE.fullmatch(text(header, keyword)) for keyword in ("PatientBirthDate", "StudyDate"))
        told = _AGE.fullmatch(text(header, "PatientAge"))
    if born and taken:
        (y0, *day0), (y1, *day1) = (tuple(int(part) for part in match.groups()) for match in (born, taken))
        years = y1 - y0 - (day1 < day0)
        return years if years >= 0 else None
    return int(told[1]) // _A_YEAR[told[2]] if told else None
