"""The FHIR report of the AI: one transaction that a record takes as it is."""

import base64
import dataclasses
import hashlib
import json
from typing import Any

import pytest
from pydicom.dataset import Dataset

from service.domain import codes
from service.domain.errors import Permanent
from service.domain.finding import Finding
from service.domain.tooth import PERMANENT
from service.results import diagnostic_report
from service.results.subject import Source, Subject
from tests.builders import ALGORITHM, analysis_of, header_of, xray
from tests.subjects import subject_of


def bundle_of(subject: Subject) -> dict[str, Any]:
    """The transaction of the one report of a subject."""
    (result,) = diagnostic_report.write(subject)
    bundle: dict[str, Any] = json.loads(result.content)
    return bundle


def resources_of(subject: Subject, kind: str) -> list[dict[str, Any]]:
    """The resources of one type."""
    return [e["resource"] for e in bundle_of(subject)["entry"] if e["resource"]["resourceType"] == kind]


def report_of(subject: Subject) -> dict[str, Any]:
    """The one DiagnosticReport."""
    (report,) = resources_of(subject, "DiagnosticReport")
    return report


def subject_with(*teeth: int, **analysis: Any) -> Subject:  # noqa: ANN401 - handed on to the builder
    """One panoramic in which these teeth were found."""
    return subject_of(xray(), analysis_of(xray(), teeth, **analysis))


def test_deciduous_tooth_fills_the_place_of_its_successor() -> None:
    """A child with 55 is not told that 15 is missing."""
    conclusion = report_of(subject_with(55, 16))["conclusion"]
    missing = conclusion.partition("not found: ")[2].partition(" (")[0].split(", ")
    assert "15" not in missing
    assert "14" in missing


def test_missing_teeth_only_on_a_panoramic() -> None:
    """A bitewing shows few teeth, so its report lists none as not found."""
    report = report_of(subject_of(xray(modality="IO"), analysis_of(xray(), (36, 37))))
    assert "not found" not in report["conclusion"]


def test_report_without_teeth_stands_alone() -> None:
    """Nothing found is a report, too: no Observation, no empty list of results."""
    subject = subject_with()
    assert resources_of(subject, "Observation") == []
    assert "result" not in report_of(subject)


def test_one_observation_for_each_tooth() -> None:
    """A finding names its tooth by SNOMED CT, ADA number and FDI text, its certainty, method and standing."""
    (observation,) = resources_of(subject_with(36, flags={36: ("number-uncertain",)}, certainty=0.98765), "Observation")
    site = observation["bodySite"]
    assert [coding["code"] for coding in site["coding"]] == ["866006002", "19"]
    assert site["text"] == "FDI 36"
    assert observation["code"]["coding"][0] == {
        "system": "http://loinc.org",
        "code": "59776-5",
        "display": "Procedure findings",
    }
    assert observation["valueCodeableConcept"]["coding"][0]["code"] == "278661005"
    assert observation["component"][0]["valueQuantity"]["value"] == 0.988
    assert observation["component"][0]["valueQuantity"]["code"] == "1"
    assert observation["status"] == "preliminary"
    assert observation["note"] == [{"text": "Number uncertain"}]
    assert observation["meta"]["security"][0]["code"] == "AIAST"


def test_report_is_preliminary_and_says_who_made_it() -> None:
    """The report is preliminary, labelled AIAST, without interpreter, and its Device names version and weights."""
    subject = subject_with(36)
    report = report_of(subject)
    assert (report["status"], report["meta"]["security"][0]["code"]) == ("preliminary", "AIAST")
    assert "resultsInterpreter" not in report
    assert {coding["code"] for category in report["category"] for coding in category["coding"]} == {"LP29684-5", "RAD"}
    (device,) = resources_of(subject, "Device")
    assert [version["value"] for version in device["version"]] == ["1.0.0", ALGORITHM.weights_sha256]
    assert device["manufacturer"] == ALGORITHM.manufacturer


def test_order_and_study_by_identifier_only() -> None:
    """The order is named by its accession number and the study by its UID, whether or not the record has them."""
    report = report_of(subject_with(36))
    assert report["basedOn"][0]["identifier"]["value"] == "A1"
    assert "reference" not in report["basedOn"][0]
    study = report["imagingStudy"][0]["identifier"]
    assert (study["system"], study["value"][:12]) == ("urn:dicom:uid", "urn:oid:2.25")


