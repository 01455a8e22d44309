"""Data elements as bytes."""

import io
import struct

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from service.domain.codes import Code
from service.results.encoding import coded_entry, element, sequence, text


def by_pydicom(ds: Dataset) -> bytes:
    """A data set as pydicom writes it."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds, parent_encoding="utf-8")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("RelationshipType", "CS", "CONTAINS"),
        ("TextValue", "UT", "Zähne, odd length"),
        ("UID", "UI", "2.25.123"),
        ("CodeMeaning", "LO", "x"),
        ("NumericValue", "DS", "97.0"),
    ],
)
def test_elements_are_those_of_pydicom(keyword: str, vr: str, value: str) -> None:
    """Tag, VR, length and padding are as the standard has them."""
    ds = Dataset()
    setattr(ds, keyword, value)
    tag = int(pydicom.datadict.tag_for_keyword(keyword) or 0)
    assert text(tag, vr, value) == by_pydicom(ds)


@pytest.mark.parametrize(
    ("value", "keyword"), [("38199008", "CodeValue"), ("A" * 16, "CodeValue"), ("B" * 17, "LongCodeValue")]
)
def test_codes_are_those_of_pydicom(value: str, keyword: str) -> None:
    """A code of more than 16 characters is a Long Code Value, which stands behind the meaning."""
    ds, item = Dataset(), Dataset()
    setattr(item, keyword, value)
    item.CodingSchemeDesignator, item.CodeMeaning = "SCT", "Tooth"
    ds.ConceptCodeSequence = [item]
    assert coded_entry(0x0040A168, Code(value, "SCT", "Tooth")) == by_pydicom(ds)


def test_sequences_can_be_read() -> None:
    """Several items, one of them empty, come back."""
    raw = sequence(0x0040A730, text(0x0040A010, "CS", "CONTAINS"), b"")
    read = pydicom.dcmread(io.BytesIO(raw), force=True)
    assert [len(item) for item in read.ContentSequence] == [1, 0]


def test_a_value_too_long_for_its_vr_is_an_error() -> None:
    """A short VR holds 65534 bytes; more is refused, not cut."""
    with pytest.raises(struct.error):
        element(0x00700022, "FL", bytes(70_000))
