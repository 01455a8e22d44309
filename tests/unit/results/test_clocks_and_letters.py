"""What results take over from the header of their image: texts of any character set, and the clock that it names."""

import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from service.domain.result import DICOM_RESULTS
from service.domain.review import ReportStatus, Reviewer, Signature
from service.results import WRITERS
from service.results.verification import said_of
from tests.builders import as_bytes, xray
from tests.subjects import pictured, subject_of

KINDS = [kind for kind in DICOM_RESULTS if kind != "rejection"]


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/Los_Angeles"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The time zone of the machine."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield str(request.param)
    monkeypatch.undo()
    time.tzset()


def item(**attributes: object) -> Dataset:
    """An item of a sequence."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def written(kind: str, **attributes: Any) -> list[Dataset]:  # noqa: ANN401 - any attribute
    """The objects of a kind, of an image that was read from its bytes as a worker reads it."""
    received = pydicom.dcmread(io.BytesIO(as_bytes(xray(**attributes))))
    return [pydicom.dcmread(io.BytesIO(each.content)) for each in WRITERS[kind](pictured(subject_of(received)))]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_within_sequences_change_their_character_set(kind: str) -> None:
    """A result is in UTF-8 at every depth: the procedure of a device that writes ISO 8859-1 is no broken text."""
    code = item(CodeValue="P1", CodingSchemeDesignator="99LOCAL", CodeMeaning="Röntgen der Zähne")
    issuer = item(UniversalEntityID="1.2.3", UniversalEntityIDType="ISO")
    other = item(PatientID="Größe 7", TypeOfPatientID="TEXT", IssuerOfPatientIDQualifiersSequence=[issuer])
    objects = written(
        kind,
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Müller^Jörg",
        ProcedureCodeSequence=[code],
        OtherPatientIDsSequence=[other],
    )
    assert objects
    for ds in objects:
        assert (ds.SpecificCharacterSet, str(ds.PatientName)) == ("ISO_IR 192", "Müller^Jörg")
        if kind != "presentation-state" or "ProcedureCodeSequence" in ds:
            assert ds.ProcedureCodeSequence[0].CodeMeaning == "Röntgen der Zähne"
        assert ds.OtherPatientIDsSequence[0].PatientID == "Größe 7"


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_without_items_stay_behind(kind: str) -> None:
    """An empty sequence of optional type would make every result invalid (PS3.3 C.7.1.1)."""
    assert not [ds for ds in written(kind, OtherPatientIDsSequence=[]) if "OtherPatientIDsSequence" in ds]


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_stands_on_the_clock_of_its_image(kind: str, zone: str) -> None:
    """Where the image names its zone, every date and time of the result is in it, whatever the machine's own is."""
    assert zone
    for ds in written(kind, TimezoneOffsetFromUTC="+1345", StudyTime="235500"):
        assert (ds.TimezoneOffsetFromUTC, ds.StudyTime) == ("+1345", "235500")
        assert f"{ds.InstanceCreationDate} {ds.InstanceCreationTime[:6]}" == "20250116 001500"
        date, clock_time = ("Presentation", "Creation") if kind == "presentation-state" else ("Content", "")
        said = ds[f"{date}{clock_time}Date"].value, ds[f"{date}{clock_time}Time"].value[:6]
        assert said == ("20250116", "001500")


@pytest.mark.parametrize("kind", KINDS)
def test_else_on_the_clinics_own(kind: str, zone: str) -> None:
    """Devices that name no zone write the clinic's time; a result in UTC could be older than its image."""
    expected = {"UTC": "103000", "Europe/Berlin": "113000", "America/Los_Angeles": "023000"}[zone]
    for ds in written(kind):
        assert "TimezoneOffsetFromUTC" not in ds
        assert ds.InstanceCreationTime[:6] == expected
        assert str(ds.ContributingEquipmentSequence[-1].ContributionDateTime)[8:14] == expected


@pytest.mark.parametrize("raw", ["CET", "+2500", "01:00", "+0100\\+0200", ""])
def test_a_zone_that_makes_no_sense_is_none(raw: str) -> None:
    """It is left out, and the machine's own clock counts."""
    assert not [ds for ds in written("sr", TimezoneOffsetFromUTC=raw) if "TimezoneOffsetFromUTC" in ds]


def test_the_day_of_a_signature_is_the_clinics(zone: str) -> None:
    """Who signs in the afternoon of the 21st in California signs on the 21st, although it is the 22nd in UTC."""
    signature = Signature(Reviewer("Muster^Anna"), datetime(2026, 11, 22, 0, 30, tzinfo=UTC), 1, ReportStatus.FINAL)
    day = {"UTC": "22", "Europe/Berlin": "22", "America/Los_Angeles": "21"}[zone]
    assert said_of(signature) == f"verified by Anna Muster on 2026-11-{day}"
