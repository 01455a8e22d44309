"""Pictures become DICOM objects that validators accept, with their pixels as they were."""

import io
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from service.domain.errors import NotUnderstood
from service.web.jpeg import read_jpeg
from service.web.pictures import PictureKind
from service.web.wrapping import PictureLabel, wrap_picture
from tests.unit.web.rows import encoded

GREY = (np.add.outer(np.arange(40), np.arange(60)) * 2).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
GUMS = np.stack([100 + GREY // 2, 60 + GREY // 3, 50 + GREY // 3], axis=-1).astype(np.uint8)


def wrapped(content: bytes, kind: PictureKind = PictureKind.PANORAMIC, **fields: str) -> pydicom.Dataset:
    """The data set that a picture becomes."""
    values: dict[str, Any] = {
        "patient_id": "P1",
        "family_name": "Doe",
        "given_name": "Jane",
        "birth_date": "1980-02-03",
    } | fields
    label = PictureLabel(kind=kind, study_instance_uid="2.25.1", series_instance_uid="2.25.2", **values)
    return pydicom.dcmread(io.BytesIO(wrap_picture(content, label)))


def rotated(pixels: NDArray[np.uint8], orientation: int) -> bytes:
    """A JPEG whose EXIF says that it must be turned, as phones write it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "SecretPhone"
    return encoded(pixels, "JPEG", exif=exif, quality=95)


def test_patient_and_study() -> None:
    """Patient and study are what the form said; the orientation is left open; the UIDs of image objects are fresh."""
    first, second = wrapped(encoded(GREY)), wrapped(encoded(GREY))
    assert (first.PatientID, str(first.PatientName), first.PatientBirthDate) == ("P1", "Doe^Jane", "19800203")
    assert (first.StudyInstanceUID, first.Modality) == ("2.25.1", "PX")
    assert "PatientOrientation" in first
    assert not first.PatientOrientation
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID


def test_names_cannot_break_the_data_set() -> None:
    """Separators and control characters in the form become blanks; letters of every language stay."""
    ds = wrapped(encoded(GREY), patient_id="A\\B\r\n", family_name="Dö^e=", given_name="Žané")
    assert ds.PatientID == "A B"
    assert str(ds.PatientName) == "Dö e^Žané"


def test_baseline_jpeg_stays_as_it_is() -> None:
    """A grey baseline JPEG is encapsulated without coding it again, and called lossy."""
    content = encoded(GREY, "JPEG", quality=90)
    ds = wrapped(content)
    assert ds.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert ds.LossyImageCompression == "01"
    assert float(ds.LossyImageCompressionRatio) == pytest.approx(GREY.size / len(read_jpeg(content).clean), abs=0.01)
    np.testing.assert_array_equal(ds.pixel_array, np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.parametrize(("subsampling", "photometric"), [(0, "YBR_FULL"), (2, "YBR_FULL_422")])
def test_colour_photograph(subsampling: int, photometric: str) -> None:
    """A colour JPEG becomes VL Photographic with its stream untouched."""
    ds = wrapped(encoded(COLOUR, "JPEG", subsampling=subsampling), PictureKind.PHOTOGRAPH)
    assert (ds.Modality, ds.PhotometricInterpretation) == ("XC", photometric)
    assert ds.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert ds.pixel_array.shape == (40, 60, 3)


@pytest.mark.parametrize(("orientation", "quarters"), [(3, 2), (6, -1), (8, 1)])
def test_turned_picture_is_put_upright(orientation: int, quarters: int) -> None:
    """DICOM knows no EXIF rotation, so the pixels themselves are turned; the picture stays lossy."""
    ds = wrapped(rotated(GREY, orientation))
    assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert ds.LossyImageCompression == "01"
    assert np.abs(ds.pixel_array.astype(int) - np.rot90(GREY, quarters)).mean() < 3


@pytest.mark.parametrize("exif", [b"", b"\\H", b"NaNNaN", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\1\1\x12"])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_damaged_exif_is_passed_over(form: str, exif: bytes) -> None:
    """The picture is whole, so it is taken as it lies."""
    ds = wrapped(encoded(GREY, form, exif=b"Exif\0\0" + exif))
    assert (ds.Rows, ds.Columns) == GREY.shape[:2]


def test_exif_and_what_follows_the_picture_are_dropped() -> None:
    """Nothing but the picture goes into the record: no EXIF, no comment, no hidden second picture."""
    content = rotated(GREY, 1) + b"HIDDEN second picture"
    raw = wrapped(content).PixelData
    for secret in (b"SecretPhone", b"Exif", b"HIDDEN"):
        assert secret not in raw


@pytest.mark.parametrize("pixels", [GREY, GREY.astype(np.uint16) * np.uint16(257)], ids=["8 bits", "16 bits"])
def test_png_keeps_its_pixels(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """A grey PNG of 8 or 16 bits is stored bit by bit and is not lossy."""
    ds = wrapped(encoded(pixels))
    assert ds.LossyImageCompression == "00"
    np.testing.assert_array_equal(ds.pixel_array, pixels)
    assert float(ds.WindowWidth) == 2**ds.BitsStored


def test_colour_file_of_an_xray_becomes_grey() -> None:
    """An X-ray exported as a colour file is stored as MONOCHROME2, as its object asks."""
    ds = wrapped(encoded(np.stack([GREY] * 3, axis=-1), "JPEG", quality=95))
    assert (ds.PhotometricInterpretation, ds.SamplesPerPixel) == ("MONOCHROME2", 1)
    assert np.abs(ds.pixel_array.astype(int) - GREY).mean() < 3


MARKED = np.stack([GREY] * 3, axis=-1)
MARKED[:8, :30] = (255, 0, 0)


@pytest.mark.parametrize(
    ("pixels", "modality"),
    [
        (GUMS, "XC"),
        (GREY, "PX"),
        (np.stack([GREY] * 3, axis=-1), "PX"),
        (np.stack([GREY // 2, GREY // 2, GREY], axis=-1), "PX"),
        (MARKED, "PX"),
    ],
    ids=["gums", "grey", "grey as colour", "film on a light box", "film with a red mark"],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_colour_tells_a_photograph(pixels: NDArray[np.uint8], modality: str, form: str) -> None:
    """Where nobody said what a picture shows, one that is warm in colour is a photograph and any other an X-ray."""
    assert wrapped(encoded(pixels, form), PictureKind.AUTOMATIC).Modality == modality


@pytest.mark.parametrize("kind", [PictureKind.PANORAMIC, PictureKind.PHOTOGRAPH])
def test_what_was_said_stands(kind: PictureKind) -> None:
    """What the sender said is not overruled by colours."""
    modality = "PX" if kind is PictureKind.PANORAMIC else "XC"
    assert wrapped(encoded(GUMS), kind).Modality == wrapped(encoded(GREY), kind).Modality == modality


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + bytes(40), encoded(GUMS)[: len(encoded(GUMS)) // 2]])
def test_damage_is_told_whatever_it_shows(content: bytes) -> None:
    """A damaged picture of unknown kind is refused with the same sentence."""
    with pytest.raises(NotUnderstood):
        wrapped(content, PictureKind.AUTOMATIC)


def test_progressive_jpeg_is_decoded() -> None:
    """A progressive JPEG, which DICOM does not take, is stored as plain pixels."""
    ds = wrapped(encoded(COLOUR, "JPEG", progressive=True), PictureKind.PHOTOGRAPH)
    assert (ds.PhotometricInterpretation, ds.LossyImageCompression) == ("RGB", "01")


def test_transparency_becomes_black() -> None:
    """A PNG with transparent parts, a palette or one bit is read as one sees it on black."""
    clear = np.dstack([COLOUR, np.zeros_like(GREY)])
    assert not wrapped(encoded(clear), PictureKind.PHOTOGRAPH).pixel_array.any()
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).convert("P").save(buffer, "PNG")
    assert wrapped(buffer.getvalue(), PictureKind.PHOTOGRAPH).PhotometricInterpretation == "RGB"


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
def test_truncated_picture_is_refused(form: str, part: float) -> None:
    """A picture that ends too early is refused with one sentence, never stored half."""
    noise = np.random.default_rng(1).integers(0, 255, (200, 300), np.uint8)
    content = encoded(noise, form)
    with pytest.raises(NotUnderstood, match="truncated"):
        wrapped(content[: int(len(content) * part)])


def test_a_chunk_that_is_too_short_is_damage() -> None:
    """A PNG whose colour of transparency has five bytes instead of six is refused (its checksum holds)."""
    content = encoded(COLOUR, "PNG")
    chunk = b"tRNS" + bytes(5)
    at = content.index(b"IDAT") - 4
    short = content[:at] + struct.pack(">L", 5) + chunk + struct.pack(">L", zlib.crc32(chunk)) + content[at:]
    with pytest.raises(NotUnderstood, match="damaged"):
        wrapped(short)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_damaged_picture_never_crashes(form: str) -> None:
    """Whatever bytes are changed, a picture is stored or refused, nothing else happens."""
    content = bytearray(encoded(GREY, form))
    rng = np.random.default_rng(2)
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(4, len(content), 3):
            damaged[place] = int(rng.integers(0, 256))
        try:
            wrapped(bytes(damaged))
        except NotUnderstood:
            continue


@pytest.mark.parametrize("side", [60000, 8000])
def test_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    """A small file that claims to be enormous is refused by its header; a PNG sooner than a JPEG."""
    content = bytearray(encoded(GREY))
    content[16:24] = side.to_bytes(4, "big") * 2
    with pytest.raises(NotUnderstood, match="megapixels"):
        wrapped(bytes(content))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (encoded(GREY), PictureKind.PANORAMIC),
        (encoded(GREY.astype(np.uint16) * 257), PictureKind.PANORAMIC),
        (encoded(GREY, "JPEG"), PictureKind.PANORAMIC),
        (encoded(COLOUR), PictureKind.PHOTOGRAPH),
        (encoded(COLOUR, "JPEG"), PictureKind.PHOTOGRAPH),
        (encoded(GUMS, "JPEG"), PictureKind.AUTOMATIC),
    ],
    ids=["png8", "png16", "jpeg", "photo-png", "photo-jpeg", "found-out"],
)
def test_dciodvfy_accepts(content: bytes, kind: PictureKind, tmp_path: Path) -> None:
    """A wrapped picture has no errors by dciodvfy."""
    path = tmp_path / "wrapped.dcm"
    wrapped(content, kind).save_as(path)
    outcome = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert [line for line in outcome.stderr.splitlines() if line.startswith("Error")] == []
