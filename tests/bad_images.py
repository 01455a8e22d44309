"""Images as they should not be, but as devices and older software send them; each with what must come of it."""

from collections.abc import Callable

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLosslessSV1

from tests.bench import PANORAMIC
from tests.builders import IO, as_bytes, xray

Make = Callable[[str], bytes]
"""The bytes of an image; the seed makes its UIDs."""
GREY = PANORAMIC[:200, :320]
DX_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
JAPANESE = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"  # PS3.5 H.3.1


def plain(**attributes: object) -> Make:
    """A panoramic with some attributes changed; None leaves one out."""
    return lambda seed: as_bytes(xray(GREY, seed=seed, **attributes))  # type: ignore[arg-type] # keywords of xray


def named(charset: str | list[str] | None, name: bytes) -> Make:
    """A panoramic whose Patient's Name is these bytes."""

    def make(seed: str) -> bytes:
        place = b"Q" * (len(name) + len(name) % 2)
        raw = as_bytes(xray(GREY, seed=seed, PatientName=place.decode(), SpecificCharacterSet=charset))
        assert raw.count(place) == 1
        return raw.replace(place, name.ljust(len(place)))

    return make


def windows(count: int) -> Make:
    """A long list of windows."""
    values = [str(100 + number) for number in range(count)]
    return plain(WindowCenter=values, WindowWidth=values, WindowCenterWidthExplanation=["w"] * count)


def signed(seed: str) -> bytes:
    """Values below zero."""
    return as_bytes(xray(GREY.astype(np.int16) - 2048, seed=seed, WindowCenter="0", WindowWidth="4096"))


def bits(stored: int) -> Make:
    """Some bits of 16."""
    pixels = (GREY.astype(np.uint32) << 4 >> 16 - stored).astype(np.uint16)
    return lambda seed: as_bytes(xray(pixels, seed=seed, bits=stored))


def palette(seed: str) -> bytes:
    """PALETTE COLOR with a grey palette."""
    pixels = (GREY >> 4).astype(np.uint8)
    ds = xray(pixels, bits=8, seed=seed, photometric="PALETTE COLOR", sop_class="1.2.840.10008.5.1.4.1.1.7")
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", (np.arange(256, dtype="<u2") * 257).tobytes())
    return as_bytes(ds)


def colour(planar: int) -> Make:
    """RGB, the three colours of a pixel beside each other or in planes."""

    def make(seed: str) -> bytes:
        rgb = np.repeat((GREY >> 4).astype(np.uint8)[..., None], 3, axis=2)
        ds = xray(rgb, bits=8, seed=seed, photometric="RGB", sop_class="1.2.840.10008.5.1.4.1.1.7")
        ds.PlanarConfiguration = planar
        if planar:
            ds.PixelData = rgb.transpose(2, 0, 1).tobytes()
        return as_bytes(ds)

    return make


def overlay(seed: str) -> bytes:
    """An overlay in the bits above those stored (retired, PS3.3 C.9.2)."""
    ds = xray(GREY | (np.arange(GREY.shape[1], dtype=np.uint16) % 2 << 12), seed=seed)
    ds.add_new(0x60000010, "US", GREY.shape[0])
    ds.add_new(0x60000011, "US", GREY.shape[1])
    ds.add_new(0x60000040, "CS", "G")
    ds.add_new(0x60000050, "SS", [1, 1])
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", 12)
    return as_bytes(ds)


def group_lengths(seed: str) -> bytes:
    """Group length elements, retired and wrong."""
    ds = xray(GREY, seed=seed)
    for group in (0x0008, 0x0010, 0x0028):
        ds.add_new(group << 16, "UL", 7)
    return as_bytes(ds)


def private(seed: str) -> bytes:
    """Private elements, some without their creator, one with an unknown VR."""
    ds = xray(GREY, seed=seed)
    ds.add_new(0x00090010, "LO", "VENDOR")
    ds.add_new(0x00091001, "UN", b"\x01\x02\x03\x04")
    ds.add_new(0x00111001, "LO", "nobody's")
    return as_bytes(ds)


