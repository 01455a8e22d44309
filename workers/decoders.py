"""Which decoder reads which transfer syntax, and the stored values they give.

Times are medians for a 2880 x 1504 image of 12 bits, all bit-exact. pylibjpeg-libjpeg is not used: its licence is GPL.
Compressed streams are decoded in a process apart, see ``decoding_process``.
"""

import atexit
import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import warnings
from enum import StrEnum
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from service.domain.errors import Declined, Transient
from workers import decoding_process
from workers.decoding_process import receive, send

#: Time limits of decoding one image, by the clock and of the processor: a constant, and a share for its size. A busy
#: host is not the stream's fault; the slowest decoder takes some 0.2 s of the processor for a million pixels.
SECONDS, CPU_SECONDS, PIXELS_PER_SECOND = 20.0, 1.0, 2e6

#: Transfer syntax -> (decoder, why this one). An empty decoder: the bytes are the values.
DECODERS: dict[UID, tuple[str, str]] = {
    ImplicitVRLittleEndian: ("", "6 ms, numpy over the bytes"),
    ExplicitVRLittleEndian: ("", "6 ms, numpy over the bytes"),
    ExplicitVRBigEndian: ("", "numpy over the bytes, swapped"),
    DeflatedExplicitVRLittleEndian: ("", "zlib of the standard library"),
    JPEGBaseline8Bit: ("gdcm", "the only one that is also right for JPEG lossless"),
    JPEGExtended12Bit: ("gdcm", "the only one under a free licence that reads 12 bits"),
    JPEGLossless: ("gdcm", "251 ms; pylibjpeg-libjpeg 394 ms and GPL"),
    JPEGLosslessSV1: ("gdcm", "251 ms; pylibjpeg-libjpeg 394 ms and GPL"),
    JPEGLSLossless: ("pyjpegls", "150 ms; gdcm 241 ms"),
    JPEGLSNearLossless: ("pyjpegls", "150 ms; gdcm 241 ms"),
    JPEG2000Lossless: ("gdcm", "609 ms; pylibjpeg-openjpeg 802 ms, pillow 845 ms"),
    JPEG2000: ("gdcm", "609 ms; pylibjpeg-openjpeg 802 ms, pillow 845 ms"),
    HTJ2KLossless: ("pylibjpeg", "OpenJPEG 2.5 reads high throughput, gdcm does not"),
    HTJ2KLosslessRPCL: ("pylibjpeg", "OpenJPEG 2.5 reads high throughput, gdcm does not"),
    HTJ2K: ("pylibjpeg", "OpenJPEG 2.5 reads high throughput, gdcm does not"),
    RLELossless: ("pylibjpeg", "pylibjpeg-rle is compiled; pydicom's own takes 145 ms"),
}


class Cells(StrEnum):
    """What a decoder gives."""

    STORED = "stored"  #: the cells as they are laid out in memory: High Bit tells where the value lies
    NUMBERS = "numbers"  #: values; what lies above Bits Stored belongs to something else
    LOSSY = "lossy"  #: values that may be a little beyond the brightest that there is, which is white and not black


_CELLS = {
    RLELossless: Cells.STORED,
    JPEG2000: Cells.LOSSY,
    HTJ2K: Cells.LOSSY,
    JPEGLSNearLossless: Cells.LOSSY,
    JPEGBaseline8Bit: Cells.LOSSY,
    JPEGExtended12Bit: Cells.LOSSY,
}


