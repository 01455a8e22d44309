"""Every code that a device may write for a tooth names that tooth, and only what names one tooth does."""

import itertools

import pytest
from pydicom.sr._snomed_dict import mapping

from service.domain.tooth import TEETH
from service.domain.tooth_codes import codes_of, tooth_number


@pytest.mark.parametrize("fdi", TEETH)
def test_every_code_names_its_tooth(fdi: int) -> None:
    """Today's code, those of SNOMED RT, of earlier editions, and "entire tooth", with and without their scheme."""
    codes = codes_of(fdi)
    assert codes[0] == (TEETH[fdi].snomed, "SCT")
    assert 3 <= len(codes) <= 5
    for code, scheme in codes:
        names = ("SCT", "SNOMED-CT") if scheme == "SCT" else ("SRT", "SNM3", "99SDM", "srt ")
        assert [tooth_number(code, name) for name in (*names, "")] == [fdi] * (len(names) + 1)
        assert tooth_number(code, "99VENDOR") is None


def test_no_code_names_two_teeth() -> None:
    """189 codes for 52 teeth."""
    codes = list(itertools.chain.from_iterable(codes_of(fdi) for fdi in TEETH))
    assert len(codes) == len({code for code, _ in codes}) == 189


def test_another_table_agrees() -> None:
    """What pydicom's own table of SNOMED RT and CT knows of these codes is the same tooth."""
    compared = 0
    for fdi in TEETH:
        for code, scheme in codes_of(fdi):
            other = mapping["SRT"].get(code) if scheme == "SRT" else None
            if other is not None and tooth_number(other, "SCT") is not None:
                compared += 1
                assert tooth_number(other, "SCT") == fdi
    assert compared >= 40


@pytest.mark.parametrize(("code", "scheme"), [("38199008", "SCT"), ("T-54010", "SRT"), ("", ""), ("11", "FDI")])
def test_other_codes_name_no_tooth(code: str, scheme: str) -> None:
    """The word tooth is no certain tooth, nor is anything else."""
    assert tooth_number(code, scheme) is None


def test_the_tooth_of_a_real_sensor() -> None:
    """T-54380 in SNM3, as a sensor of 2010 writes it, is the lower left second molar."""
    assert tooth_number("T-54380", "SNM3") == 37
