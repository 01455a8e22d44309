"""The process in which compressed pixel data are decoded: a damaged stream may end it, never a worker.

gdcm ends its process on some damaged streams (uncaught C++ exceptions), CharLS runs for ever on others. Run as a
program with a pipe on standard input and output; it imports nothing of Dentgate. A message is two lengths (8 bytes
each, big endian), a JSON header and a body. Request: what ``Decoder.as_array`` needs, how long the processor may work
on it, and the encapsulated pixel data. Reply: type and shape of the array and its bytes, ``{"error": ...}`` for a
stream that cannot be decoded, or ``{"trouble": ...}`` for a decoder that cannot work. It ends when its input is closed.
"""

import contextlib
import json
import os
import resource
import signal
import struct
import sys
import warnings
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTHS = struct.Struct(">QQ")
MEMORY_LIMIT = 6 << 30  #: bytes of address space: a stream that claims to be huge must not starve its neighbours


def send(stream: BinaryIO, header: dict[str, Any], *body: bytes | memoryview) -> None:
    """Write one message."""
    encoded = json.dumps(header).encode()
    stream.write(LENGTHS.pack(len(encoded), sum(len(part) for part in body)) + encoded)
    stream.writelines(body)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Read one message. Raises EOFError when the other side is gone."""
    header_length, body_length = LENGTHS.unpack(_exactly(stream, LENGTHS.size))
    header: dict[str, Any] = json.loads(_exactly(stream, header_length))
    return header, _exactly(stream, body_length)


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def main() -> None:
    """Answer requests until the input is closed."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a native library prints must not get between the replies
    if sys.platform == "linux":
        _limit(resource.RLIMIT_AS, MEMORY_LIMIT)
        _limit(resource.RLIMIT_CORE, 0)  # a core file would hold the image
    warnings.simplefilter("ignore")
    while True:
        try:
            request, data = receive(sys.stdin.buffer)
        except EOFError:
            return
        _answer(replies, request, data)


def _limit(kind: int, most: int) -> None:
    """Limit ourselves; a lower limit that the host has set stays."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _answer(replies: BinaryIO, request: dict[str, Any], data: bytes) -> None:
    with contextlib.suppress(ImportError):  # told where it is missed
        import pydicom.pixels.decoders.base  # noqa: F401, PLC0415 - takes longer than many a stream, and is not its fault
    try:
        array = _limited(request, data)
    except MemoryError:
        raise  # a fresh process may have room for it; if not, the stream claims too much
    except (ImportError, OSError) as error:  # pydicom hides what a decoder raises on a stream in a RuntimeError
        send(replies, {"trouble": type(error).__name__})
    except BaseException as error:  # noqa: BLE001 - pylibjpeg-rle raises Rust panics, which are no Exceptions
        send(replies, {"error": type(error).__name__})
    else:
        send(replies, {"dtype": array.dtype.str, "shape": array.shape}, array.tobytes())


def _limited(request: dict[str, Any], data: bytes) -> "NDArray[Any]":
    """A stream that is decoded for ever ends the process (SIGPROF); one that waits for the processor does not."""
    signal.setitimer(signal.ITIMER_PROF, request.pop("cpu_seconds"))
    try:
        return _twelve_bits(request, data) if _is_twelve_bits(request) else _decoded(request, data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _decoded(request: dict[str, Any], data: bytes) -> "NDArray[Any]":
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415 - the parent needs the messages only

    options = {key: value for key, value in request.items() if key != "transfer_syntax"}
    decoder = get_decoder(request["transfer_syntax"])
    if options["decoding_plugin"] not in decoder.available_plugins:
        raise ImportError
    return decoder.as_array(data, **options)[0]


def _is_twelve_bits(request: dict[str, Any]) -> bool:
    """JPEG Extended with more than 8 bits: pydicom does not hand it to gdcm, which decodes it as dcmtk does."""
    return bool(request["transfer_syntax"] == "1.2.840.10008.1.2.4.51" and request["bits_stored"] > 8)  # noqa: PLR2004


def _twelve_bits(request: dict[str, Any], data: bytes) -> "NDArray[Any]":
    import gdcm  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415
    from pydicom.encaps import generate_frames  # noqa: PLC0415

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(next(generate_frames(data, number_of_frames=1)))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    bits = request["bits_stored"]
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((request["columns"], request["rows"], 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(request["photometric_interpretation"])
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, request["pixel_representation"]))
    raw = image.GetBuffer().encode("utf-8", "surrogateescape")  # gdcm gives bytes as str
    return np.frombuffer(raw, "<i2" if request["pixel_representation"] else "<u2").reshape(
        request["rows"], request["columns"]
    )


if __name__ == "__main__":
    main()
