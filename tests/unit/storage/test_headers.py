"""The header that retention leaves of an image says all that the image said, but for its pixels."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)

from service.domain.errors import Declined
from service.storage import open_storage, put
from service.storage.headers import header_key, keep_header
from tests.builders import as_bytes, xray
from workers import pixels

PIXELS = np.random.default_rng(1).integers(0, 4096, (64, 96)).astype(np.uint16)
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGLosslessSV1,
]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_everything_before_the_pixels_stays(tmp_path: Path, syntax: str) -> None:
    """In every kind of encoding the header is that of the image, and the pixels are not in the file."""
    storage = open_storage(tmp_path.as_uri(), 0)
    content = as_bytes(xray(PIXELS, PatientName="Löwe^Änne", SpecificCharacterSet="ISO_IR 192"), syntax)
    digest = hashlib.sha256(content).hexdigest()
    put(storage, "instances/ab/image.dcm", content)
    for _ in range(2):
        keep_header(storage, "instances/ab/image.dcm", digest)
    with storage.open("instances/ab/image.dcm") as image, storage.open(header_key(digest)) as kept:
        whole, header = pixels.read_header(image), pixels.read_header(kept)
    assert header == whole
    assert header.file_meta == whole.file_meta
    assert str(header.PatientName) == "Löwe^Änne"
    assert (tmp_path / header_key(digest)).stat().st_size < PIXELS.nbytes / 4


def test_what_is_no_image_leaves_no_header(tmp_path: Path) -> None:
    """Damage is told; nothing is written that a report could be made from."""
    storage = open_storage(tmp_path.as_uri(), 0)
    put(storage, "instances/ab/image.dcm", b"image")
    with pytest.raises(Declined):
        keep_header(storage, "instances/ab/image.dcm", "a" * 64)
    with pytest.raises(FileNotFoundError):
        keep_header(storage, "instances/ab/gone.dcm", "a" * 64)
    assert not storage.exists(header_key("a" * 64))