def test_no_order_without_accession_number() -> None:
    """An empty accession number makes no reference."""
    ds = xray(AccessionNumber="")
    assert "basedOn" not in report_of(subject_of(ds))


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        (None, {}),
        ("HOSP", {"assigner": {"display": "HOSP"}}),
        ("1.2.276.0.76", {"system": "urn:oid:1.2.276.0.76"}),
    ],
)
def test_patient_identifier_says_who_gave_it(issuer: str | None, expected: dict[str, Any]) -> None:
    """An issuer that is an OID becomes the system, another name the assigner, none leaves the value alone."""
    identifier = report_of(subject_of(xray(IssuerOfPatientID=issuer)))["subject"]["identifier"]
    assert {key: identifier[key] for key in ("system", "assigner") if key in identifier} == expected
    assert (identifier["value"], identifier["type"]["coding"][0]["code"]) == ("PROBE-1", "MR")


def test_issuer_from_the_qualifiers() -> None:
    """The universal entity ID of the issuer's qualifiers wins over its local name."""
    item = Dataset()
    item.UniversalEntityID, item.UniversalEntityIDType = "1.2.3", "ISO"
    ds = xray(IssuerOfPatientID="HOSP", IssuerOfPatientIDQualifiersSequence=[item])
    assert report_of(subject_of(ds))["subject"]["identifier"]["system"] == "urn:oid:1.2.3"


def test_patient_without_id() -> None:
    """A study without PatientID still makes a valid report; who it is for is then a question to a person."""
    assert "identifier" not in report_of(subject_of(xray(PatientID="")))["subject"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")  # pydicom, while the image is built
@pytest.mark.parametrize("date", ["", "00000000", "198", "20250230"])
def test_bad_dates_are_left_out(date: str) -> None:
    """A date that is none is not passed on; the report then carries the time of the analysis."""
    report = report_of(subject_of(xray(PatientBirthDate=date, StudyDate=date)))
    assert report["effectiveDateTime"] == report["issued"] == "2025-01-15T10:30:00Z"
    assert codes.BIRTH_DATE_EXTENSION not in json.dumps(report)


def test_identifier_is_stable_and_the_revision_apart() -> None:
    """Another revision with other weights keeps identifier and fullUrls; its revision identifier tells it apart."""
    newer = dataclasses.replace(ALGORITHM, version="2.0.0", weights_sha256="cd" * 32)
    first = subject_with(36)
    second = subject_of(xray(), analysis_of(xray(), (36,), algorithm=newer), revision=2)
    before, after = report_of(first)["identifier"], report_of(second)["identifier"]
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert after[1]["value"].startswith("2/")
    assert diagnostic_report.write(first)[0].name == diagnostic_report.write(second)[0].name == before[0]["value"]

    def url(subject: Subject) -> str:
        return next(
            str(entry["fullUrl"])
            for entry in bundle_of(subject)["entry"]
            if entry["resource"]["resourceType"] == "DiagnosticReport"
        )

    assert url(first) == url(second) == url(first).lower()


def test_images_of_a_study_make_one_report() -> None:
    """A tooth seen in two images is one Observation with a certainty for each; findings of both images are there."""
    one, two = header_of(xray()), header_of(xray(SOPInstanceUID="2.25.7"))
    sources = (Source(one, analysis_of(one, (36, 37))), Source(two, analysis_of(two, (36, 46), certainty=0.5)))
    subject = Subject(str(one.StudyInstanceUID), 1, sources)
    observations = {o["bodySite"]["text"]: o for o in resources_of(subject, "Observation")}
    assert sorted(observations) == ["FDI 36", "FDI 37", "FDI 46"]
    assert [c["valueQuantity"]["value"] for c in observations["FDI 36"]["component"]] == [0.97, 0.5]
    report = report_of(subject)
    assert len(report["result"]) == 3
    assert "Image 1 of 2 (series 1 image 1): 2 teeth found; not found: " in report["conclusion"]
    assert report["text"]["div"].count("<p>") == 5  # standing, purpose, two images, maker


def test_models_of_one_image_share_a_report() -> None:
    """What several models find in one image is one report that names every model; the line of it is fixed for ever."""
    header = header_of(xray())
    other = dataclasses.replace(ALGORITHM, name="Other Model")
    conditions = dataclasses.replace(
        analysis_of(header, (), algorithm=other), findings=(Finding("filling", 36, 0.8),), looks_for=("filling",)
    )
    subject = subject_of(header, analysis_of(header), conditions)
    (result,) = diagnostic_report.write(subject)
    assert result.name.endswith("/dental-findings/teeth-panoramic")
    devices = {each["deviceName"][0]["name"] for each in resources_of(subject, "Device")}
    assert devices == {ALGORITHM.name, "Other Model"}
    assert "tooth 36: filling" in report_of(subject)["conclusion"]


def test_examinations_have_reports_of_their_own() -> None:
    """A spine film and a panoramic of one study make two reports, so that a new image replaces only its own."""
    one, two = header_of(xray()), header_of(xray(SOPInstanceUID="2.25.7", modality="DX"))
    spine = dataclasses.replace(analysis_of(two, ()), looks_for=("scoliosis", "vertebra"))
    subject = Subject(str(one.StudyInstanceUID), 1, (Source(one, analysis_of(one)), Source(two, spine)))
    names = [result.name.rpartition("/")[2] for result in diagnostic_report.write(subject)]
    assert names == ["teeth-panoramic", "spine"]


@pytest.mark.parametrize(("modality", "lines"), [("DX", ["teeth-panoramic"]), ("IO", ["teeth-intraoral"] * 2)])
def test_no_two_reports_of_a_study_have_one_name(modality: str, lines: list[str]) -> None:
    """Two images of teeth, whatever their modality: one report for each line, and different lines differ in name."""
    one, two = header_of(xray(modality=modality)), header_of(xray(SOPInstanceUID="2.25.7", modality="PX"))
    subject = Subject(str(one.StudyInstanceUID), 1, (Source(one, analysis_of(one)), Source(two, analysis_of(two))))
    names = [result.name.rpartition("/")[2] for result in diagnostic_report.write(subject)]
    assert len(set(names)) == len(names) == len(lines)
    assert names[0] == lines[0]


def test_teeth_without_number_stay_apart() -> None:
    """Two teeth whose number is unknown are two findings, each without a body site."""
    analysis = dataclasses.replace(analysis_of(xray(), ()), findings=(Finding("tooth", None, 0.9),) * 2)
    subject = subject_of(xray(), analysis)
    assert len(resources_of(subject, "Observation")) == 2
    assert "2 teeth found" in report_of(subject)["conclusion"]


def test_all_references_lead_somewhere_and_only_posts() -> None:
    """Every urn:uuid in the transaction is the fullUrl of an entry; every entry is a plain POST; 32 teeth fit in 40."""
    bundle = bundle_of(subject_with(*PERMANENT))
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(urls)) == len(urls) == 35
    assert set(references(bundle)) <= set(urls)
    assert {tuple(entry["request"]) for entry in bundle["entry"]} == {("method", "url")}


