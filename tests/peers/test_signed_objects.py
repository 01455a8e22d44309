"""What independent validators say to signed results."""

import re
from pathlib import Path

import pytest

from service.domain.result import DICOM_RESULTS
from service.domain.review import Conclusion
from service.results import WRITERS
from service.results.subject import Subject
from tests import validators
from tests.reviewed import done, signed, usual_review
from tests.subjects import pictured, subject_of
from tests.validators import assert_valid, run, save

KINDS = [kind for kind in DICOM_RESULTS if kind != "seg-labelmap"]  # which these validators do not know


@pytest.fixture(scope="module")
def unsigned() -> Subject:
    """A panoramic as the algorithm saw it."""
    return pictured(subject_of(validators.source("px")))


@pytest.fixture(scope="module")
def reviewed(unsigned: Subject) -> Subject:
    """The same, signed twice."""
    return signed(unsigned, done(*usual_review(unsigned)), done(number=2, correcting=True))


@pytest.mark.parametrize("kind", KINDS)
def test_signed_objects_are_valid(kind: str, reviewed: Subject, tmp_path: Path) -> None:
    """No error of dciodvfy, and of an SR none of dsrdump, which shows the verifying observer and the predecessor."""
    written = WRITERS[kind](reviewed)
    assert written
    for number, result in enumerate(written):
        assert_valid(save(tmp_path, f"{kind}-{number}", result.content))
    if kind == "sr":
        text = run("dsrdump", tmp_path / "sr-0.dcm").stdout
        assert re.search(r"Verification Flag +: VERIFIED", text)
        assert "Muster^Anna^^Dr." in text
        assert "Predecessor Docs" in text


def test_a_withdrawal_is_valid(unsigned: Subject, tmp_path: Path) -> None:
    """The rejection note for reasons of safety passes as well."""
    gone = signed(unsigned, done(conclusion=Conclusion.WITHDRAW, reason="wrong patient"))
    (note,) = WRITERS["rejection"](gone)
    assert_valid(save(tmp_path, "rejection", note.content))


def test_signed_and_unsigned_stand_side_by_side(unsigned: Subject, reviewed: Subject, tmp_path: Path) -> None:
    """Both generations in one study are consistent (dcentvfy)."""
    files = [
        save(tmp_path, f"{name}-{kind}-{number}", result.content)
        for name, subject in (("ai", unsigned), ("signed", reviewed))
        for kind in ("sr", "seg", "presentation-state")
        for number, result in enumerate(WRITERS[kind](subject))
    ]
    verdict = run("dcentvfy", *files).stdout
    warnings = [line for line in verdict.splitlines() if line.startswith(("Error", "Warning"))]
    assert not [line for line in warnings if not validators.HARMLESS_WARNING.search(line)], verdict
