"""A modality as hospitals have them: sends a study, and sends again what did not get Success."""

import io
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pydicom
from pynetdicom import AE

from tests.builders import DX, as_bytes, uid_of, xray

ANSWER_SECONDS = 8.0
EXPLICIT = "1.2.840.10008.1.2.1"


def drawing(number: int, side: int = 96) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]":
    """Stored values (side, side) of 12 bits: a bright field on a grey slope, another place for each number."""
    pixels = np.tile(np.linspace(200, 1500, side), (side, 1))
    row, column = number * 7 % (side // 2), number * 13 % (side // 2)
    pixels[row + 8 : row + 30, column + 8 : column + 34] = 3900
    return pixels.astype(np.uint16)


def skull(seed: str, number: int = 0, patient: str = "FAULT-1", **attributes: object) -> bytes:
    """An image that only the drawn model of ``tests.faults.site`` reads, as a file."""
    named = {"seed": seed, "PatientID": patient, "BodyPartExamined": "SKULL"} | attributes
    return as_bytes(xray(drawing(number), modality="DX", sop_class=DX, **named))  # type: ignore[arg-type]  # DICOM keywords


@dataclass
class Modality:
    """Sends by pynetdicom.

    Attributes:
        acknowledged: study UID -> when the last of its objects got Success (monotonic seconds).
        images: study UID -> how many images it has.
        again: how often an object had to be sent again.
        answer_seconds: how long it waits for an answer, also on a connection that is gone: pynetdicom does not look.
    """

    port: int
    aet: str = "PANO1"
    acknowledged: dict[str, float] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    again: int = 0
    answer_seconds: float = ANSWER_SECONDS
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, *files: bytes, seconds: float = 120.0) -> str:
        """Send the images of one study until each got Success; the study's UID."""
        left: list[pydicom.Dataset] = [pydicom.dcmread(io.BytesIO(file)) for file in files]
        study = str(left[0].StudyInstanceUID)
        deadline = time.monotonic() + seconds
        while left:
            left = self._try(left)
            if left:
                assert time.monotonic() < deadline, f"the gateway did not take study {study} in {seconds} s"
                self.again += len(left)
                time.sleep(0.3)
        with self._lock:
            self.acknowledged[study] = time.monotonic()
            self.images[study] = len(files)
        return study

    def _try(self, objects: list[pydicom.Dataset]) -> list[pydicom.Dataset]:
        """Send on one association; what did not get Success."""
        ae = AE(self.aet)
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = self.answer_seconds
        ae.add_requested_context(DX, EXPLICIT)
        assoc = ae.associate("127.0.0.1", self.port, ae_title="DENTGATE")
        if not assoc.is_established:
            return objects
        left = []
        for ds in objects:
            try:
                status = assoc.send_c_store(ds).get("Status")
            except (RuntimeError, ValueError):  # the association is gone
                status = None
            if status != 0:
                left.append(ds)
        if assoc.is_established:
            assoc.release()
        return left


def study_of(seed: str) -> str:
    """The Study Instance UID of a seed."""
    return uid_of(seed, "study")
