"""JPEG streams (ISO/IEC 10918-1): what is in them, and the same picture without what does not belong into a record.

A phone writes its owner's place and a second, smaller picture into the file. ``clean`` keeps the coded picture bit by
bit and drops everything else, so no pixel is coded a second time.
"""

from dataclasses import dataclass

from service.domain.errors import NotUnderstood

_SOI, _EOI, _SOS, _APP0, _APP14, _COM = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE, 0xFE
_BASELINE = 0xC0
_FRAME_HEADER = 6  # bytes before the components, ISO/IEC 10918-1 B.2.2
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_RESTARTS = range(0xD0, 0xD8)
_TRUNCATED = "the JPEG picture is truncated; export it again and send the whole file"


@dataclass(frozen=True, slots=True)
class JpegStream:
    """What a JPEG file holds.

    Attributes:
        baseline: coded as baseline, 8 bits for a sample: may go into DICOM as it is (PS3.5 8.2.1).
        components: 1 grey, 3 colour, 4 printer's colours.
        subsampled: colour differences have fewer samples than brightness.
        adobe_transform: 0 stored as RGB, 1 as YCbCr, None where the file does not say (then YCbCr).
        clean: the stream from SOI to EOI without comments, EXIF, profiles, thumbnails and what followed the picture.
    """

    rows: int
    columns: int
    components: int
    baseline: bool
    subsampled: bool
    adobe_transform: int | None
    clean: bytes


def read_jpeg(content: bytes) -> JpegStream:
    """Walk through the segments. Raises NotUnderstood when the stream is damaged or has no end."""
    kept = [content[:2]]
    frame: bytes | None = None
    marker, frame_marker, adobe, place = 0, 0, None, 2
    while marker != _EOI:
        marker, start, end = _segment(content, place)
        if marker in _FRAMES and frame is None:
            frame, frame_marker = content[start + 4 : end], marker
        if marker == _APP14 and content[start + 4 : start + 9] == b"Adobe" and end - start >= 16:  # noqa: PLR2004
            adobe = content[start + 15]
        if marker == _SOS:
            end = _scan_end(content, end)
        if not (_APP0 < marker < _APP14 or _APP14 < marker <= 0xEF or marker == _COM):  # noqa: PLR2004 - APP15
            kept.append(content[start:end])
        place = end
    if frame is None or len(frame) < _FRAME_HEADER or len(frame) < _FRAME_HEADER + 3 * frame[5]:
        raise NotUnderstood(_TRUNCATED)
    sampling = [frame[7 + 3 * index] for index in range(frame[5])]
    return JpegStream(
        rows=int.from_bytes(frame[1:3], "big"),
        columns=int.from_bytes(frame[3:5], "big"),
        components=frame[5],
        baseline=frame_marker == _BASELINE and frame[0] == 8,  # noqa: PLR2004 - bits for a sample
        subsampled=len(set(sampling)) > 1,
        adobe_transform=adobe,
        clean=b"".join(kept),
    )


def _segment(content: bytes, place: int) -> tuple[int, int, int]:
    """Marker, start and end of the segment at ``place``; fill bytes before it are skipped."""
    if place + 2 > len(content) or content[place] != 0xFF:  # noqa: PLR2004 - every marker begins so
        raise NotUnderstood(_TRUNCATED)
    while place + 1 < len(content) and content[place + 1] == 0xFF:  # noqa: PLR2004 - a fill byte
        place += 1
    marker = content[place + 1] if place + 1 < len(content) else 0
    if marker == _EOI or marker in _RESTARTS:
        return marker, place, place + 2
    length = int.from_bytes(content[place + 2 : place + 4], "big")
    if length < 2 or place + 2 + length > len(content):  # noqa: PLR2004 - the length counts itself
        raise NotUnderstood(_TRUNCATED)
    return marker, place, place + 2 + length


def _scan_end(content: bytes, place: int) -> int:
    """Where the coded data of a scan ends: the next marker that is neither a stuffed byte nor a restart."""
    while True:
        place = content.find(b"\xff", place)
        if place < 0 or place + 1 >= len(content):
            raise NotUnderstood(_TRUNCATED)
        following = content[place + 1]
        if following not in {0, 0xFF} and following not in _RESTARTS:
            return place
        place += 1 if following == 0xFF else 2  # noqa: PLR2004 - a fill byte may stand before a marker
