"""Pixels as a model and a viewer see them."""

import errno
import io
import re
from collections.abc import Callable

import numpy as np
import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset

from service.domain.errors import Declined
from tests.builders import IO, as_bytes, shapes, xray
from workers import pixels

FULL = 4095
PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"  # VL Photographic Image Storage


def loaded(ds: Dataset) -> pixels.Image:
    """The image as it comes out of its file."""
    return pixels.load(io.BytesIO(as_bytes(ds)))


def expected(stored: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Grey by PS3.3 C.11.2.1.2.1 for the builder's window, centre 2048 and width 4096."""
    return np.clip((stored - 2047.5) / 4095 + 0.5, 0, 1)


def ramp() -> NDArray[np.uint16]:
    """All values of 12 bits, left to right and top to bottom."""
    return np.arange(4096, dtype=np.uint16).reshape(64, 64)


def test_a_window_maps_stored_values_to_grey() -> None:
    """A linear window gives the grey of PS3.3 C.11.2.1.2.1, as float32 between 0 and 1."""
    image = loaded(xray())
    assert image.pixels.dtype == np.float32
    np.testing.assert_allclose(image.pixels, expected(shapes()), atol=1e-6)
    assert image.notes == ()


def test_only_the_first_window_counts() -> None:
    """Of several windows the first is applied."""
    image = loaded(xray(WindowCenter=["2048", "100"], WindowWidth=["4096", "10"]))
    np.testing.assert_allclose(image.pixels, expected(shapes()), atol=1e-6)


@pytest.mark.parametrize(
    ("function", "at_centre", "at_quarter"), [("LINEAR_EXACT", 0.5, 0.25), ("SIGMOID", 0.5, 1 / (1 + np.e))]
)
def test_window_functions(function: str, at_centre: float, at_quarter: float) -> None:
    """LINEAR_EXACT and SIGMOID follow PS3.3 C.11.2.1.3."""
    image = loaded(xray(ramp(), VOILUTFunction=function))
    grey = image.pixels.ravel()
    assert grey[2048] == pytest.approx(at_centre, abs=1e-6)
    assert grey[1024] == pytest.approx(at_quarter, abs=1e-6)


def test_monochrome1_is_inverted_once() -> None:
    """MONOCHROME1 with PresentationLUTShape INVERSE, as devices write it, shows what MONOCHROME2 shows."""
    plain = loaded(xray())
    inverted = loaded(xray(FULL - shapes(), photometric="MONOCHROME1"))
    np.testing.assert_allclose(inverted.pixels, plain.pixels, atol=1e-6)
    assert inverted.notes == ()


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")])
def test_photometric_interpretation_wins(photometric: str, shape: str) -> None:
    """Where PresentationLUTShape contradicts PhotometricInterpretation, the latter is trusted, and a note says so."""
    stored = shapes() if photometric == "MONOCHROME2" else FULL - shapes()
    image = loaded(xray(stored, photometric=photometric, PresentationLUTShape=shape))
    np.testing.assert_allclose(image.pixels, loaded(xray()).pixels, atol=1e-6)
    assert image.notes == (pixels.NOTE_SHAPE,)


def test_rescale_comes_before_the_window() -> None:
    """The window applies to rescaled values."""
    image = loaded(xray(RescaleSlope="2", RescaleIntercept="-100", WindowCenter="3996", WindowWidth="8191"))
    np.testing.assert_allclose(image.pixels, expected(shapes()), atol=1e-3)


def lut(data: list[int], first: int = 0, bits: int = 12) -> Dataset:
    """An item of a Modality or VOI LUT Sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(data), first, bits])
    item.add_new("LUTData", "US", data)
    item.add_new("ModalityLUTType", "LO", "US")
    return item


def test_a_voi_lut_wins_over_a_window() -> None:
    """A VOI LUT Sequence is applied instead of the window."""
    squared = [round(value * value / FULL) for value in range(4096)]
    image = loaded(xray(ramp(), VOILUTSequence=[lut(squared)]))
    np.testing.assert_allclose(image.pixels.ravel(), np.array(squared) / FULL, atol=1e-6)


def test_a_modality_lut_replaces_rescale() -> None:
    """A Modality LUT Sequence is applied before the window."""
    reverse = list(range(4095, -1, -1))
    image = loaded(xray(ramp(), RescaleSlope=None, RescaleIntercept=None, ModalityLUTSequence=[lut(reverse)]))
    np.testing.assert_allclose(image.pixels.ravel(), expected(np.array(reverse, np.uint16)), atol=1e-6)


def test_a_broken_voi_lut_leaves_the_window() -> None:
    """A VOI LUT that cannot be read is passed over for the window."""
    broken = lut([1, 2, 3])
    broken.LUTDescriptor = [0, 0, 3]
    image = loaded(xray(VOILUTSequence=[broken]))
    np.testing.assert_allclose(image.pixels, expected(shapes()), atol=1e-6)


def test_for_processing_is_windowed_from_the_data() -> None:
    """An image without a window uses its own 1st and 99th percentile, and a note says so."""
    stored = shapes()
    image = loaded(xray(stored, WindowCenter=None, WindowWidth=None, PresentationIntentType="FOR PROCESSING"))
    low, high = np.percentile(stored, (1, 99))
    np.testing.assert_allclose(image.pixels, np.clip((stored - low) / (high - low), 0, 1), atol=5e-3)
    assert image.notes == (pixels.NOTE_WINDOW,)


@pytest.mark.parametrize(("centre", "width"), [("90000", "10"), ("2048", "0"), ("2048", "-5")])
def test_a_window_that_shows_nothing_is_replaced(centre: str, width: str) -> None:
    """A window of the file that shows nothing is replaced by one from the data, and a note says so."""
    image = loaded(xray(WindowCenter=centre, WindowWidth=width))
    assert np.ptp(image.pixels) == 1
    assert image.notes[-1] in {pixels.NOTE_BAD_WINDOW, pixels.NOTE_WINDOW}


def test_padding_is_left_out_of_statistics_and_black() -> None:
    """Padding does not shift a window that is taken from the data, and comes out black."""
    stored = shapes()
    stored[:, :100] = FULL
    image = loaded(xray(stored, PixelPaddingValue=FULL, WindowCenter=None, WindowWidth=None))
    low, high = np.percentile(stored[:, 100:], (1, 99))
    assert not image.pixels[:, :100].any()
    np.testing.assert_allclose(image.pixels[:, 100:], np.clip((stored[:, 100:] - low) / (high - low), 0, 1), atol=5e-3)


def test_padding_may_be_a_range_and_is_black_in_monochrome1_too() -> None:
    """All values between PixelPaddingValue and PixelPaddingRangeLimit are padding, whatever way grey runs."""
    stored = shapes()
    stored[:4], stored[4:8] = 0, 5
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        image = loaded(xray(stored, photometric=photometric, PixelPaddingValue=0, PixelPaddingRangeLimit=5))
        assert not image.pixels[:8].any()
        assert image.pixels[8:].any()


def test_signed_values() -> None:
    """Signed values and a window around zero."""
    stored = shapes().astype(np.int16) - 2048
    image = loaded(xray(stored, bits=12, WindowCenter="0"))
    np.testing.assert_allclose(image.pixels, expected(shapes()), atol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_values_of_full_range(bits: int) -> None:
    """Darkest and brightest differ by more than the type of the stored values can hold."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    stored = np.array([[low, 0, high]] * 4, np.int8 if bits == 8 else np.int16)
    ds = xray(stored.view(np.uint8 if bits == 8 else np.uint16), bits=bits, PixelRepresentation=1)
    ds.WindowCenter, ds.WindowWidth = "0", str(2**bits)
    seen = loaded(ds).pixels
    np.testing.assert_allclose(seen[0], [0, 0.5, 1], atol=0.01)


def test_bytes_beyond_the_frame_are_no_second_one() -> None:
    """Pixel data longer than rows times columns: the first frame is the image."""
    ds = xray()
    whole = loaded(ds).pixels
    ds.PixelData += ds.PixelData * 2
    np.testing.assert_array_equal(loaded(ds).pixels, whole)


def test_bits_beyond_those_stored_are_ignored() -> None:
    """An old overlay in the unused high bits does not show."""
    ds = xray(shapes() | 0xF000)
    np.testing.assert_allclose(loaded(ds).pixels, expected(shapes()), atol=1e-6)


@pytest.mark.parametrize(
    ("orientation", "flip_x", "flip_y"),
    [(["L", "F"], False, False), (["R", "F"], True, False), (["L", "H"], False, True), (["RA", "HL"], True, True)],
)
def test_the_picture_is_turned_upright(orientation: list[str], flip_x: bool, flip_y: bool) -> None:  # noqa: FBT001 - parameters
    """Whatever way it is stored, the model sees it upright; the preview stays as stored."""
    stored = shapes()[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    image = loaded(xray(stored, PatientOrientation=orientation))
    assert (image.flipped_x, image.flipped_y) == (flip_x, flip_y)
    np.testing.assert_array_equal(image.pixels, loaded(xray()).pixels)
    picture = np.asarray(Picture.open(io.BytesIO(pixels.preview(image))))
    np.testing.assert_allclose(picture / 255, expected(stored), atol=3e-3)


@pytest.mark.parametrize(
    ("orientation", "note"),
    [
        (None, pixels.NOTE_ORIENTATION),
        ("", pixels.NOTE_ORIENTATION),
        ("L", pixels.NOTE_ORIENTATION),
        (["F", "L"], pixels.NOTE_ROTATED),
    ],
)
def test_an_orientation_that_is_not_known_is_noted(orientation: str | None, note: str) -> None:
    """Without a usable PatientOrientation nothing is flipped and the reader is told."""
    image = loaded(xray(PatientOrientation=orientation))
    assert (image.flipped_x, image.flipped_y, image.notes) == (False, False, (note,))


def test_an_intra_oral_image_is_upright_by_its_column() -> None:
    r"""An intra-oral image with P\F or A\F is upright."""
    assert loaded(xray(modality="IO", sop_class=IO, PatientOrientation=["P", "F"])).notes == ()


def test_burned_in_text_is_noted() -> None:
    """BurnedInAnnotation YES comes with a note."""
    assert loaded(xray(BurnedInAnnotation="YES")).notes == (pixels.NOTE_BURNED_IN,)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_becomes_luminance(photometric: str) -> None:
    """A colour image gives grey by its luminance, and a note says so."""
    grey = shapes(bits=8)
    neutral = np.full_like(grey, 128)
    planes = [grey, grey, grey] if photometric == "RGB" else [grey, neutral, neutral]
    image = loaded(xray(np.stack(planes, -1), photometric=photometric, bits=8))
    np.testing.assert_allclose(image.pixels, grey / 255, atol=2e-3)
    assert image.notes == (pixels.NOTE_COLOUR,)


def picture() -> NDArray[np.uint8]:
    """Stored values (rows, columns, 3) of a picture whose colours differ everywhere."""
    grey = shapes(bits=8).astype(np.uint8)
    return np.stack([grey, grey[::-1] // 2, grey[:, ::-1] // 3], axis=-1)


def photograph(array: NDArray[np.uint8], photometric: str = "RGB", **attributes: object) -> Dataset:
    """VL Photographic Image."""
    attributes = {"PatientOrientation": None} | attributes
    return xray(array, modality="XC", sop_class=PHOTOGRAPHIC, photometric=photometric, bits=8, **attributes)  # type: ignore[arg-type] # any keyword


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_a_photograph_keeps_its_colours(photometric: str) -> None:
    """The colours of a photograph come as sRGB 0 to 1 beside its luminance, and nothing is said of grey."""
    expected_colours = picture()
    stored = expected_colours if photometric == "RGB" else ybr(expected_colours)
    image = loaded(photograph(stored, photometric))
    assert image.colour is not None
    assert image.colour.dtype == np.float32
    np.testing.assert_allclose(image.colour, expected_colours / 255, atol=6e-3)
    np.testing.assert_allclose(image.pixels, expected_colours / 255 @ [0.299, 0.587, 0.114], atol=6e-3)
    assert image.notes == (pixels.NOTE_ORIENTATION,)


def ybr(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """YBR_FULL by PS3.3 C.7.6.3.1.2."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    stored: NDArray[np.uint8] = np.round((rgb @ matrix.T + [0, 128, 128]).clip(0, 255)).astype(np.uint8)
    return stored


def test_colours_are_turned_with_the_picture() -> None:
    """Colours are oriented as the luminance is; the preview shows them as they are stored."""
    image = loaded(photograph(picture()[:, ::-1], PatientOrientation=["R", "F"]))
    assert image.colour is not None
    np.testing.assert_allclose(image.colour, picture() / 255, atol=1e-6)
    shown = Picture.open(io.BytesIO(pixels.preview(image)))
    assert shown.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(shown), picture()[:, ::-1])


@pytest.mark.parametrize(("profile", "noted"), [(b"acsp Adobe RGB", True), (b"acsp sRGB", False)])
def test_a_colour_profile_is_noted(profile: bytes, noted: bool) -> None:  # noqa: FBT001 - a parameter
    """A profile other than sRGB is not applied, and a note says so."""
    assert (pixels.NOTE_PROFILE in loaded(photograph(picture(), ICCProfile=profile)).notes) is noted


def test_grey_has_no_colours() -> None:
    """A grey image has none."""
    assert loaded(xray()).colour is None


def test_a_palette_becomes_luminance() -> None:
    """An image of indices is seen through its palette."""
    palette = np.arange(255, -1, -1, dtype=np.uint16) * 257
    ds = xray(shapes(bits=8), photometric="PALETTE COLOR", bits=8)
    for name in ("Red", "Green", "Blue"):
        setattr(ds, f"{name}PaletteColorLookupTableData", palette.tobytes())
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
    image = loaded(ds)
    np.testing.assert_allclose(image.pixels, 1 - shapes(bits=8) / 255, atol=2e-3)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"PixelData": None}, "it has no pixel data"),
        ({"PixelData": b""}, "it has no pixel data"),
        ({"NumberOfFrames": "3"}, "it has several frames"),
        ({"BitsAllocated": 32}, "unknown bit depth: 12 bits stored in 32"),
        ({"BitsStored": 17}, "unknown bit depth: 17 bits stored in 16"),
        ({"HighBit": 17}, "HighBit is 17 of 16 bits"),
        ({"Rows": None}, "Rows is missing or not a number"),
        ({"Columns": 0}, "Columns is missing or not a number"),
        ({"Rows": 65535, "Columns": 65535}, "it claims 65535 x 65535 pixels"),
        ({"PixelRepresentation": None}, "PixelRepresentation is missing"),
        ({"PhotometricInterpretation": "XYZ"}, "unknown photometric interpretation XYZ"),
        ({"Rows": 300}, "the pixel data (Explicit VR Little Endian) cannot be decoded"),
    ],
)
def test_what_cannot_be_analyzed_is_declined_with_its_reason(attributes: dict[str, object], reason: str) -> None:
    """Images without usable pixels are declined in one line."""
    with pytest.raises(Declined, match=re.escape(reason)) as raised:
        loaded(xray(**attributes))  # type: ignore[arg-type] # keywords of any value
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"not DICOM" * 100, as_bytes(xray())[:200]])
def test_bytes_that_are_no_image_are_declined(content: bytes) -> None:
    """A file that is empty, foreign or cut off in its header is declined."""
    with pytest.raises(Declined):
        pixels.load(io.BytesIO(content))


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded, MemoryError, lambda: OSError(errno.ESTALE, "stale")])
@pytest.mark.parametrize("after", [0, 600])
def test_passing_trouble_is_not_the_files(error: Callable[[], Exception], after: int) -> None:
    """A time limit, want of memory or a storage that fails while a file is read comes through as what it is."""

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= after:
                raise error()
            return super().read(size)

    with pytest.raises(type(error())):
        pixels.load(Failing(as_bytes(xray())))


def test_a_sequence_that_is_cut_off_is_damage() -> None:
    """Not every OSError is the storage's: pydicom raises one for a sequence that ends within an item."""
    sequence = b"\x28\0\x10\x30SQ\0\0\2\0\0\0\xff\xff"  # VOI LUT Sequence, 2 bytes
    content, after = as_bytes(xray(WindowCenter=None, WindowWidth=None)), b"\xe0\x7f\x10\0OW"
    with pytest.raises(Declined, match="VOILUTSequence"):
        pixels.load(io.BytesIO(content.replace(after, sequence + after)))


@pytest.mark.parametrize(
    ("raw", "keyword"),
    [
        (b"\x08\0\x60\0CS", "Modality"),
        (b"\x10\0\x20\0LO", "PatientID"),
        (b"\x28\0\x10\0US", "Rows"),
        (b"\x28\0\x50\x10DS", "WindowCenter"),
    ],
)
def test_a_value_that_cannot_be_read_is_declined(raw: bytes, keyword: str) -> None:
    """An unknown value representation where results or models need the value is declined by name, before any work."""
    content = as_bytes(xray())
    assert content.count(raw) == 1
    with pytest.raises(Declined, match=rf"header cannot be read \({keyword}\)"):
        pixels.load(io.BytesIO(content.replace(raw, raw[:4] + b"ZZ")))


def test_the_header_comes_without_pixels() -> None:
    """The header that results are made from does not hold the pixels."""
    header = loaded(xray()).header
    assert "PixelData" not in header
    assert header.PatientID == "PROBE-1"


def test_a_preview_is_at_most_as_long_as_asked() -> None:
    """The longer side of the PNG is limited, and the shape is kept."""
    picture = Picture.open(io.BytesIO(pixels.preview(loaded(xray()), longest=160)))
    assert (picture.size, picture.mode, picture.format) == ((160, 100), "L", "PNG")


def test_a_flat_image_is_no_error() -> None:
    """An image of one value loads, with and without a window."""
    flat = np.full((20, 30), 7, np.uint16)
    assert np.isfinite(loaded(xray(flat)).pixels).all()
    assert np.isfinite(loaded(xray(flat, WindowCenter=None, WindowWidth=None)).pixels).all()
