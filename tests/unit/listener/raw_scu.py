"""A sender that writes PDUs itself, so that a test can send exact bytes and a benchmark has no sender to wait for."""

import io
import socket
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context

DX = "1.2.840.10008.5.1.4.1.1.1.1"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
ELSEWHERE = ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205")
NATIVE = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED[0])
COMMAND, LAST = 1, 2
RELEASE = b"\5\0\0\0\0\4\0\0\0\0"
ABORT = b"\7\0\0\0\0\4\0\0\0\0"


def image(seed: int = 1, study: int = 1, **changes: object) -> Dataset:
    """A small image, 16 x 20 pixels of 16 bits; a change of None removes the attribute."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = DX, f"1.2.3.{study}.1.{seed}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.3.{study}", f"1.2.3.{study}.1"
    ds.StudyDate, ds.AccessionNumber, ds.Modality, ds.StudyDescription = "20250115", "A1", "PX", "Panoramic"
    ds.PatientName, ds.PatientID, ds.IssuerOfPatientID = "Müller^Ida", "P1", "PRAXIS"
    ds.PatientBirthDate, ds.PatientSex = "19800101", "F"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 20, 16, 12, 11, 0
    ds.PixelData = bytes((seed + i) % 256 for i in range(640))
    ds["PixelData"].VR = "OW"
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def encode(ds: Dataset, syntax: str = EXPLICIT) -> bytes:
    """The data set as it goes over the wire; pixels of compressed syntaxes are framed but not compressed."""
    copy = Dataset(ds)
    if syntax in ELSEWHERE:
        del copy.PixelData
        copy.PixelDataProviderURL = "http://127.0.0.1/pixels"
    elif syntax not in NATIVE and "PixelData" in copy:
        pixels = copy.PixelData
        copy.PixelData = encapsulate([pixels]) if pixels else b""
        copy["PixelData"].VR = "OB"
        copy["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    copy.save_as(buffer, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG_ENDIAN)
    raw = buffer.getvalue()
    if syntax in DEFLATED:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        raw = deflate.compress(raw) + deflate.flush()
    return raw


def with_value(data: bytes, tag: int, value: bytes, pad: bytes = b"\0") -> bytes:
    """An explicit little endian data set with another value of an element of short length; pydicom refuses some."""
    at = data.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF))
    (length,) = struct.unpack_from("<H", data, at + 6)
    value += pad * (len(value) % 2)
    return data[: at + 6] + struct.pack("<H", len(value)) + value + data[at + 8 + length :]


def part10(ds: Dataset, syntax: str = EXPLICIT) -> bytes:
    """The data set as a file with file meta information."""
    buffer = io.BytesIO()
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def data_set_bytes(file: bytes) -> bytes:
    """What follows the file meta information."""
    return file[144 + struct.unpack_from("<L", file, 140)[0] :]


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    """A presentation data value item."""
    return struct.pack(">LBB", len(data) + 2, context_id, control) + data


def pdu(*items: bytes, kind: int = 4) -> bytes:
    """A P-DATA-TF PDU."""
    body = b"".join(items)
    return struct.pack(">BxL", kind, len(body)) + body


def command(
    field: int = 1, *, sop_class: str = DX, instance: str = "", data: bool = True, message_id: int = 7
) -> bytes:
    """A command set."""
    body = _element(2, _padded(sop_class)) + _element(0x100, struct.pack("<H", field))
    body += _element(0x110, struct.pack("<H", message_id))
    body += _element(0x700, b"\0\0") + _element(0x800, struct.pack("<H", 0 if data else 0x0101))
    body += _element(0x1000, _padded(instance)) if instance else b""
    return _element(0, struct.pack("<L", len(body))) + body


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, element, len(value)) + value


def _padded(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


@dataclass(frozen=True)
class Answer:
    """A response: status, error comment, and all elements by element number."""

    status: int
    comment: str
    values: dict[int, bytes]


def connect(port: int) -> socket.socket:
    """A connection to the listener."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def request(
    contexts: Sequence[tuple[str, Sequence[str]]], calling: str = "RAW", called: str = "DENTGATE", application: str = ""
) -> bytes:
    """An A-ASSOCIATE-RQ; the contexts get the odd numbers from 1."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID(application or "1.2.840.10008.3.1.1.1")
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    proposed = []
    for number, (abstract, syntaxes) in enumerate(contexts):
        context = build_context(abstract, list(syntaxes))
        context.context_id = 2 * number + 1
        proposed.append(context)
    primitive.presentation_context_definition_list = proposed
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16384, UID("1.2.3.4")
    primitive.user_information = [length, implementation]
    message = A_ASSOCIATE_RQ()
    message.from_primitive(primitive)
    return bytes(message.encode())


class RawScu:
    """An association as the requestor; ``results`` maps context ID -> (result, transfer syntax)."""

    def __init__(
        self,
        port: int,
        contexts: Sequence[tuple[str, Sequence[str]]] = ((DX, (EXPLICIT,)),),
        calling: str = "RAW",
        called: str = "DENTGATE",
    ) -> None:
        """Raises ConnectionRefusedError with the PDU as its argument when the association is not accepted."""
        self.connection = connect(port)
        self.send(request(contexts, calling, called))
        kind, body = self.receive()
        if kind != 2:
            self.connection.close()
            raise ConnectionRefusedError(kind, body)
        accepted = A_ASSOCIATE_AC()
        accepted.decode(struct.pack(">BxL", kind, len(body)) + body)
        primitive = accepted.to_primitive()
        self.results = {
            context.context_id: (context.result, str(context.transfer_syntax[0]) if context.transfer_syntax else "")
            for context in primitive.presentation_context_definition_results_list
        }
        self.max_pdu = next(
            item.maximum_length_received
            for item in primitive.user_information
            if isinstance(item, MaximumLengthNotification)
        )

    def __enter__(self) -> Self:
        """The association."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close without a word; ``release`` before that is polite."""
        self.connection.close()

    def send(self, *parts: bytes | memoryview) -> None:
        """Send all parts with as few system calls as the system allows."""
        waiting = [memoryview(part) for part in parts]
        while waiting:
            sent = self.connection.sendmsg(waiting[:512])
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.pop(0))
            if sent:
                waiting[0] = waiting[0][sent:]

    def receive(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (0, b"") when the peer has closed."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", head)
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            try:
                part = self.connection.recv(count - len(parts))
            except ConnectionResetError:
                part = b""
            if not part:
                break
            parts += part
        return parts

    def answer(self) -> Answer:
        """The next response. Raises ConnectionAbortedError if something else comes."""
        kind, body = self.receive()
        if kind != 4:
            raise ConnectionAbortedError(kind, body)
        values, position = {}, 6
        while position < len(body):
            element, length = struct.unpack_from("<2xHL", body, position)
            values[element] = body[position + 8 : position + 8 + length]
            position += 8 + length
        (status,) = struct.unpack("<H", values[0x900])
        return Answer(status, values.get(0x902, b"").decode().rstrip(), values)

    def echo(self, context_id: int = 1) -> int:
        """C-ECHO; its status."""
        self.send(pdu(pdv(context_id, COMMAND | LAST, command(0x30, sop_class=VERIFICATION, data=False))))
        return self.answer().status

    def store(
        self, data: bytes | memoryview, instance: str, *, sop_class: str = DX, context_id: int = 1, message_id: int = 7
    ) -> Answer:
        """C-STORE of an encoded data set."""
        words = command(sop_class=sop_class, instance=instance, message_id=message_id)
        parts: list[bytes | memoryview] = [pdu(pdv(context_id, COMMAND | LAST, words))]
        view, most = memoryview(data), self.max_pdu - 6
        for start in range(0, max(len(view), 1), most):
            piece = view[start : start + most]
            last = LAST if start + most >= len(view) else 0
            parts += [struct.pack(">BxLLBB", 4, len(piece) + 6, len(piece) + 2, context_id, last), piece]
        self.send(*parts)
        return self.answer()

    def send_image(self, ds: Dataset, syntax: str = EXPLICIT) -> Answer:
        """C-STORE of a data set in the only context."""
        return self.store(encode(ds, syntax), str(ds.SOPInstanceUID), sop_class=str(ds.SOPClassUID))

    def release(self) -> int:
        """Release; the type of the PDU that answers."""
        self.send(RELEASE)
        kind, _ = self.receive()
        self.connection.close()
        return kind
