"""Ages, and what they say about deciduous teeth."""

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from workers.models.dentition import age, deciduous_only, mixed


def header(**values: str) -> Dataset:
    """A header with some values."""
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("values", "years"),
    [
        ({"PatientBirthDate": "20150607", "StudyDate": "20260606"}, 10),
        ({"PatientBirthDate": "20150607", "StudyDate": "20260607"}, 11),
        ({"PatientAge": "011Y"}, 11),
        ({"PatientAge": "071M"}, 5),
        ({"PatientAge": "700D"}, 1),
        ({"PatientBirthDate": "20270101", "StudyDate": "20260101"}, None),
        ({"PatientBirthDate": "", "StudyDate": "20260101"}, None),
        ({}, None),
    ],
)
def test_age(values: dict[str, str], years: int | None) -> None:
    """The dates count before the age that was typed in; what is impossible is unknown."""
    assert age(header(**values)) == years


def test_what_ages_mean() -> None:
    """Below six no permanent teeth are expected, up to twelve both kinds; nobody is refused without an age."""
    assert "younger than 6" in deciduous_only(header(PatientAge="005Y"))
    assert not deciduous_only(header(PatientAge="006Y"))
    assert [mixed(header(PatientAge=age_)) for age_ in ("006Y", "012Y", "013Y")] == [True, True, False]
    assert not deciduous_only(Dataset())
    assert not mixed(Dataset())


def test_odd_values_say_nothing() -> None:
    """A value that cannot be read is no age and no error."""
    odd = header(PatientAge="030Y")
    raw = RawDataElement(BaseTag(0x00100030), "ZZ", 4, b"odd!", 0, is_implicit_VR=False, is_little_endian=True)
    odd._dict[raw.tag] = raw  # noqa: SLF001 - pydicom's way to hold what it has not converted yet
    assert age(odd) == 30
