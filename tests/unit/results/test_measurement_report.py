"""What a report says, and that it says it the same way every time."""

import io
import warnings
from dataclasses import replace

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset

from service import clock
from service.domain.errors import Permanent
from service.domain.finding import Analysis
from service.domain.tooth import PERMANENT, tooth_of
from service.results import measurement_report, segmentation
from service.results.identity import device_uid
from service.results.subject import Subject
from tests.builders import ALGORITHM, STARTED_AT, analysis_of, header_of, xray
from tests.subjects import subject_of


def written(subject: Subject) -> hd.sr.Comprehensive3DSR:
    """The one report of a subject."""
    (result,) = measurement_report.write(subject)
    assert (result.kind, result.media_type) == ("sr", "application/dicom")
    report = hd.sr.srread(io.BytesIO(result.content))
    assert isinstance(report, hd.sr.Comprehensive3DSR)
    assert result.name == report.SOPInstanceUID
    return report


def content_of(report: hd.sr.Comprehensive3DSR) -> hd.sr.MeasurementReport:
    """The content of a report as its template has it."""
    assert isinstance(report.content, hd.sr.MeasurementReport)
    return report.content


def texts(ds: Dataset) -> list[str]:
    """Every comment of a report, in order."""
    found = []
    for item in ds.get("ContentSequence", ()):
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "121106":
            found.append(str(item.TextValue))
        found += texts(item)
    return found


def of(*teeth: int, **more: object) -> tuple[Dataset, Analysis]:
    """An image and its analysis."""
    ds = xray()
    return ds, analysis_of(header_of(ds), teeth, **more)  # type: ignore[arg-type] # keywords of analysis_of


def test_each_finding_is_a_planar_group() -> None:
    """Each tooth is a group of TID 1410: closed box, codes, tooth, certainty, algorithm and tracking identifier."""
    groups = content_of(written(subject_of(*of(*PERMANENT)))).get_planar_roi_measurement_groups()
    assert len(groups) == 32
    group = groups[PERMANENT.index(36)]
    assert group.tracking_identifier == "FDI36"
    assert group.finding_type is not None
    assert group.finding_category is not None
    assert (group.finding_type.value, group.finding_category.value) == ("38199008", "91723000")
    assert [(site.value.value, site.value.meaning) for site in group.finding_sites] == [
        (tooth_of(36).snomed, tooth_of(36).meaning)
    ]
    (certainty,) = group.get_measurements()
    assert (certainty.name.value, certainty.value, certainty.unit.value) == ("111012", 97.0, "%")
    assert group.roi is not None
    points = group.roi.value
    assert len(points) == 5
    assert points[0].tolist() == points[-1].tolist()


def test_the_box_is_that_of_the_finding() -> None:
    """The corners are those of the region, in pixels of the stored image."""
    ds = xray()
    analysis = analysis_of(header_of(ds), {36: (10, 20, 30, 60)})
    (group,) = content_of(written(subject_of(ds, analysis))).get_planar_roi_measurement_groups()
    assert group.roi is not None
    assert group.roi.value.tolist() == [[10, 20], [30, 20], [30, 60], [10, 60], [10, 20]]


@pytest.mark.parametrize(("certainty", "percent"), [(0.97, 97.0), (1 / 3, 33.3), (0.0, 0.0), (1.0, 100.0), (0.05, 5.0)])
def test_certainty_is_rounded_to_a_tenth_of_a_percent(certainty: float, percent: float) -> None:
    """A certainty is written in percent with at most one decimal."""
    (group,) = content_of(written(subject_of(*of(36, certainty=certainty)))).get_planar_roi_measurement_groups()
    assert group.get_measurements()[0].value == percent


def test_report_and_segmentation_share_tracking_uids() -> None:
    """A finding has one tracking UID in SR and SEG."""
    subject = subject_of(*of(*PERMANENT))
    (result,) = segmentation.write(subject)
    seg = hd.seg.segread(io.BytesIO(result.content))
    in_seg = {segment.TrackingID: segment.TrackingUID for segment in seg.SegmentSequence}
    groups = content_of(written(subject)).get_planar_roi_measurement_groups()
    assert {group.tracking_identifier: group.tracking_uid for group in groups} == in_seg


def test_it_is_preliminary_and_unverified() -> None:
    """The report is complete, preliminary, unverified, and its series says so."""
    report = written(subject_of(*of(36)))
    assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == (
        "COMPLETE",
        "PRELIMINARY",
        "UNVERIFIED",
    )
    assert report.SeriesDescription == "AI: tooth numbering (unverified), series 1 image 1"
    assert report.Manufacturer == "Dentgate"
    assert f"{report.ContentDate} {report.ContentTime}" == f"{clock.local(STARTED_AT):%Y%m%d %H%M%S}"
    equipment = {item.ManufacturerModelName: item for item in report.ContributingEquipmentSequence}
    assert equipment[ALGORITHM.name].DeviceUID == device_uid(ALGORITHM)


def test_flags_and_notes_can_be_read() -> None:
    """Flags stand in words with their finding; a conclusion in plain words stands once in the report."""
    report = written(subject_of(*of(36, 37, flags={36: ("number-uncertain",)}, notes=("orientation assumed",))))
    remark, conclusion = texts(report)
    assert remark == "Number uncertain"
    assert conclusion.startswith(
        "AI result, not verified by a dentist. Research model, not for diagnosis. 2 teeth found;"
    )
    assert "; number uncertain: 36; orientation assumed, " in conclusion
    container = report.ContentSequence[-1]
    assert container.ConceptNameCodeSequence[0].CodeMeaning == "Qualitative Evaluations"
    assert texts(container) == [conclusion]