def references(node: Any) -> list[str]:  # noqa: ANN401 - any JSON
    """Every literal reference below a node."""
    if isinstance(node, list):
        return [each for item in node for each in references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["reference"]] if isinstance(node.get("reference"), str) else []
    return own + [each for value in node.values() for each in references(value)]


def test_markup_in_names_stays_text() -> None:
    """A model name with angle brackets does not become markup of the narrative."""
    odd = dataclasses.replace(ALGORITHM, name="<b>&'\"")
    report = report_of(subject_of(xray(), analysis_of(xray(), algorithm=odd)))
    assert "&lt;b&gt;&amp;" in report["text"]["div"]


def test_unknown_finding_is_permanent() -> None:
    """A finding without a code ends in a clear error, not in a report without it."""
    analysis = dataclasses.replace(analysis_of(xray(), ()), findings=(Finding("unheard-of", 36, 0.5),))
    with pytest.raises(Permanent, match="unheard-of"):
        diagnostic_report.write(subject_of(xray(), analysis))


def test_page_is_attached_with_size_and_hash() -> None:
    """The PDF of the report is inside it, with its length and its SHA-1 as FHIR wants them."""
    (form,) = report_of(subject_with(36))["presentedForm"]
    content = base64.b64decode(form["data"])
    assert content.startswith(b"%PDF")
    assert form["contentType"] == "application/pdf"
    assert form["size"] == len(content)
    assert form["hash"] == base64.b64encode(hashlib.sha1(content).digest()).decode()  # noqa: S324 - as FHIR has it


def test_large_page_is_a_binary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PDF beyond the limit goes as a Binary to whose fullUrl the report points; size and hash stay."""
    monkeypatch.setattr(diagnostic_report, "_MOST_INLINE", 1000)
    bundle = bundle_of(subject_with(36))
    (entry,) = (entry for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Binary")
    (form,) = report_of(subject_with(36))["presentedForm"]
    assert (form["url"], "data" in form) == (entry["fullUrl"], False)
    assert form["size"] == len(base64.b64decode(entry["resource"]["data"]))


def test_report_without_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no page can be drawn the findings go out all the same."""

    def refuse(_subject: Subject) -> bytes:
        message = "the image has no valid SOPClassUID, so no result can refer to it"
        raise Permanent(message)

    monkeypatch.setattr(diagnostic_report, "draw_report", refuse)
    assert "presentedForm" not in report_of(subject_with(36))
    assert len(resources_of(subject_with(36), "Observation")) == 1


