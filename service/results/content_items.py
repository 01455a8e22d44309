"""Content items and references of documents that are made without highdicom (PS3.3 C.17)."""

from collections.abc import Iterable
from itertools import groupby

from pydicom.dataset import Dataset

from service.results.composite import code_item
from service.results.evidence import MANUFACTURER
from service.results.identity import device_uid
from service.results.subject import Source, Subject
from service.results.verification import person_observer

Reference = tuple[str, str, str]  # series, SOP class, SOP instance


def text_item(value: str, meaning: str, text: str) -> Dataset:
    """A TEXT item with a concept of DCM."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence, item.TextValue = [code_item(value, "DCM", meaning)], text
    return item


def section(value: str, meaning: str, items: Iterable[Dataset]) -> Dataset:
    """A CONTAINER with a concept of DCM."""
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ContinuityOfContent = "CONTAINS", "CONTAINER", "SEPARATE"
    item.ConceptNameCodeSequence, item.ContentSequence = [code_item(value, "DCM", meaning)], list(items)
    return item


def language() -> Dataset:
    """Language of the content (TID 1204)."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "HAS CONCEPT MOD", "CODE"
    item.ConceptNameCodeSequence = [code_item("121049", "DCM", "Language of Content Item and Descendants")]
    item.ConceptCodeSequence = [code_item("en", "RFC5646", "English")]
    return item


def observer(source: Source) -> list[Dataset]:
    """The device that saw it, and the person who signed (TID 1002 to 1004)."""
    kind, uid, name = Dataset(), Dataset(), Dataset()
    for item, value_type, value, meaning in (
        (kind, "CODE", "121005", "Observer Type"),
        (uid, "UIDREF", "121012", "Device Observer UID"),
        (name, "TEXT", "121013", "Device Observer Name"),
    ):
        item.RelationshipType, item.ValueType = "HAS OBS CONTEXT", value_type
        item.ConceptNameCodeSequence = [code_item(value, "DCM", meaning)]
    kind.ConceptCodeSequence = [code_item("121007", "DCM", "Device")]
    uid.UID = device_uid(source.analysis.algorithm)
    name.TextValue = f"{MANUFACTURER} {source.analysis.algorithm.name} {source.analysis.algorithm.version}"
    return [kind, uid, name, *([] if source.signature is None else person_observer(source.signature))]


def evidence_item(subject: Subject, references: Iterable[Reference]) -> Dataset:
    """Hierarchical SOP Instance Reference (PS3.3 C.17.2.1): study, series, instances."""
    study = Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = subject.study_instance_uid, []
    for series, members in groupby(sorted(references), key=lambda reference: reference[0]):
        item = Dataset()
        item.SeriesInstanceUID = series
        item.ReferencedSOPSequence = [pointer(reference) for reference in members]
        study.ReferencedSeriesSequence.append(item)
    return study


def pointer(reference: Reference) -> Dataset:
    """An item of a Referenced SOP Sequence."""
    item = Dataset()
    _, item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference
    return item
