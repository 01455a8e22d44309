"""What every kind of result promises (``Writer``): it depends on its subject, and on nothing else."""

import time
from dataclasses import replace

import numpy as np
import pytest

from service.results import WRITERS
from service.results.subject import Subject
from tests.builders import analysis_of, header_of, xray
from tests.reviewed import done, signed, usual_review
from tests.subjects import pictured, subject_of

NEXT_SECOND = 1.05  # as finely as DICOM, FHIR and HL7 v2 results tell the time


def study() -> Subject:
    """An image with teeth, one without any finding, and a colour photograph."""
    first = subject_of(xray(seed="a"))
    empty = xray(seed="b", StudyInstanceUID=first.study_instance_uid)
    photo = xray(
        np.zeros((20, 30, 3), np.uint8),
        seed="c",
        modality="XC",
        photometric="RGB",
        bits=8,
        StudyInstanceUID=first.study_instance_uid,
    )
    others = (*subject_of(empty, analysis_of(header_of(empty), ())).sources, *subject_of(photo).sources)
    return pictured(replace(first, sources=(*first.sources, *others)))


def contents(*subjects: Subject) -> dict[str, list[tuple[str, bytes]]]:
    """Names and bytes of everything, by kind."""
    return {
        kind: [(result.name, result.content) for subject in subjects for result in write(subject)]
        for kind, write in WRITERS.items()
    }


@pytest.mark.timeout(120)
def test_written_a_second_later_it_is_the_same_to_the_byte() -> None:
    """Every kind, before and after a signature: neither time nor chance stands in a result."""
    before = study()
    after = signed(before, done(*usual_review(before)))
    made = contents(before, after)
    assert all(made.values()), "of each kind there is one"
    time.sleep(NEXT_SECOND)
    again = study()
    assert contents(again, signed(again, done(*usual_review(again)))) == made