def test_no_finding_is_said() -> None:
    """An analysis without findings gives a report of its own that says so, in code and in words."""
    report = written(subject_of(*of(notes=("orientation assumed",))))
    assert content_of(report).get_planar_roi_measurement_groups() == []
    (group,) = content_of(report).get_image_measurement_groups()
    evaluations = {item.name.value: item.value for item in group.get_qualitative_evaluations()}
    assert evaluations["38199008"] == hd.sr.CodedConcept("272519000", "SCT", "Absent")
    (conclusion,) = texts(report)
    assert "No teeth found; orientation assumed, " in conclusion


def test_findings_without_region_get_a_report_of_their_own() -> None:
    """Findings of the whole image never share a report with regions: viewers show nothing of such a report."""
    ds, analysis = of(36, 37)
    first, second = analysis.findings
    mixed = replace(analysis, findings=(first, replace(second, region=None)))
    results = measurement_report.write(subject_of(ds, mixed))
    regional, whole = (hd.sr.srread(io.BytesIO(result.content)) for result in results)
    assert isinstance(regional, hd.sr.Comprehensive3DSR)
    assert isinstance(whole, hd.sr.Comprehensive3DSR)
    assert len(content_of(regional).get_planar_roi_measurement_groups()) == 1
    assert len(content_of(whole).get_image_measurement_groups()) == 1
    assert regional.SOPInstanceUID != whole.SOPInstanceUID
    assert regional.SeriesInstanceUID != whole.SeriesInstanceUID


def test_a_later_revision_writes_the_same_object() -> None:
    """A late image leaves the report of an earlier one as it is, byte for byte: a PACS sees one."""
    subject = subject_of(*of(36))
    assert measurement_report.write(subject) == measurement_report.write(replace(subject, revision=2))


def test_study_attributes_are_copied() -> None:
    """Patient and study in the report are those of the image."""
    ds = xray(
        PatientName="Müller^Jörg",
        IssuerOfPatientID="CLINIC",
        PatientAge="045Y",
        StudyDescription="Panoramaschichtaufnahme",
    )
    report = written(subject_of(ds, analysis_of(header_of(ds))))
    for keyword in (
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientAge",
        "StudyDescription",
        "AccessionNumber",
    ):
        assert report[keyword].value == ds[keyword].value


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 144", "Ivanov^Юрий"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (None, "Plain^Name"),
    ],
)
def test_names_in_other_character_sets_are_kept(character_set: str | None, name: str) -> None:
    """A name in the sender's character set is the same name in ISO_IR 192."""
    ds = xray(SpecificCharacterSet=character_set, PatientName=name)
    report = written(subject_of(ds, analysis_of(header_of(ds))))
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert str(report.PatientName) == name


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientSex": "U"},
        {"PatientSex": "male"},
        {"PatientBirthDate": "1980-01-01"},
        {"PatientBirthDate": "unknown"},
        {"StudyDate": "20251345x", "StudyTime": "25:00"},
        {"StudyTime": "100000.1234567"},
        {"PatientOrientation": None},
        {"PatientOrientation": ""},
        {"PatientOrientation": "L"},
        {"ImagerPixelSpacing": None},
        {"ImagerPixelSpacing": ""},
        {"Modality": ""},
        {"PatientID": "A\\B"},
        {"StudyDescription": "x" * 200},
        {"AnatomicRegionSequence": []},
        dict.fromkeys(
            (
                "PatientID",
                "PatientName",
                "PatientBirthDate",
                "PatientSex",
                "StudyID",
                "StudyDate",
                "StudyTime",
                "AccessionNumber",
                "ReferringPhysicianName",
                "Manufacturer",
                "SpecificCharacterSet",
                "StudyDescription",
            )
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # pydicom complains while the test writes malformed values
def test_headers_of_real_devices_do_not_stop_a_report(attributes: dict[str, object]) -> None:
    """Missing, empty and malformed attributes of the image neither stop the report nor the segmentation."""
    ds = xray(**attributes)  # type: ignore[arg-type] # keywords of any value
    subject = subject_of(ds, analysis_of(header_of(ds)))
    assert len(content_of(written(subject)).get_planar_roi_measurement_groups()) == 3
    assert len(segmentation.write(subject)) == 1


def test_no_warning_quotes_the_patient() -> None:
    """Warnings of the libraries, which quote names and dates, never come out: they would end up in a log."""
    subject = subject_of(xray(PatientName="Onlyone"))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        measurement_report.write(subject)
        segmentation.write(subject)
    assert not seen


def test_bytes_that_make_no_sense_do_not_stop_a_report() -> None:
    """An attribute whose bytes cannot be parsed is left out."""
    header = header_of(xray())
    raw = pydicom.dataelem.RawDataElement(pydicom.tag.Tag("PatientSize"), "DS", 3, b"a,b", 0, False, True)  # noqa: FBT003 - pydicom's order
    header._dict[raw.tag] = raw  # noqa: SLF001 - as it comes from a file
    subject = replace(subject_of(xray()), sources=(replace(subject_of(xray()).sources[0], header=header),))
    assert len(measurement_report.write(subject)) == 1


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"])
def test_without_identity_no_result_can_refer_to_the_image(keyword: str) -> None:
    """An image without one of its UIDs cannot have a result; the reason names the UID."""
    subject = subject_of(xray())
    delattr(subject.sources[0].header, keyword)
    with pytest.raises(Permanent, match=keyword):
        measurement_report.write(subject)


def test_the_image_library_names_a_panoramic() -> None:
    """A panoramic of class Digital X-Ray is called PX in the image library; without its attributes there is none."""
    assert "Panoramic X-Ray" in str(written(subject_of(*of(36))))
    bare = xray(PatientOrientation=None)
    assert "Image Library" not in str(written(subject_of(bare, analysis_of(header_of(bare)))))