def icon(seed: str) -> bytes:
    """An icon image with pixel data of its own."""
    item = Dataset()
    item.Rows = item.Columns = 8
    item.SamplesPerPixel, item.PhotometricInterpretation, item.PixelRepresentation = 1, "MONOCHROME2", 0
    item.BitsAllocated, item.BitsStored, item.HighBit = 8, 8, 7
    item.PixelData = bytes(64)
    return as_bytes(xray(GREY, seed=seed, IconImageSequence=[item]))


def patched(old: bytes, new: bytes) -> Make:
    """A panoramic some bytes of which were exchanged."""

    def make(seed: str) -> bytes:
        raw = as_bytes(xray(GREY, seed=seed))
        assert raw.count(old) >= 1
        return raw.replace(old, new, 1)

    return make


def frames(seed: str) -> bytes:
    """Two frames."""
    ds = xray(np.concatenate([GREY, GREY]), seed=seed, NumberOfFrames=2)
    ds.Rows = GREY.shape[0]
    return as_bytes(ds)


def intraoral(**attributes: object) -> Make:
    """A film of an intra-oral sensor."""
    return plain(modality="IO", sop_class=IO, **attributes)


#: Name -> bytes, and what must come of it: "" = results, "refused: ..." = what the sender is told, else a part of the
#: reason for which it is declined.
CASES: dict[str, tuple[Make, str]] = {
    "no-orientation": (plain(PatientOrientation=None), ""),
    "empty-orientation": (plain(PatientOrientation=""), ""),
    "odd-orientation": (plain(PatientOrientation=["Q", "7"]), ""),
    "no-study-id": (plain(StudyID=None), ""),
    "no-accession": (plain(AccessionNumber=None), ""),
    "no-name": (plain(PatientName=None), ""),
    "no-patient-id": (plain(PatientID=None), ""),
    "no-study-time": (plain(StudyTime=None), ""),
    "odd-study-time": (patched(b"TM\x06\x00100000", b"TM\x06\x0025:99 "), ""),
    "odd-study-date": (patched(b"\x08\x00\x20\x00DA\x08\x0020250115", b"\x08\x00\x20\x00DA\x08\x002025.1.1"), ""),
    "nothing": (
        plain(
            **dict.fromkeys(
                [
                    "PatientName",
                    "PatientID",
                    "PatientBirthDate",
                    "PatientSex",
                    "StudyDate",
                    "StudyTime",
                    "StudyID",
                    "AccessionNumber",
                    "ReferringPhysicianName",
                    "StudyDescription",
                    "SeriesNumber",
                    "InstanceNumber",
                    "Manufacturer",
                    "ManufacturerModelName",
                    "DeviceSerialNumber",
                    "SoftwareVersions",
                    "BodyPartExamined",
                    "AnatomicRegionSequence",
                    "ImageLaterality",
                    "AcquisitionContextSequence",
                    "SpecificCharacterSet",
                    "ImagerPixelSpacing",
                    "PatientOrientation",
                    "PresentationLUTShape",
                    "WindowCenter",
                    "WindowWidth",
                ]
            )
        ),
        "",
    ),
    "sex-u": (plain(PatientSex="U"), ""),
    "sex-x": (plain(PatientSex="X"), ""),
    "odd-birth-date": (patched(b"DA\x08\x0019800101", b"DA\x08\x00198O-1-1"), ""),
    "birth-date-of-acr-nema": (patched(b"DA\x08\x0019800101", b"DA\x0a\x001980.01.01"), ""),
    "future-birth-date": (plain(PatientBirthDate="29991231"), ""),
    "latin-1": (named("ISO_IR 100", "Müller^Jörg".encode("latin-1")), ""),
    "latin-1-wrong": (named("ISO_IR 100", "Müller^Jörg".encode()), ""),
    "japanese": (named(["", "ISO 2022 IR 87"], JAPANESE), ""),
    "half-width": (named("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis")), ""),
    "chinese": (named("GB18030", "王^小東".encode("gb18030")), ""),
    "utf-8-untold": (named(None, "Müller^Jörg".encode()), ""),
    "charset-unknown": (named("ISO_IR 999", "Müller^Jörg".encode("latin-1")), ""),
    "charset-of-a-vendor": (named("WINDOWS-1252", b"M\xfcller\x80^J\xf6rg"), ""),
    "charset-broken": (named(["", "ISO 2022 IR 87"], b"Yamada^Tarou=\x1b$B;3E\x1b(B"), ""),
    "name-of-five-parts": (named(None, b"A^B^C^D^E^F=G=H=I"), ""),
    "name-of-nul": (named(None, b"A^B\0\0"), ""),
    "no-spacing": (plain(ImagerPixelSpacing=None), ""),
    "zero-spacing": (plain(ImagerPixelSpacing=["0", "0"], PixelSpacing=["0", "0"]), ""),
    "for-processing": (
        plain(
            sop_class=DX_PROCESSING,
            PresentationIntentType="FOR PROCESSING",
            WindowCenter=None,
            WindowWidth=None,
            PresentationLUTShape=None,
        ),
        "",
    ),
    "two-frames": (frames, "several frames"),
    "burned-in": (plain(BurnedInAnnotation="YES"), ""),
    "padding": (plain(PixelPaddingValue=764, PixelPaddingRangeLimit=900), ""),
    "inverse-monochrome1": (plain(photometric="MONOCHROME1", PresentationLUTShape="INVERSE"), ""),
    "identity-monochrome1": (plain(photometric="MONOCHROME1", PresentationLUTShape="IDENTITY"), ""),
    "group-lengths": (group_lengths, ""),
    "private": (private, ""),
    "zero-window": (plain(WindowCenter="0", WindowWidth="0"), ""),
    "negative-window": (plain(WindowCenter="2048", WindowWidth="-10"), ""),
    "words-as-window": (patched(b"DS\x04\x002048", b"DS\x04\x00auto"), ""),
    "thousand-windows": (windows(1000), ""),
    "icon": (icon, ""),
    **{f"bits-{stored}": (bits(stored), "") for stored in range(10, 17)},
    "bits-more-than-allocated": (plain(BitsStored=17, HighBit=16), "bit depth"),
    "signed": (signed, ""),
    "palette": (palette, ""),
    "rgb": (colour(0), ""),
    "rgb-planes": (colour(1), ""),
    "overlay": (overlay, ""),
    "no-pixels": (plain(PixelData=None), "refused: pixel data missing"),
    "few-pixels": (plain(PixelData=bytes(100)), "refused: pixel data truncated"),
    "no-rows": (plain(Rows=None), "Rows"),
    "io": (intraoral(), ""),
    "io-lacking": (intraoral(ImageLaterality=None, AnatomicRegionSequence=None, PositionerType=None), ""),
    "jpeg-lossless": (lambda seed: as_bytes(xray(GREY, seed=seed, PatientOrientation=None), JPEGLosslessSV1), ""),
    "long-texts": (plain(StudyDescription="d" * 64, Manufacturer="m" * 64, StudyID="s" * 16), ""),
    "two-accessions": (plain(AccessionNumber=["A1", "A2"]), ""),
    "two-patients": (plain(PatientID=["P1", "P2"]), "several values"),
    "two-study-ids": (plain(StudyID=["1", "2"], StudyDescription=["a", "b"]), ""),
    "texts-too-long": (plain(StudyDescription="d" * 100, StudyID="s" * 40, Manufacturer="m" * 80), ""),
    "line-breaks": (plain(StudyDescription="first\r\nsecond\tthird", PatientComments="a\nb"), ""),
    "odd-age": (plain(PatientAge="45", TimezoneOffsetFromUTC="CET"), ""),
    "odd-weight": (patched(b"DS\x02\x0070", b"DS\x02\x007,"), ""),
    "odd-numbers": (plain(SeriesNumber=-5, InstanceNumber=2147483647), ""),
}