IO = {"modality": "IO"}


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({}, "panoramic"),
        ({"StudyDescription": "Cephalometric lateral"}, "cephalometric"),
        ({"modality": "DX", "StudyDescription": "Schaedel", "PositionerType": "CEPHALOSTAT"}, "cephalometric"),
        ({"modality": "DX", "StudyDescription": "FRS", "ProtocolName": "Fernröntgen seitlich"}, "cephalometric"),
        ({"modality": "DX", "StudyDescription": "Orthopantomogramm"}, "panoramic"),
        ({"modality": "DX", "StudyDescription": "Skull PA"}, "other"),
        (IO, "bitewing"),
        (IO | {"StudyDescription": "Bitewing", "SeriesDescription": "Periapical upper right"}, "periapical"),
        (IO | {"StudyDescription": "FMX", "SeriesDescription": "BW left"}, "bitewing"),
        (IO | {"StudyDescription": "FMX"}, "other"),
        (IO | {"StudyDescription": "Panoramic"}, "other"),
        ({"modality": "XC"}, "photo"),
    ],
)
def test_kind_of_examination(attributes: dict[str, str], kind: str) -> None:
    """What device and header say decides the kind, and the site's own code for that kind is the report's."""
    own = {each: codes.Code(each, "urn:clinic", each) for each in codes.EXAMINATIONS}
    subject = subject_of(xray(**attributes), analysis_of(xray(), (36,)))  # type: ignore[arg-type]  # DICOM keywords
    assert report_of(dataclasses.replace(subject, report_codes=own))["code"]["coding"] == [
        {"system": "urn:clinic", "code": kind, "display": kind}
    ]
    assert report_of(subject)["code"]["coding"][0]["code"] == codes.EXAMINATIONS[kind].value


@pytest.mark.parametrize(("looks_for", "kind"), [(("fracture",), "fracture"), (("scoliosis", "vertebra"), "spine")])
def test_kind_of_examination_by_what_is_looked_for(looks_for: tuple[str, ...], kind: str) -> None:
    """Bones and spines are told by the model that read them."""
    own = {kind: codes.Code("1", "CDT", "own")}
    analysis = dataclasses.replace(analysis_of(xray(), ()), looks_for=looks_for)
    subject = dataclasses.replace(subject_of(xray(modality="DX"), analysis), report_codes=own)
    assert report_of(subject)["code"]["coding"] == [{"system": "http://www.ada.org/cdt", "code": "1", "display": "own"}]


def test_mixed_kinds_are_neither() -> None:
    """Bitewings and periapicals in one report have no code of either."""
    one, two = (
        header_of(xray(modality="IO", SOPInstanceUID=uid, SeriesDescription=said))
        for uid, said in (("2.25.7", "bitewing"), ("2.25.8", "periapical"))
    )
    subject = Subject(str(one.StudyInstanceUID), 1, (Source(one, analysis_of(one)), Source(two, analysis_of(two))))
    own = {each: codes.Code(each, "urn:clinic", each) for each in codes.EXAMINATIONS}
    assert report_of(dataclasses.replace(subject, report_codes=own))["code"]["coding"][0]["code"] == "other"


def test_issuer_of_the_accession_number() -> None:
    """Who gave the accession number is said: a name as assigner, an OID as system."""
    local, universal = Dataset(), Dataset()
    local.LocalNamespaceEntityID = "RIS"
    universal.UniversalEntityID, universal.UniversalEntityIDType = "1.2.3", "ISO"
    for item, expected in ((local, {"assigner": {"display": "RIS"}}), (universal, {"system": "urn:oid:1.2.3"})):
        identifier = report_of(subject_of(xray(IssuerOfAccessionNumberSequence=[item])))["basedOn"][0]["identifier"]
        assert {key: identifier[key] for key in ("system", "assigner") if key in identifier} == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Muster^Anna Maria^Eva^Dr.^jun.",
            {"family": "Muster", "given": ["Anna", "Maria", "Eva"], "prefix": ["Dr."], "suffix": ["jun."]},
        ),
        ("=山田^太郎", {"family": "山田", "given": ["太郎"]}),
        ("^^", None),
        ("", None),
    ],
)
def test_name_of_the_patient(name: str, expected: dict[str, Any] | None) -> None:
    """The name goes with the logical patient, for a record that lets us create one."""
    extensions = report_of(subject_of(xray(PatientName=name)))["subject"].get("extension", [])
    said = {extension["url"]: extension.get("valueHumanName") for extension in extensions}
    assert said.get(codes.NAME_EXTENSION) == expected
