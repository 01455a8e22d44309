"""The header of an instance: its identity, what the record shows of patient and study, are its pixels all there."""

import math
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.charset import convert_encodings, decode_bytes, python_encoding

from service.domain.errors import NotMatching, NotUnderstood
from service.domain.uid import is_uid
from service.listener.dataset import Outline, outline

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_CHARSET = 0x00080005
#: field of ReceivedInstance -> tag and most characters kept; the limits are those of the record's columns
TEXTS: dict[str, tuple[int, int]] = {
    "modality": (0x00080060, 16),
    "patient_id": (0x00100020, 256),
    "patient_id_issuer": (0x00100021, 256),
    "patient_name": (0x00100010, 1024),
    "patient_birth_date": (0x00100030, 16),
    "patient_sex": (0x00100040, 16),
    "accession_number": (0x00080050, 256),
    "study_date": (0x00080020, 16),
    "description": (0x00081030, 1024),
}
_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _ALLOCATED = (
    0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100,
)  # fmt: skip
_PROVIDER_URL = 0x00287FE0  # pixel data lie elsewhere (JPIP)
_WANTED = frozenset(
    {SOP_CLASS, SOP_INSTANCE, STUDY, SERIES, _CHARSET, _SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _ALLOCATED}
    | {_PROVIDER_URL}
    | {tag for tag, _ in TEXTS.values()}
)
_NAMES = {
    SOP_CLASS: "SOPClassUID",
    SOP_INSTANCE: "SOPInstanceUID",
    STUDY: "StudyInstanceUID",
    SERIES: "SeriesInstanceUID",
}
_DELIMITERS = {0x5C, 0x5E, 0x3D}  # they end the effect of an escape sequence (PS3.5 6.1.2.5.3)


@dataclass(frozen=True, slots=True)
class Header:
    """Identity and texts of an instance; ``texts`` has the keys of ``TEXTS``."""

    study_instance_uid: str
    series_instance_uid: str
    texts: dict[str, str]


def check_uid(value: str, name: str) -> str:
    """The UID without padding. Raises NotUnderstood when it is missing or malformed (PS3.5 section 9)."""
    uid = value.rstrip("\0 ")
    if not uid:
        message = f"{name} missing"
        raise NotUnderstood(message)
    if not is_uid(uid):
        message = f"{name} malformed"
        raise NotUnderstood(message)
    return uid


def read_header(
    file: BinaryIO, transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str, limit: int
) -> Header:
    """Read and check the data set that begins at the file's position.

    Args:
        file: seekable.
        transfer_syntax_uid: how it is encoded.
        sop_class_uid: what the message or the file meta information says it is.
        sop_instance_uid: likewise.
        limit: most bytes a deflated data set may inflate to.

    Raises:
        NotUnderstood: truncated, without identity, or with pixel data shorter than the header says.
        NotMatching: it is another SOP class or instance.
        OutOfResources: it inflates to more than the limit.
    """
    found = outline(file, transfer_syntax_uid, _WANTED, limit)
    if (_uid(found, SOP_CLASS), _uid(found, SOP_INSTANCE)) != (sop_class_uid, sop_instance_uid):
        message = "data set is another SOP class or instance than the message"
        raise NotMatching(message)
    study, series = _uid(found, STUDY), _uid(found, SERIES)
    _check_pixels(found)
    encodings = _encodings(found.values.get(_CHARSET, b""))
    texts = {name: _text(found.values.get(tag, b""), encodings)[:most] for name, (tag, most) in TEXTS.items()}
    return Header(study, series, texts)


def read_identity(file: BinaryIO, transfer_syntax_uid: str, limit: int) -> tuple[str, str]:
    """SOP class and instance UID of the data set at the file's position. Raises NotUnderstood."""
    found = outline(file, transfer_syntax_uid, _WANTED, limit)
    return _uid(found, SOP_CLASS), _uid(found, SOP_INSTANCE)


def _uid(found: Outline, tag: int) -> str:
    return check_uid(found.values.get(tag, b"").decode("ascii", "replace"), _NAMES[tag])


def _check_pixels(found: Outline) -> None:
    """Raise NotUnderstood unless the pixel data are as long as the Image Pixel module says (PS3.3 C.7.6.3)."""
    if found.pixel_bytes is None:
        if _ROWS in found.values and _PROVIDER_URL not in found.values:
            message = "pixel data missing"
            raise NotUnderstood(message)
        return
    if found.pixel_bytes == 0:
        message = "pixel data empty"
        raise NotUnderstood(message)
    expected = 0 if found.fragments is not None else _native_bytes(found)
    if found.pixel_bytes < expected:
        message = f"pixel data truncated: {found.pixel_bytes} of {expected} bytes"
        raise NotUnderstood(message)


def _native_bytes(found: Outline) -> int:
    rows, columns, allocated = (_number(found, tag) for tag in (_ROWS, _COLUMNS, _ALLOCATED))
    samples = _number(found, _SAMPLES) or 1
    if found.values.get(_PHOTOMETRIC, b"").startswith(b"YBR_FULL_422"):
        samples = 2  # two chrominance samples for each two pixels (PS3.3 C.7.6.3.1.2)
    return math.ceil(rows * columns * samples * allocated * _frames(found) / 8)


def _number(found: Outline, tag: int) -> int:
    value = found.values.get(tag, b"")
    return int(struct.unpack_from(found.order + "H", value)[0]) if len(value) >= 2 else 0  # noqa: PLR2004 - US


def _frames(found: Outline) -> int:
    text = found.values.get(_FRAMES, b"").strip(b" \0") or b"1"
    if not re.fullmatch(rb"\+?[0-9]{1,10}", text):
        message = "NumberOfFrames malformed"
        raise NotUnderstood(message)
    return int(text)


def _encodings(raw: bytes) -> list[str]:
    terms = [term.strip() for term in raw.decode("ascii", "replace").rstrip("\0 ").split("\\")]
    known = [term for term in terms if term in python_encoding]
    return convert_encodings(known or ["ISO_IR 100"])  # an unknown set: at least every byte has a letter


def _text(raw: bytes, encodings: list[str]) -> str:
    """Decoded, first value only, without padding and control characters (a database may refuse those)."""
    try:
        plain = len(encodings) == 1 or (raw.isascii() and b"\x1b" not in raw)
        text = raw.decode(encodings[0]) if plain else decode_bytes(raw, encodings, _DELIMITERS)
    except (LookupError, UnicodeError, UserWarning):
        text = raw.decode("latin-1")  # Latin-1 bytes under another label are the usual fault
    return "".join(letter for letter in text.split("\\")[0] if letter.isprintable()).strip()
