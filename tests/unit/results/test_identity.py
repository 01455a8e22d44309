"""UIDs of results depend on what they are about, and on nothing else."""

from dataclasses import replace

from pydicom.uid import UID

from service.domain.finding import Finding
from service.results.identity import derived_uid, device_uid, result_uid, series_uid, tracking_uid
from tests.builders import ALGORITHM

TOOTH = Finding("tooth", 36, 0.9)


def test_equal_parts_give_one_uid_for_ever() -> None:
    """The same parts give the same UID on every machine and in every version: results in a PACS depend on it."""
    assert derived_uid("a", "b") == "2.25.35487472638080647081773566650538074561"


def test_parts_are_kept_apart() -> None:
    """Parts that only read the same when joined give different UIDs."""
    assert len({derived_uid("a", "b"), derived_uid("ab"), derived_uid("a", "", "b"), derived_uid("b", "a")}) == 4


def test_uids_are_valid() -> None:
    """Every UID is valid and at most 64 characters (PS3.5 section 9)."""
    for number in range(200):
        uid = derived_uid(str(number))
        assert UID(uid).is_valid
        assert len(uid) <= 64


def test_every_part_of_a_result_makes_another() -> None:
    """Study, algorithm, weights, kind and image each make another result and another series."""
    retrained = replace(ALGORITHM, weights_sha256="cd" * 32)
    subjects = [
        ("1.2", ALGORITHM, "sr", "1.3"),
        ("1.9", ALGORITHM, "sr", "1.3"),
        ("1.2", retrained, "sr", "1.3"),
        ("1.2", ALGORITHM, "seg", "1.3"),
        ("1.2", ALGORITHM, "sr", "1.4"),
    ]
    uids = {result_uid(*subject) for subject in subjects} | {series_uid(*subject) for subject in subjects}
    assert len(uids) == 2 * len(subjects)
    assert device_uid(ALGORITHM) != device_uid(retrained)


def test_a_tracking_uid_stands_for_the_finding() -> None:
    """A finding keeps its tracking UID when its certainty or outline changes; another tooth has another."""
    uid = tracking_uid("1.2", ALGORITHM, "1.3", TOOTH)
    assert tracking_uid("1.2", ALGORITHM, "1.3", replace(TOOTH, certainty=0.5, flags=("number-uncertain",))) == uid
    assert tracking_uid("1.2", ALGORITHM, "1.3", replace(TOOTH, tooth=37)) != uid
