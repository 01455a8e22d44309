"""A picture -> a DICOM file: X-rays as Secondary Capture (PS3.3 A.8.1), photographs as VL Photographic (A.32.4).

Digital X-Ray would demand a detector spacing and an orientation, and a picture file has neither: what is made up there
ends as wrong millimetres or a wrong side in somebody's viewer. Modality PX still says what the picture shows.

PatientOrientation has no value: a file from a browser does not say which side is which, so every result carries the
note that the orientation was assumed.
"""

import io
import re
from dataclasses import dataclass, replace

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    VLPhotographicImageStorage,
)

from service import clock
from service.domain.codes import JAW_REGION, Code
from service.web.pictures import Picture, PictureKind, kind_of, read_picture

_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_MOUTH = Code("123851003", "SCT", "Mouth region")  # CID 4016
_LONGEST = 64  # LO and PN component group
_DESCRIPTIONS = {PictureKind.PANORAMIC: "Panoramic X-ray", PictureKind.PHOTOGRAPH: "Intraoral photograph"}


@dataclass(frozen=True, slots=True)
class PictureLabel:
    """What the sender of a picture says about it.

    Attributes:
        kind: what it shows; AUTOMATIC lets its colours decide.
        birth_date: YYYY-MM-DD or YYYYMMDD, or empty.
        study_instance_uid: pictures sent together share it.
        instance_number: 1 for the first of them.
    """

    kind: PictureKind
    patient_id: str
    family_name: str
    given_name: str
    birth_date: str
    study_instance_uid: str
    series_instance_uid: str
    instance_number: int = 1


def wrap_picture(content: bytes, label: PictureLabel) -> bytes:
    """A DICOM file (PS3.10) around a JPEG or PNG file.

    Raises:
        NotUnderstood: the picture is damaged or far too large.
    """
    label = replace(label, kind=kind_of(content, label.kind))
    picture = read_picture(content, label.kind)
    ds = Dataset()
    _describe_study(ds, label)
    _describe_pixels(ds, picture)
    if label.kind is PictureKind.PANORAMIC:
        _describe_xray(ds)
    else:
        _describe_photograph(ds)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if picture.jpeg is None else JPEGBaseline8Bit
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _describe_study(ds: Dataset, label: PictureLabel) -> None:
    now = clock.now().astimezone()  # the clinic's own time
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientID = _text(label.patient_id)
    ds.PatientName = "^".join(_text(part.replace("^", " ").replace("=", " ")) for part in _names(label))
    ds.PatientBirthDate, ds.PatientSex = label.birth_date.replace("-", ""), ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID = label.study_instance_uid, label.series_instance_uid
    ds.SOPInstanceUID = clock.fresh_uid()
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.InstanceCreationDate = now.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.InstanceCreationTime = now.strftime("%H%M%S")
    ds.TimezoneOffsetFromUTC = now.strftime("%z")
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName, ds.Manufacturer = "", "", "", ""
    ds.StudyDescription = ds.SeriesDescription = _DESCRIPTIONS[label.kind]
    ds.SeriesNumber, ds.InstanceNumber = 1, label.instance_number
    ds.ImageType = ["DERIVED", "PRIMARY", ""]
    ds.DerivationDescription = "Picture file uploaded in a browser, wrapped as DICOM"
    ds.PatientOrientation = None


def _names(label: PictureLabel) -> tuple[str, ...]:
    return (label.family_name, label.given_name) if label.given_name else (label.family_name,)


def _describe_pixels(ds: Dataset, picture: Picture) -> None:
    wide = picture.pixels is not None and picture.pixels.dtype == np.uint16
    colour = picture.photometric != "MONOCHROME2"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 3 if colour else 1, picture.photometric
    if colour:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = picture.rows, picture.columns
    ds.BitsAllocated = ds.BitsStored = 16 if wide else 8
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, 0
    ds.BurnedInAnnotation = "YES"  # nobody looked: a name written into the picture must be expected
    ds.LossyImageCompression = "00" if picture.lossy_ratio is None else "01"
    if picture.lossy_ratio is not None:
        ds.LossyImageCompressionRatio = f"{picture.lossy_ratio:.2f}"
        ds.LossyImageCompressionMethod = "ISO_10918_1"
    if picture.jpeg is not None:
        ds.PixelData = encapsulate([picture.jpeg])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    elif picture.pixels is not None:
        raw = picture.pixels.astype("<u2" if wide else "u1").tobytes()
        ds.PixelData = raw + b"\0" * (len(raw) % 2)
        ds["PixelData"].VR = "OW" if wide else "OB"


def _describe_xray(ds: Dataset) -> None:
    ds.SOPClassUID, ds.Modality, ds.ConversionType = SecondaryCaptureImageStorage, "PX", "WSD"
    ds.BodyPartExamined = "JAW"
    ds.AnatomicRegionSequence = [_item(JAW_REGION)]
    ds.WindowCenter, ds.WindowWidth = str(2 ** (ds.BitsStored - 1)), str(2**ds.BitsStored)


def _describe_photograph(ds: Dataset) -> None:
    ds.SOPClassUID, ds.Modality = VLPhotographicImageStorage, "XC"
    ds.AcquisitionContextSequence = []
    ds.Laterality = ""  # type 2C in General Series; which side was photographed is not known
    ds.AnatomicRegionSequence = [_item(_MOUTH)]


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item


def _text(value: str) -> str:
    return _CONTROL.sub(" ", value).strip()[:_LONGEST]
