"""What is left of an image that retention removes: its header, so that its report can still be signed or withdrawn.

A report needs the patient, the study and the references of its image, never its pixels. The name of a header derives
from the digest of the image, so the record needs no column for it, and keeping it twice is keeping it once.
"""

import io
import warnings
from typing import BinaryIO

import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian

from service.domain.errors import Declined
from service.storage import Storage, put


def header_key(sha256: str) -> str:
    """Where the header of an instance lies, by the digest (hex) of its data set."""
    return f"headers/{sha256[:2]}/{sha256}.dcm"


def keep_header(storage: Storage, key: str, sha256: str) -> None:
    """Keep the header of the instance under ``key``, durably, before the instance goes.

    Raises:
        Declined: the instance cannot be read as DICOM.
        FileNotFoundError: it is gone already.
        OSError: the storage is in trouble.
        OutOfResources: no room.
    """
    with storage.open(key) as file:
        content = _header(file)
    put(storage, header_key(sha256), content)


def _header(file: BinaryIO) -> bytes:
    """A PS3.10 file up to its pixel data, byte for byte; one that was deflated is written anew."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # malformed values are kept as they are
            ds = pydicom.dcmread(file, stop_before_pixels=True)
            if ds.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                buffer = io.BytesIO()
                ds.save_as(buffer)
                return buffer.getvalue()
    except Exception as error:  # damaged files make the parser raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:  # pydicom's own OSErrors have no number
            raise
        message = "the DICOM file is damaged"
        raise Declined(message) from error
    end = file.tell()
    file.seek(0)
    return file.read(end)
