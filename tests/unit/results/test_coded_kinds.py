"""A kind of finding that carries its code, as a foreign model finds it, reaches every result."""

import io
import json
from dataclasses import replace

import pydicom
import pytest
from pydicom.dataset import Dataset

from service.domain.codes import FINDINGS
from service.domain.finding import Finding, Region
from service.domain.words import kind_word
from service.results import diagnostic_report, measurement_report, segmentation
from service.results.labels import finding_label
from tests.builders import analysis_of, header_of, xray
from tests.subjects import subject_of

KIND = "SCT:233604007:Pneumonia"
FOUND = Finding(KIND, None, 0.8, Region((20, 30, 60, 90), (0, 40 * 60)), site="chest")


@pytest.mark.parametrize(
    "kind", ["pneumonia", "SCT:1", "ICD:1:x", "SCT::x", "SCT:1:", "SCT:12345678901234567:x", "SCT:1:a\\b"]
)
def test_other_words_have_no_codes(kind: str) -> None:
    """A slip of the pen is found where the mapping is read, not in the report."""
    assert kind not in FINDINGS
    with pytest.raises(KeyError):
        FINDINGS[kind]


def test_words_and_codes() -> None:
    """People read the meaning, machines the code."""
    assert KIND in FINDINGS
    code = FINDINGS[KIND].finding
    assert (code.value, code.scheme, code.meaning) == ("233604007", "SCT", "Pneumonia")
    assert kind_word(KIND) == "Pneumonia"
    assert "Pneumonia" in finding_label(FOUND)
    assert "SCT" not in finding_label(FOUND)


def codes_of(ds: Dataset) -> set[tuple[str, str]]:
    """Value and meaning of every code in a data set."""
    return {
        (str(item.CodeValue), str(item.CodeMeaning))
        for element in ds.iterall()
        if element.VR == "SQ"
        for item in element.value
        if "CodeValue" in item
    }


def test_results_carry_the_code() -> None:
    """SR, SEG and FHIR each name SNOMED CT 233604007 with its meaning."""
    ds = xray(modality="DX")
    analysis = replace(analysis_of(header_of(ds), ()), findings=(FOUND,), looks_for=(KIND,))
    subject = subject_of(ds, analysis)
    for write in (measurement_report.write, segmentation.write):
        for result in write(subject):
            assert ("233604007", "Pneumonia") in codes_of(pydicom.dcmread(io.BytesIO(result.content)))
    (report,) = diagnostic_report.write(subject)
    assert '"233604007"' in json.dumps(json.loads(report.content))
