"""What every result says once a person has signed."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import highdicom as hd
import pydicom
import pytest
from hl7apy.parser import parse_message
from pydicom.dataset import Dataset

from service.domain.finding import Finding, Judgement, Reviewed
from service.domain.review import Conclusion
from service.results import WRITERS, measurement_report
from service.results.subject import Subject
from service.results.verification import rejected_name, remark
from tests.builders import analysis_of, header_of, xray
from tests.reviewed import REVIEWER, done, id_of, references_of, signed, usual_review
from tests.subjects import pictured, subject_of

KINDS = [kind for kind in WRITERS if kind not in {"report", "oru"}]


@pytest.fixture(scope="module")
def unsigned() -> Subject:
    """A panoramic with three teeth and a picture of it, as the algorithm saw it."""
    ds = xray()
    return pictured(subject_of(ds, analysis_of(header_of(ds), (36, 37, 46), flags={46: ("number-uncertain",)})))


@pytest.fixture(scope="module")
def reviewed(unsigned: Subject) -> Subject:
    """The same after the usual review and a signature."""
    return signed(unsigned, done(*usual_review(unsigned)))


def objects(kind: str, subject: Subject) -> list[Dataset]:
    """The objects of a kind."""
    results = WRITERS[kind](subject)
    return [pydicom.dcmread(io.BytesIO(result.content), stop_before_pixels=True) for result in results]


def words_of(ds: Dataset) -> str:
    """All text of an object; str would cut long texts."""
    return str(ds.to_json())


def report_of(subject: Subject) -> dict[str, list[dict[str, Any]]]:
    """The resources of the FHIR report by type."""
    (result,) = WRITERS["report"](subject)
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in json.loads(result.content)["entry"]:
        found.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return found


def segments_of(subject: Subject) -> list[list[str]]:
    """The segments of the HL7 v2 message, split into fields."""
    (result,) = WRITERS["oru"](subject)
    return [segment.split("|") for segment in result.content.decode().rstrip("\r").split("\r")]


def test_a_signed_report_is_verified_final_and_names_whom_and_what_before(unsigned: Subject, reviewed: Subject) -> None:
    """VERIFIED, FINAL, the verifying observer, and the report of the AI as predecessor (PS3.3 C.17.2)."""
    (before,) = objects("sr", unsigned)
    regional, whole = objects("sr", reviewed)
    for ds in (regional, whole):
        assert (ds.CompletionFlag, ds.PreliminaryFlag, ds.VerificationFlag) == ("COMPLETE", "FINAL", "VERIFIED")
        observer = ds.VerifyingObserverSequence[0]
        assert str(observer.VerifyingObserverName) == REVIEWER.name
        assert observer.VerifyingOrganization == REVIEWER.organization
        assert str(observer.VerificationDateTime).startswith("20261121093000")
        series = ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
        assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert series.SeriesInstanceUID == before.SeriesInstanceUID
        assert ds.SOPInstanceUID != before.SOPInstanceUID
        assert "unverified" not in ds.SeriesDescription
    assert (before.VerificationFlag, "VerifyingObserverSequence" in before) == ("UNVERIFIED", False)


def test_findings_keep_their_tracking_uid(unsigned: Subject, reviewed: Subject) -> None:
    """The changed finding is the same one under another number; the rejected one is gone; the words say so."""
    regional, _ = objects("sr", reviewed)
    content = cast("hd.sr.MeasurementReport", hd.sr.Comprehensive3DSR.from_dataset(regional).content)
    groups = {str(g.tracking_uid): g for g in content.get_planar_roi_measurement_groups()}
    assert id_of(unsigned, tooth=36) not in groups
    changed = groups[id_of(unsigned, tooth=37)]
    assert changed.tracking_identifier == "FDI38"
    assert changed.finding_sites[0].value.value == "74344005"  # 38
    assert "rejected by the reviewer: tooth 36" in words_of(regional)
    assert "The AI said tooth 37; changed by the reviewer" in words_of(regional)
    (seg,) = objects("seg", reviewed)
    assert [(s.TrackingUID, s.SegmentLabel, s.SegmentAlgorithmType) for s in seg.SegmentSequence] == [
        (id_of(unsigned, tooth=37), "FDI 38", "SEMIAUTOMATIC"),
        (id_of(unsigned, tooth=46), "FDI 46", "AUTOMATIC"),
    ]


def test_what_a_person_says_has_the_person_as_observer(reviewed: Subject) -> None:
    """TID 1002 in the group of an added or changed finding, neither algorithm nor certainty; the others keep theirs."""
    regional, whole = objects("sr", reviewed)
    for ds, names in ((regional, [True, False, True]), (whole, [True])):
        groups = [words_of(g) for g in _groups(ds)]
        assert [REVIEWER.name in group for group in groups] == names
        assert ["Algorithm Name" in group for group in groups] == [not each for each in names]
        assert ["Certainty of Finding" in group for group in groups] == [not each for each in names]
    root = [item for item in regional.ContentSequence if item.RelationshipType == "HAS OBS CONTEXT"]
    types = [i.ConceptCodeSequence[0].CodeMeaning for i in root if i.ValueType == "CODE"]
    assert types == ["Person", "Device"]


def _groups(ds: Dataset) -> Sequence[Dataset]:
    name = "126010"
    items = [i for i in ds.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == name]
    groups: Sequence[Dataset] = items[0].ContentSequence
    return groups


def test_groups_written_as_bytes_equal_highdicoms(reviewed: Subject) -> None:
    """Also where a person says it, the quick way and highdicom write the same."""
    assert measurement_report.write(reviewed) == measurement_report.write(reviewed, by_highdicom=True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_is_made_anew_and_twice_the_same(kind: str, unsigned: Subject, reviewed: Subject) -> None:
    """Every kind has UIDs of its own under a signature, depends on it alone, and says nowhere "not verified"."""
    before, once, again = (objects(kind, each) for each in (unsigned, reviewed, replace(reviewed, revision=9)))
    assert [ds.SOPInstanceUID for ds in once] == [ds.SOPInstanceUID for ds in again]
    assert WRITERS[kind](reviewed) == WRITERS[kind](reviewed)
    assert not {ds.SOPInstanceUID for ds in once} & {ds.SOPInstanceUID for ds in before}
    assert not {ds.SeriesInstanceUID for ds in once} & {ds.SeriesInstanceUID for ds in before}
    for ds in once:
        words = words_of(ds).lower()
        assert "unverified" not in words
        assert "not verified" not in words
        if kind not in {"secondary-capture", "rejection"}:
            assert "verified by dr. anna muster on 2026-11-21" in words or ds.get("VerificationFlag") == "VERIFIED"


def test_a_second_signature_follows_the_first(unsigned: Subject) -> None:
    """The predecessor of the amended report is the first signed one."""
    first = done(*usual_review(unsigned))
    (one, _), (two, _) = (
        objects("sr", signed(unsigned, *entries)) for entries in ([first], [first, done(number=2, correcting=True)])
    )
    series = two.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in series] == [one.SOPInstanceUID]


def test_everything_rejected_is_nothing_found(unsigned: Subject) -> None:
    """A report of which nothing is left says that what was looked for is absent, and names what was struck out."""
    every = [replace(a, deed=type(a.deed).REJECT, tooth=None) for a in usual_review(unsigned)[:2]]
    every.append(replace(every[0], finding=id_of(unsigned, tooth=46)))
    (ds,) = objects("sr", signed(unsigned, done(*every)))
    assert "Absent" in str(ds)
    assert "rejected by the reviewer: tooth 36, tooth 37, tooth 46" in words_of(ds)


def test_the_fhir_report_is_final_and_names_the_person(unsigned: Subject, reviewed: Subject) -> None:
    """Status final, resultsInterpreter by name only, observations of what stands, a revision that rises."""
    before, after = report_of(unsigned), report_of(reviewed)
    report = after["DiagnosticReport"][0]
    person = {
        "type": "Practitioner",
        "display": "Dr. Anna Muster",
        "identifier": {"value": "L-7", "assigner": {"display": "Praxis am Tor"}},
    }
    assert (report["status"], report["resultsInterpreter"]) == ("final", [person])
    assert report["issued"] == "2026-11-21T09:30:00Z"
    assert "verified by Dr. Anna Muster on 2026-11-21 (Praxis am Tor)" in str(report["conclusion"])
    assert {each["status"] for each in after["Observation"]} == {"final"}
    names = {str(each["identifier"][0]["value"]).rsplit("/", 1)[1] for each in after["Observation"]}
    assert names == {"FDI38", "FDI46", "caries", "image1.5"}
    added = next(each for each in after["Observation"] if str(each["identifier"]).count("caries"))
    assert not {"device", "meta", "component"} & set(added)
    assert added["method"] == {"text": "Added by the reviewer, not found by the AI, Dr. Anna Muster"}
    versions = [str(each["DiagnosticReport"][0]["identifier"][1]["value"]) for each in (before, after)]
    assert int(versions[0].split("/")[0]) < int(versions[1].split("/")[0])
    assert [a["type"]["coding"][0]["code"] for a in after["Provenance"][0]["agent"]] == ["author", "verifier"]


def test_an_amended_report_tells_what_is_new(unsigned: Subject) -> None:
    """Amended: what was signed before stays final, what was changed since is amended; corrected likewise."""
    first = done(number=1)
    change = usual_review(unsigned)[1]
    for correcting, status in ((False, "amended"), (True, "corrected")):
        subject = signed(unsigned, first, done(change, number=2, correcting=correcting))
        after = report_of(subject)
        assert after["DiagnosticReport"][0]["status"] == status
        assert sorted(str(each["status"]) for each in after["Observation"]) == [status, "final", "final"]
        assert {fields[25] for fields in segments_of(subject) if fields[0] == "OBR"} == {"C"}


def test_a_withdrawn_report_is_entered_in_error(unsigned: Subject) -> None:
    """Report and observations are entered in error; nothing that was said is said again but its codes."""
    gone = signed(unsigned, done(conclusion=Conclusion.WITHDRAW, reason="wrong patient"))
    resources = report_of(gone)
    assert resources["DiagnosticReport"][0]["status"] == "entered-in-error"
    assert {each["status"] for each in resources["Observation"]} == {"entered-in-error"}
    words = str(resources["DiagnosticReport"][0]["conclusion"])
    assert words == "Report withdrawn by Dr. Anna Muster on 2026-11-21 (Praxis am Tor): wrong patient."
    segments = segments_of(gone)
    assert {fields[25] for fields in segments if fields[0] == "OBR"} == {"X"}
    assert {fields[11] for fields in segments if fields[0] == "OBX"} == {"W"}


def test_hl7_says_final_and_by_whom(unsigned: Subject, reviewed: Subject) -> None:
    """P before, F after; OBR-32 and OBX-16 name the person; the control ID is another."""
    before, after = segments_of(unsigned), segments_of(reviewed)
    assert {fields[11] for fields in before if fields[0] == "OBX"} == {"P"}
    assert {fields[11] for fields in after if fields[0] == "OBX"} == {"F"}
    (order,) = [fields for fields in after if fields[0] == "OBR"]
    assert (order[25], order[32]) == ("F", "L-7&Muster&Anna&&&Dr.")
    assert {fields[16] for fields in after if fields[0] == "OBX"} == {"L-7^Muster^Anna^^^Dr."}
    assert before[0][9] != after[0][9]
    assert not any("The AI said" in "|".join(fields) for fields in before)
    assert any(fields[5] == "The AI said tooth 37; changed by the reviewer" for fields in after if fields[0] == "OBX")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:hl7apy")
def test_the_signed_message_is_valid(unsigned: Subject, reviewed: Subject) -> None:
    """hl7apy finds structure, segments and data types right, signed and withdrawn."""
    gone = signed(unsigned, done(conclusion=Conclusion.WITHDRAW, reason="wrong patient"))
    for subject in (reviewed, gone):
        (result,) = WRITERS["oru"](subject)
        assert parse_message(result.content.decode(), find_groups=True).validate()


def test_the_rejection_note_names_what_no_longer_counts(unsigned: Subject, reviewed: Subject) -> None:
    """IOCM: after a signature the objects of the AI for reasons of quality, after a withdrawal all, of safety."""
    assert not WRITERS["rejection"](unsigned)
    (note,) = objects("rejection", reviewed)
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    series = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {each.ReferencedSOPInstanceUID for item in series for each in item.ReferencedSOPSequence}
    assert named == {each.sop_instance_uid for each in references_of(unsigned)}
    gone = signed(
        unsigned,
        done(*usual_review(unsigned)),
        done(number=2, conclusion=Conclusion.WITHDRAW, reason="wrong patient"),
    )
    (last,) = objects("rejection", gone)
    assert last.ConceptNameCodeSequence[0].CodeValue == "113037"
    assert len(str(last).split("Referenced SOP Instance UID")) > len(str(note).split("Referenced SOP Instance UID"))


def test_a_plain_name_is_a_family_name() -> None:
    """A name without carets is one component, and a reviewer without organization is no error."""
    ds = xray()
    entry = replace(done(), reviewer=replace(REVIEWER, name="Dr. Anna Muster", organization="", identifier=""))
    (report,) = objects("sr", signed(subject_of(ds), entry))
    observer = report.VerifyingObserverSequence[0]
    assert (str(observer.VerifyingObserverName), observer.VerifyingOrganization) == ("Dr. Anna Muster", "not stated")


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("FDI37", "tooth 37"),
        ("FDI13/root-canal-treated", "root-canal treated of tooth 13"),
        ("T5-T11/scoliosis", "scoliosis (T5-T11)"),
        ("fracture", "fracture"),
        ("SCT:1:Cyst/Abscess", "Cyst/Abscess"),
        ("FDI36/SCT:1:Cyst/Abscess", "Cyst/Abscess of tooth 36"),
    ],
)
def test_what_the_ai_had_said_is_said_in_words(label: str, words: str) -> None:
    """No reader of a report meets a label that only programs know."""
    changed = Finding("crown", 14, 1.0, reviewed=Reviewed(Judgement.CHANGED, "2.25.1", "FDI14/crown", 1, label))
    assert remark(changed) == f"The AI said {words}; changed by the reviewer"


@pytest.mark.parametrize(
    ("finding", "name"),
    [
        (Finding("tooth", 36, 0.9), "tooth 36"),
        (Finding("crown", 12, 0.9), "crown of tooth 12"),
        (Finding("scoliosis", None, 0.9, site="T5-T11"), "scoliosis (T5-T11)"),
        (Finding("fracture", None, 0.9), "fracture"),
    ],
)
def test_what_was_rejected_is_said_in_words(finding: Finding, name: str) -> None:
    """The same words as everywhere else in the report."""
    assert rejected_name(finding) == name
