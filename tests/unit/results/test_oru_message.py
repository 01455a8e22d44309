"""ORU^R01: valid by a validator that nobody here wrote, and the same content as the other reports."""

import base64
import io
import json
from dataclasses import replace

import pydicom
import pytest
from hl7apy.parser import parse_message

from service.domain import codes
from service.domain.finding import Finding, Measurement
from service.domain.tooth import TEETH
from service.results import diagnostic_report, measurement_report
from service.results.oru_message import MEDIA_TYPE, escaped, write
from tests.builders import analysis_of, header_of, xray
from tests.subjects import subject_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:hl7apy")


def message(**changes: object) -> str:
    """The message of one panoramic."""
    (result,) = write(subject_of(xray(**changes)))  # type: ignore[arg-type]
    assert result.media_type == MEDIA_TYPE
    return result.content.decode()


def fields(text: str, segment: str) -> list[list[str]]:
    """The fields of every segment of a name."""
    return [line.split("|") for line in text.split("\r") if line.startswith(f"{segment}|")]


def test_a_validator_of_2_5_1_accepts_it() -> None:
    """hl7apy finds structure, segments and data types right."""
    assert parse_message(message(), find_groups=True).validate()


def test_it_says_who_what_and_that_nobody_verified_it() -> None:
    """Patient, accession, report code, status P in OBR and in every OBX, study UID, a PDF that opens."""
    text = message()
    (pid,), (obr,), obx = fields(text, "PID"), fields(text, "OBR"), fields(text, "OBX")
    assert pid[3].endswith("^MR")
    assert obr[4].startswith("24828-6^")
    assert obr[3] == obr[18]
    assert obr[25] == "P"
    assert {each[11] for each in obx} == {"P"}
    assert [int(each[1]) for each in obx] == list(range(1, len(obx) + 1))
    (document,) = (each[5] for each in obx if each[2] == "ED")
    assert base64.b64decode(document.split("^")[-1]).startswith(b"%PDF")
    assert any("not verified" in each[5] for each in obx if each[2] == "TX")


def test_every_tooth_is_a_group_with_site_and_certainty() -> None:
    """The same sub-ID ties what was found to the SNOMED code of the tooth, its FDI number and the probability."""
    subject = subject_of(xray())
    obx = fields(write(subject)[0].content.decode(), "OBX")
    teeth = [finding for finding in subject.sources[0].analysis.findings if finding.kind == "tooth"]
    for group, finding in enumerate(teeth, start=1):
        of_group = [each for each in obx if each[4] == str(group)]
        assert finding.tooth is not None
        assert any(each[5].startswith(f"{TEETH[finding.tooth].snomed}^") for each in of_group)
        assert [each[5] for each in of_group if each[3].startswith("fdi^")] == [str(finding.tooth)]
        certainty = float(next(each[5] for each in of_group if each[2] == "NM"))
        assert certainty == pytest.approx(finding.certainty, abs=1e-3)


def test_measurements_carry_their_unit() -> None:
    """A Cobb angle is a number in degrees."""
    angle = (Measurement("cobb-angle", 31.26),)
    curve = Finding("scoliosis", None, 0.9, None, ("single-curve",), "thoracic-spine", angle)
    ds = xray()
    (result,) = write(subject_of(ds, replace(analysis_of(header_of(ds)), findings=(curve,))))
    obx = fields(result.content.decode(), "OBX")
    name = codes.MEASUREMENTS["cobb-angle"].name
    (row,) = (each for each in obx if each[3].startswith(f"{name.value}^"))
    assert (row[2], row[5], row[6].split("^")[0]) == ("NM", "31.3", "deg")


def test_delimiters_in_names_are_escaped() -> None:
    """Whatever a device wrote into a name, the segment keeps its fields."""
    assert escaped("a|b^c&d~e\\f") == "a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f"
    (pid,) = fields(message(PatientID="1|2^3"), "PID")
    assert pid[3].startswith("1\\F\\2\\S\\3^")


def test_of_several_accession_numbers_the_first_counts_everywhere() -> None:
    """Message, FHIR report and DICOM object of an image with two name the same one, and not a list in brackets."""
    subject = subject_of(xray(AccessionNumber=["A1", "A2"]))
    (obr,) = fields(write(subject)[0].content.decode(), "OBR")
    (bundle,) = diagnostic_report.write(subject)
    (report,) = (e["resource"] for e in json.loads(bundle.content)["entry"] if "conclusion" in e["resource"])
    (sr,) = measurement_report.write(subject)
    in_sr = pydicom.dcmread(io.BytesIO(sr.content)).AccessionNumber
    assert {obr[3], obr[18], report["basedOn"][0]["identifier"]["value"], in_sr} == {"A1"}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou"),
        ("=山田^太郎", "山田^太郎"),
        ("", ""),
        ("Adams^John Robert^Q^Rev.^B.A.", "Adams^John Robert^Q^B.A.^Rev."),
    ],
)
def test_a_name_in_one_script_is_not_lost(name: str, written: str) -> None:
    """The alphabetic name, and the ideographic one where a device writes no other: a PID without name is no patient."""
    (pid,) = fields(message(PatientName=name), "PID")
    assert pid[5] == written


def test_code_of_the_site() -> None:
    """A report code that the site set stands in OBR-4: CDT as such, one of the site's own system as local."""
    for code, expected in (
        (codes.Code("D0330", "CDT", "Panoramic"), "D0330^Panoramic^CDT"),
        (codes.Code("P|1", "http://clinic.example/codes", "Pano"), r"P\F\1^Pano^L"),
    ):
        (result,) = write(replace(subject_of(xray()), report_codes={"panoramic": code}))
        (obr,) = fields(result.content.decode(), "OBR")
        assert obr[4] == expected
