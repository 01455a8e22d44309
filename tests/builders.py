"""Builders of test data: X-ray data sets in every form that arrives, and the analyses that results are made from.

Everything is a pure function of its arguments, UIDs included: the same seed makes the same object.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from service.domain.finding import Algorithm, Analysis, Finding, Region
from service.settings import DestinationSettings

DX = str(DigitalXRayImageStorageForPresentation)
IO = str(DigitalIntraOralXRayImageStorageForPresentation)

#: Every transfer syntax that ``as_bytes`` can write, by a name for test parameters.
SYNTAXES: dict[str, str] = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "jpeg-lossless-sv1": JPEGLosslessSV1,
    "jpeg-lossless-14": JPEGLossless,
    "jpeg-baseline": JPEGBaseline8Bit,  # 8 bit images only, lossy
    "jpeg-ls": JPEGLSLossless,
    "jpeg-2000": JPEG2000Lossless,
    "rle": RLELossless,
}
_BY_GDCM = {JPEGLosslessSV1: "JPEGLosslessProcess14_1", JPEGLossless: "JPEGLosslessProcess14"}
STARTED_AT = datetime(2025, 1, 15, 10, 30, tzinfo=UTC)
ALGORITHM = Algorithm(
    name="tooth-numbering", version="1.0.0", weights_sha256="ab" * 32, manufacturer="Dentgate", research=True
)


def uid_of(*parts: object) -> str:
    """A UID below 2.25 that depends on the parts only."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def shapes(rows: int = 200, columns: int = 320, bits: int = 12) -> NDArray[np.uint16]:
    """Stored values (rows, columns) of two bright ellipses on noise; left and right, top and bottom differ."""
    full = 2**bits - 1
    image = np.random.default_rng(1).normal(0.22, 0.015, (rows, columns))
    y, x = np.mgrid[:rows, :columns]
    image += 0.1 * (x / columns) + 0.05 * (y / rows)
    for centre, radius in ((0.3, 0.1), (0.66, 0.06)):
        image[((x / columns - centre) / radius) ** 2 + ((y / rows - 0.55) / 0.28) ** 2 <= 1] += 0.4
    stored: NDArray[np.uint16] = np.round(np.clip(image, 0, 1) * full).astype(np.uint16)
    return stored


def xray(
    pixels: NDArray[Any] | None = None,
    *,
    modality: str = "PX",
    sop_class: str = DX,
    photometric: str = "MONOCHROME2",
    bits: int = 12,
    seed: str = "xray",
    **attributes: object,
) -> Dataset:
    """An image that dciodvfy accepts: panoramic as Digital X-Ray, intra-oral with ``modality="IO", sop_class=IO``.

    Args:
        pixels: *stored* values (rows, columns), or (rows, columns, 3) for colour; None: ``shapes``. MONOCHROME1 is
            not inverted here.
        bits: bits stored; up to 8 are kept in 8 bits allocated, more in 16.
        seed: makes the UIDs of study, series and instance. Two images of one study: pass ``StudyInstanceUID=...``.
        attributes: DICOM keywords set at the end, None removes one.
    """
    array = shapes(bits=bits) if pixels is None else pixels
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _describe_study(ds, modality, seed)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid_of(seed, "instance")
    _describe_image(ds, modality)
    _put_pixels(ds, array, photometric, bits)
    for keyword, value in attributes.items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", uid_of(seed, "instance"))
    return ds


def _describe_study(ds: Dataset, modality: str, seed: str) -> None:
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Probe^Dental", "PROBE-1", "19800101", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid_of(seed, "study"), uid_of(seed, "series")
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20250115"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "100000"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "1", "A1", ""
    ds.StudyDescription = "Panoramic" if modality == "PX" else "Bitewing"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, 1, 1
    ds.Manufacturer, ds.ManufacturerModelName = "ProbeVendor", "Probe"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "0", "1"


