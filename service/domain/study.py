"""What is known of an instance when it has been received."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """An instance whose bytes are durably stored, with what its header says of patient and study.

    Attributes:
        storage_key: where the file (with DICOM file meta) lies.
        sha256: hex digest of the data set as it came over the wire, without file meta: tells the same bytes again.
        size: bytes of the stored file.
        calling_ae: AE title of the sender, "WEB" for uploads.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    storage_key: str
    sha256: str
    size: int
    calling_ae: str
    modality: str = ""
    patient_id: str = ""
    patient_id_issuer: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    accession_number: str = ""
    study_date: str = ""
    description: str = ""


class Recorded(StrEnum):
    """What became of an instance."""

    NEW = "new"
    SAME = "same"  #: the same UID and the same bytes were there already: success, no second row
    CONFLICT = "conflict"  #: the same UID with other bytes: kept beside, flagged, never overwritten in silence
