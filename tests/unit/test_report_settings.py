"""What a site sets for reports and records."""

import re
from pathlib import Path

import pytest

from service.domain.codes import EXAMINATIONS, Code, code_from
from service.domain.errors import ConfigurationError
from service.export.fhir_capability import Form
from service.settings import DestinationSettings, load_settings

PAGE = (Path(__file__).parents[2] / "docs" / "fhir.md").read_text(encoding="utf-8")


def written(folder: Path, text: str) -> Path:
    """A settings file."""
    path = folder / "dentgate.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_codes_from_file_and_environment(tmp_path: Path) -> None:
    """A table in the file, JSON in the environment."""
    path = written(tmp_path, '[report]\ncodes = { bitewing = " LN 46386-9 XR Teeth  Bitewing " }\n')
    assert load_settings(path, environment={}).report.by_kind() == {
        "bitewing": Code("46386-9", "LN", "XR Teeth  Bitewing")
    }
    said = '{"photo": "http://clinic.example/codes F1 Photograph: front"}'
    found = load_settings(path, environment={"DENTGATE_REPORT__CODES": said}).report.by_kind()
    assert found == {"photo": Code("F1", "http://clinic.example/codes", "Photograph: front")}


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ('{ xray = "LN 1 x" }', "no kind of examination: xray; there are panoramic"),
        ('{ photo = "LN 1" }', "write system, code and meaning"),
        ('{ photo = "LOINC 1 x" }', "the system is LN, SCT, CDT or a URI"),
        ('{ photo = "" }', "write system, code and meaning"),
    ],
)
def test_codes_that_are_none(tmp_path: Path, codes: str, words: str) -> None:
    """A kind that does not exist and a code that is written otherwise are told at start, in one line."""
    with pytest.raises(ConfigurationError, match=words) as raised:
        load_settings(written(tmp_path, f"[report]\ncodes = {codes}\n"), environment={})
    assert "\n" not in str(raised.value)


def test_every_kind_has_a_code() -> None:
    """The kinds that the settings name have defaults from LOINC."""
    assert {code.scheme for code in EXAMINATIONS.values()} == {"LN"}
    assert set(EXAMINATIONS) >= {
        "panoramic",
        "bitewing",
        "periapical",
        "cephalometric",
        "photo",
        "fracture",
        "spine",
    }


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('form = "batch"', "form"),
        ('dicomweb_url = "pacs:8042"', r"write dicomweb_url as http\(s\)"),
        ("create_patient = 3", "create_patient"),
        ('patient_systems = ["a"]', "patient_systems"),
    ],
)
def test_wrong_keys_of_a_record(tmp_path: Path, keys: str, words: str) -> None:
    """Values that make no sense are told at start."""
    text = f'[[destination]]\nname = "ehr"\nurl = "fhir+http://h/fhir"\n{keys}\n'
    with pytest.raises(ConfigurationError, match=words):
        load_settings(written(tmp_path, text), environment={})


@pytest.mark.parametrize(
    "key",
    [
        'form = "single"',
        'patient_systems = { A = "urn:a" }',
        'order_systems = { A = "urn:a" }',
        "create_patient = true",
        'dicomweb_url = "https://h/d"',
    ],
)
def test_keys_of_a_record_are_for_records(tmp_path: Path, key: str) -> None:
    """What only a FHIR destination heeds is an error elsewhere, and accepted there."""
    for url, right in (("dicom://A@h", False), ("fhir+https://h/fhir", True)):
        path = written(tmp_path, f'[[destination]]\nname = "peer"\nurl = "{url}"\n{key}\n')
        if right:
            assert load_settings(path, environment={}).destination[0].url == url
        else:
            with pytest.raises(ConfigurationError, match="without use"):
                load_settings(path, environment={})


def test_page_about_records_tells_the_truth() -> None:
    """docs/fhir.md names every form, every default code and only settings that exist; its example is a code."""
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == {"form", *Form}
    assert {code.value for code in EXAMINATIONS.values()} <= set(re.findall(r"\d+-\d", PAGE))
    keys = set(re.findall(r"`(\w+_\w+)(?: = \w+)?`", PAGE))
    assert keys == {"patient_systems", "order_systems", "create_patient", "dicomweb_url"}
    assert keys < set(DestinationSettings.model_fields)
    (example,) = re.findall(r'periapical = "([^"]+)"', PAGE)
    assert code_from(example).value == "D0220"