def _describe_image(ds: Dataset, modality: str) -> None:
    panoramic = modality == "PX"
    ds.ImageType, ds.PresentationIntentType = ["ORIGINAL", "PRIMARY", ""], "FOR PRESENTATION"
    ds.PatientOrientation = ["L", "F"]  # the left of the picture is the patient's right
    ds.ImageLaterality = "B" if panoramic else "L"
    if panoramic:
        ds.BodyPartExamined = "JAW"
    else:
        ds.PositionerType = "NONE"
        ds.PrimaryAnatomicStructureSequence = [_code("866006002", "Mandibular left first molar tooth")]
    region = ("661005", "Jaw region") if panoramic else ("28035005", "Teeth, gums and supporting structures")
    ds.AnatomicRegionSequence = [_code(*region)]
    ds.AcquisitionContextSequence = []
    ds.KVP, ds.DetectorType, ds.ImagerPixelSpacing = "70", "DIRECT", ["0.1", "0.1"]
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"


def _put_pixels(ds: Dataset, array: NDArray[Any], photometric: str, bits: int) -> None:
    colour = array.ndim == 3
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 3 if colour else 1, photometric
    if colour:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = array.shape[:2]
    ds.BitsAllocated = 8 if bits <= 8 else 16
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(np.issubdtype(array.dtype, np.signedinteger) and bool((array < 0).any()))
    if photometric.startswith("MONOCHROME"):
        inverted = photometric == "MONOCHROME1"
        ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1 if inverted else -1
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
        ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
        ds.WindowCenter, ds.WindowWidth = str(2 ** (bits - 1)), str(2**bits)
    kind = ("<i" if ds.PixelRepresentation else "<u") + str(ds.BitsAllocated // 8)
    raw = array.astype(kind).tobytes()
    ds.PixelData = raw + b"\0" * (len(raw) % 2)


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def as_bytes(ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set as a DICOM file in a transfer syntax of ``SYNTAXES``; ``ds`` itself is not changed."""
    copy = pydicom.dcmread(io.BytesIO(_saved(ds)))
    syntax = pydicom.uid.UID(transfer_syntax)
    if syntax in _BY_GDCM:
        return _encoded_by_gdcm(ds, syntax)
    if syntax == JPEGBaseline8Bit:
        copy.PixelData = encapsulate([_jpeg(copy)])
        copy["PixelData"].VR = "OB"
        copy.LossyImageCompression, copy.LossyImageCompressionRatio = "01", "4"
        copy.LossyImageCompressionMethod = "ISO_10918_1"
        copy.file_meta.TransferSyntaxUID = syntax
    elif syntax == ExplicitVRBigEndian:
        if copy.BitsAllocated > 8:
            copy.PixelData = np.frombuffer(copy.PixelData, "<u2").byteswap().tobytes()
        return _saved(copy, syntax)
    elif syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        plugin = "pyjpegls" if syntax == JPEGLSLossless else "pylibjpeg"
        copy.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    return _saved(copy, syntax)


def _saved(ds: Dataset, syntax: pydicom.uid.UID | None = None) -> bytes:
    buffer = io.BytesIO()
    if syntax is not None:
        ds.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _jpeg(ds: Dataset) -> bytes:
    shape = (ds.Rows, ds.Columns) if ds.SamplesPerPixel == 1 else (ds.Rows, ds.Columns, 3)
    buffer = io.BytesIO()
    array = np.frombuffer(ds.PixelData, np.uint8)[: int(np.prod(shape))].reshape(shape)
    Picture.fromarray(array).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _encoded_by_gdcm(ds: Dataset, syntax: pydicom.uid.UID) -> bytes:
    import gdcm  # noqa: PLC0415 - loaded before zlib it makes the system libz use its own copy, and PNG writing aborts

    writer = gdcm.ImageWriter()  # owns the image
    image = writer.GetImage()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((ds.Columns, ds.Rows, 1))
    kind = gdcm.PhotometricInterpretation.GetPIType(ds.PhotometricInterpretation)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    image.SetPixelFormat(
        gdcm.PixelFormat(ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation)
    )
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(ds.PixelData[: ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8])
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, _BY_GDCM[syntax])))
    change.SetInput(image)
    if not change.Change():
        message = f"gdcm cannot encode {syntax.name}"
        raise ValueError(message)
    fragment = change.GetOutput().GetDataElement().GetSequenceOfFragments().GetFragment(0)
    stream = fragment.GetByteValue().GetBuffer().encode("utf-8", "surrogateescape")  # gdcm gives bytes as str
    copy = pydicom.dcmread(io.BytesIO(_saved(ds)))
    copy.PixelData = encapsulate([stream])
    copy["PixelData"].VR = "OB"
    return _saved(copy, syntax)


def ellipse(box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """The mask (height, width) of the ellipse that fills a box x0, y0, x1, y1."""
    x0, y0, x1, y1 = box
    y, x = np.mgrid[: y1 - y0, : x1 - x0] + 0.5
    mask: NDArray[np.bool_] = (2 * x / (x1 - x0) - 1) ** 2 + (2 * y / (y1 - y0) - 1) ** 2 <= 1
    return mask


def runs_of(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """The mask row by row as alternating run lengths that begin with "off"."""
    flat = np.concatenate([[False], mask.ravel(), [not mask.ravel()[-1]]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return tuple(int(length) for length in np.diff(np.concatenate([[0], edges])))


def tooth_boxes(rows: int, columns: int, teeth: Iterable[int]) -> dict[int, tuple[int, int, int, int]]:
    """A box x0, y0, x1, y1 for each FDI number, side by side as on a panoramic image with the patient upright."""
    boxes = {}
    for fdi in teeth:
        quadrant, position = (fdi // 10 - 1) % 4 + 1, fdi % 10
        step = columns / 18
        centre = columns / 2 + (position - 0.5) * step * (1 if quadrant in {2, 3} else -1)
        top = rows * (0.15 if quadrant in {1, 2} else 0.55)
        boxes[fdi] = (round(centre - step * 0.4), round(top), round(centre + step * 0.4), round(top + rows * 0.3))
    return boxes


def analysis_of(
    header: Dataset,
    teeth: Iterable[int] | Mapping[int, tuple[int, int, int, int]] = (36, 37, 46),
    *,
    flags: Mapping[int, tuple[str, ...]] | None = None,
    notes: tuple[str, ...] = (),
    certainty: float = 0.97,
    algorithm: Algorithm = ALGORITHM,
) -> Analysis:
    """The analysis of an image: an elliptical mask for each tooth.

    Args:
        header: the image; its size, SOP Instance UID are taken.
        teeth: FDI numbers, or FDI number -> box in pixels.
        flags: FDI number -> flags of its finding.
    """
    rows, columns = int(header.Rows), int(header.Columns)
    boxes = dict(teeth) if isinstance(teeth, Mapping) else tooth_boxes(rows, columns, teeth)
    findings = tuple(
        Finding("tooth", fdi, certainty, _elliptical(box), (flags or {}).get(fdi, ())) for fdi, box in boxes.items()
    )
    return Analysis(
        algorithm=algorithm,
        sop_instance_uid=str(header.SOPInstanceUID),
        rows=rows,
        columns=columns,
        started_at=STARTED_AT,
        findings=findings,
        notes=notes,
    )


def _elliptical(box: tuple[int, int, int, int]) -> Region:
    x0, y0, x1, y1 = box
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    outline = tuple(
        (float(x0 + (x1 - x0) * (1 + np.cos(angle)) / 2), float(y0 + (y1 - y0) * (1 + np.sin(angle)) / 2))
        for angle in angles
    )
    return Region(box, runs_of(ellipse(box)), outline)


def header_of(ds: Dataset) -> Dataset:
    """The data set without its pixels, as results see it."""
    return pydicom.dcmread(io.BytesIO(_saved(ds)), stop_before_pixels=True)


def destination_of(url: str, **keys: Any) -> DestinationSettings:  # noqa: ANN401 - any key of the settings
    """A ``[[destination]]`` of the settings with that URL."""
    return DestinationSettings.model_validate({"name": "peer", "url": url, **keys})