def decode(ds: Dataset) -> NDArray[Any]:
    """The stored values (rows, columns), or (rows, columns, 3) as RGB for three samples per pixel.

    Raises:
        Declined: there is no decoder for the transfer syntax, or the stream is damaged.
        Transient: the host is in trouble, so nothing is known about the stream.
    """
    syntax = UID(str(ds.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian)))
    if syntax not in DECODERS:
        message = f"no decoder for transfer syntax {syntax.name}"
        raise Declined(message)
    plugin, _ = DECODERS[syntax]
    try:
        if plugin:
            with _ASKING:
                child = _child(os.getpid())
            array = child.decode(_request(ds, syntax, plugin), ds.PixelData)
            return _plain(array, ds, _CELLS.get(syntax, Cells.NUMBERS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of excess bytes; the values are what counts
            # bytes beyond the one frame are no second one; pydicom's mask forgets High Bit
            array, _ = get_decoder(syntax).as_array(
                ds,
                index=0,
                correct_unused_bits=False,  # type: ignore[arg-type] # annotated as a dictionary of options
            )
    except DecoderEnded as error:
        message = f"the decoder cannot read the pixel stream ({syntax.name})"
        raise Declined(message) from error
    except (DecodingError, ValueError, TypeError, AttributeError, KeyError) as error:
        message = f"the pixel data ({syntax.name}) cannot be decoded: the stream is damaged or cut off"
        raise Declined(message) from error
    return _plain(array, ds, Cells.STORED)


def _request(ds: Dataset, syntax: UID, plugin: str) -> dict[str, Any]:
    request = {
        "transfer_syntax": str(syntax),
        "decoding_plugin": plugin,
        "rows": int(ds.Rows),
        "columns": int(ds.Columns),
        "samples_per_pixel": int(ds.SamplesPerPixel),
        "bits_allocated": int(ds.BitsAllocated),
        "bits_stored": int(ds.BitsStored),
        "pixel_representation": int(ds.PixelRepresentation),
        "photometric_interpretation": str(ds.PhotometricInterpretation),
        "pixel_keyword": "PixelData",
        "number_of_frames": 1,
        "correct_unused_bits": False,  # done here, with High Bit
    }
    if ds.SamplesPerPixel > 1:
        request["planar_configuration"] = int(ds.get("PlanarConfiguration") or 0)
    return request


class DecodingError(Exception):
    """The decoding process says that it cannot decode the stream."""


class DecoderEnded(Exception):  # noqa: N818 - what happened; whose fault it is must be found out
    """The decoding process ended while it had the stream: killed from outside, or by the stream itself.

    Args:
        late: it had used up its time of the processor, so it was the stream.
    """

    def __init__(self, *, late: bool) -> None:
        """Keep it."""
        super().__init__()
        self.late = late


class DecodingProcess:
    """Our side of ``decoding_process``: started when first needed, and again after a stream that ended it."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, request: dict[str, Any], data: bytes) -> NDArray[Any]:
        """The decoded values.

        A process that ends may have been the victim of others (out of memory): a fresh one gets the same stream.

        Raises:
            DecodingError: the decoder gave an error.
            DecoderEnded: two processes ended, or used up their time of the processor, on this stream.
            Transient: the process could not be started, reports trouble of the host, or gave no answer in time.
        """
        share = request["rows"] * request["columns"] / PIXELS_PER_SECOND
        seconds = SECONDS + share
        request = request | {"cpu_seconds": CPU_SECONDS + share}
        with self._lock:
            try:
                header, body = self._ask(request, data, seconds)
            except DecoderEnded as ended:
                if ended.late:
                    raise
                header, body = self._ask(request, data, seconds)
            if "trouble" in header:
                self._end()  # what it failed to import stays missing in it
                message = f"the decoder cannot work now: {header['trouble']}"
                raise Transient(message)
        if "error" in header:
            raise DecodingError(header["error"])
        return np.frombuffer(body, header["dtype"]).reshape(header["shape"])

    def _ask(self, request: dict[str, Any], data: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        process = self._started()
        stopped = threading.Event()

        def stop() -> None:
            stopped.set()
            process.kill()

        late = threading.Timer(seconds, stop)
        try:
            late.start()
            send(cast("BinaryIO", process.stdin), request, data)
            return receive(cast("BinaryIO", process.stdout))
        except (OSError, EOFError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)  # it may still be ending by itself, and how it ended is what matters
            self._end()
            if stopped.is_set():
                message = f"the decoder took more than {seconds:.0f} s"
                raise Transient(message) from error
            raise DecoderEnded(late=process.returncode == -signal.SIGPROF) from error
        except (
            BaseException
        ):  # a time limit of the worker struck in the middle of a message: the pipe is of no more use
            self._end()
            raise
        finally:
            late.cancel()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is None:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own file, run by our own interpreter
                    [sys.executable, "-P", decoding_process.__file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,  # chatter of native libraries on damaged streams
                    start_new_session=True,  # Ctrl-C is for us; the process ends with its input
                )
            except OSError as error:  # no memory, no process or no descriptor left
                message = f"the decoder could not be started: {error.strerror or type(error).__name__}"
                raise Transient(message) from error
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(OSError):  # what was not flushed is lost with the process
                self._process.communicate()
            self._process = None

    def close(self) -> None:
        """End the process; a later ``decode`` starts another."""
        with self._lock:
            self._end()


_ASKING = threading.Lock()  # threads that ask for the first time at once must get the same process


@functools.cache
def _child(pid: int) -> DecodingProcess:  # noqa: ARG001 - a forked worker MUST NOT share the pipe of its parent
    """The decoding process of this process."""
    process = DecodingProcess()
    atexit.register(process.close)
    return process


def _plain(array: NDArray[Any], ds: Dataset, cells: Cells) -> NDArray[Any]:
    """The values alone: bits beyond Bits Stored may hold old overlays (PS3.5 8.1.1)."""
    allocated, stored = array.dtype.itemsize * 8, int(ds.BitsStored)
    shift = max(int(ds.get("HighBit", stored - 1)) - stored + 1, 0) if cells is Cells.STORED else 0
    if stored >= allocated and not shift:
        return array
    if cells is Cells.LOSSY and not ds.PixelRepresentation:
        return array.clip(max=2**stored - 1)
    up = allocated - stored - shift  # to the top, so that the sign bit is where numpy expects it
    return (array << up) >> (allocated - stored)
