"""Every transfer syntax gives the stored values; a damaged stream gives a reason, whatever it does to the decoder."""

import base64
import errno
import io
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pydicom
import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from PIL import Image as Picture
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import HTJ2K, JPEG2000, MPEG2MPML, UID, HTJ2KLossless, HTJ2KLosslessRPCL, JPEGBaseline8Bit

from service.domain.errors import Declined, Transient
from tests.builders import SYNTAXES, as_bytes, shapes, xray
from tests.gateway import ROOT
from workers import decoders
from workers.decoders import DECODERS, DecodingProcess, decode

#: No encoder at hand writes high-throughput JPEG 2000: this stream of 24 x 32 values is OpenJPH's (0.26).
HIGH_THROUGHPUT = """
/0//UQApQAAAAAAgAAAAGAAAAAAAAAAAAAAAIAAAABgAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQkJCQ
iIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAABF0AAf+TwAAmF/AFB3QAwAATQAATQAATAND5Awd0ALD7Awd0AFX0A4d0AMAAFVAABPAA
BOAtMB7YLv0BgrQAy+D8AKI0AC8CkgDCNADAABa0AAFrwAAWwIKwylTv4lZv3N0vi5Jp0gLOIEBZlwCEO0IsGEHnZFX6WBKPSOoAn3+MIAqYAKQXZ6aq
AXR8Kz+MRUmqcQH+B9cUIGM3AMAAF6VAABelQAAXpoA5zGiLCmkSd1PLIhukCCkI9OiEiCImGLoIUVsRD3RDEdrRlainfCIwhQv6ZhGxOgU/F2VBhFKG
ISQ9/AA5AS6CUKRiAWwIQFufADloyotOFBlh4sfbnbIcc5pHogwUZ3UYUm/8Ozg0t3Sg8iOdxBpRoW9mV4H+5immKQG2VYywLKAiEfDoCBJSTqclEcYg
EAQQA58Ac36+eyw6/xymtG5W2gSUjMqPjuWPjiO+Pbl8ma1N9Q+YYZ711AfDlBAMH8ZRZS/IdcWFT8l4gsSYQjLDzf4ADFI4SmPIkEBiCAAnPwDAAC+7
oAAX3vAAC+2AftTTqKhU9p1KpaL2AwPzPz3lT6WaSp2COhUVlSinTk2RIpVK5VQqqKiK6lEDwFiRqajw60//U6RMmTrldBSo/U2fOsW/tJSsoPaf/yXd
1JeKq8AazjpPMGXqNJWpUqagloo6yml/VE5pNdX8r0oAzgpX10pTiQIVpLK8JuUUVFOoUlFR7R//AQAByL/8RzVUSAUqpqjgIKZ+qaagwkpVmIrVnhqA
8LdUOLVTQQV//aJIlZKaQp1KRcu6gBXJfmsuKjl9EO5hu+G2XRYlBAzSxYeELKXy+9IiwRFS3pfJ7IxwhAZ5AIBX2GB1EQ90A/5OqfTnp9/UaVNUpEwx
BXXKfin8mUJtqp//NCo/1akpUqZKmTqFmkqlEiWKVFOoAFA1q0YlqtOopqZSoZ6eghq11Cgoamo6lZSnnU6F/3xPFVBlhVVTgZpKBVWUKP2hNn2air//
eL9/AOR/V9mUR600UuJPKin+pqSy76kpp0o5VQBOhcVTTMnq/wOA/wOA/0dVTkWFU5nuVP05FeUUFYIpUKRqpoputfKY1f22Sh4AKAQV+PdX4LR6qIqi
5EUFsp+ggBqV1S4VzDjdWJlxIrlx4/ihXCYzwYSjhXSrsnaed5Re/fu7uFF0YhAaWCIClkQgNIxjVQP6pZpqqtTUVKemntqv/1RT9TfVqf31TyV1an+p
9J/61FUCvOqu+v8kZaqppu7vlFP667+/qaakOjX1VPx/fwbIVQswV+l/WLX+WPWpSOmXOtWUqVLp/z//e78AVzWn4lRIhf2nOnVq6lRVzf9/f1X/H/8n
ypTUVE/tj6lIhalYNav2f5yKAJ3KqZjSn6lPmTI19ZT+p5rq2YAkGWSFeeoXUodHGQA//GEb16TO0YwHf+YyopBTzjg2OEKUk9ri17vJPCOJ9uerki3G
IQHfIggKnwiAdRIPcAT/2Q==
"""
RLE_REQUEST = {
    "transfer_syntax": SYNTAXES["rle"],
    "decoding_plugin": "pylibjpeg",
    "rows": 20,
    "columns": 30,
    "samples_per_pixel": 1,
    "bits_allocated": 16,
    "bits_stored": 12,
    "pixel_representation": 0,
    "photometric_interpretation": "MONOCHROME2",
    "pixel_keyword": "PixelData",
    "number_of_frames": 1,
}
LOSSLESS = [name for name in SYNTAXES if name != "jpeg-baseline"]
COMPRESSED = [name for name, syntax in SYNTAXES.items() if UID(syntax).is_encapsulated]


def read(content: bytes) -> pydicom.Dataset:
    """The data set of a file."""
    return pydicom.dcmread(io.BytesIO(content))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_syntaxes_are_exact(syntax: str, bits: int) -> None:
    """Every lossless syntax gives back the stored values, bit by bit."""
    stored = shapes(97, 132, bits)
    np.testing.assert_array_equal(decode(read(as_bytes(xray(stored, bits=bits), SYNTAXES[syntax]))), stored)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_signed_values_are_exact(syntax: str) -> None:
    """Negative values survive every lossless syntax."""
    stored = shapes(97, 132, 16).astype(np.int32) - 32768
    ds = xray(stored.astype(np.int16), bits=16)
    np.testing.assert_array_equal(decode(read(as_bytes(ds, SYNTAXES[syntax]))), stored)


@pytest.mark.parametrize("syntax", ["explicit", "big-endian", "rle"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high_bit", [11, 13, 15])
def test_the_high_bit_says_where_the_value_lies(syntax: str, high_bit: int, signed: bool) -> None:  # noqa: FBT001 - a parameter
    """Values of 12 bits at the top of their 16 bits, as older devices write them, are the same values (PS3.5 8.1.1)."""
    stored = shapes(97, 132).astype(np.int32) - (2048 if signed else 0)
    ours = 0xFFF << (high_bit - 11)
    cells = (stored << (high_bit - 11)) & ours | 0xFFFF & ~ours  # the other bits hold something else
    ds = read(as_bytes(xray(cells.astype(np.uint16), bits=16), SYNTAXES[syntax]))
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, high_bit, int(signed)
    np.testing.assert_array_equal(decode(ds), stored)


def test_a_little_brighter_than_white_is_white() -> None:
    """A lossy stream may ring beyond the bits that are stored; the brightest enamel must not turn black."""
    stored = np.where(shapes() > 2000, 4095, shapes()).astype(np.uint16)
    ds = read(as_bytes(xray(stored)))
    buffer = io.BytesIO()
    Picture.fromarray(stored).save(
        buffer, "JPEG2000", quality_mode="rates", quality_layers=[40], irreversible=True, no_jp2=True
    )
    ds.PixelData = encapsulate([buffer.getvalue()])
    ds.file_meta.TransferSyntaxUID = JPEG2000
    decoded = decode(ds)
    assert decoded.max() == 4095
    assert np.abs(decoded.astype(int) - stored).max() < 1000


def test_jpeg_baseline_is_close() -> None:
    """Lossy JPEG of 8 bits comes close to the original."""
    decoded = decode(read(as_bytes(xray(bits=8), JPEGBaseline8Bit)))
    assert np.abs(decoded.astype(int) - shapes(bits=8)).max() < 24


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_high_throughput_jpeg_2000_is_exact(syntax: UID) -> None:
    """High-throughput JPEG 2000 gives back the stored values."""
    y, x = np.mgrid[:24, :32]
    stored = ((x * 97 + y * 131 + (x * y) % 17 * 40) % 4096).astype(np.uint16)
    ds = read(as_bytes(xray(stored, bits=16)))
    ds.PixelData = encapsulate([base64.b64decode(HIGH_THROUGHPUT)])
    ds.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(decode(ds), stored)


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("damage", ["cut", "random", "empty", "burst"])
def test_a_damaged_stream_is_declined(syntax: str, damage: str) -> None:
    """A stream that is cut off, empty, overwritten or not of its kind at all never ends or stops the worker."""
    bits = 8 if syntax == "jpeg-baseline" else 12
    ds = read(as_bytes(xray(shapes(97, 132, bits), bits=bits), SYNTAXES[syntax]))
    stream = bytearray(next(generate_frames(ds.PixelData, number_of_frames=1)))
    rng = np.random.default_rng(3)
    third = len(stream) // 3
    match damage:
        case "cut":
            stream = stream[:third]
        case "random":
            stream = bytearray(rng.bytes(len(stream)))
        case "empty":
            stream = bytearray(2)
        case _:
            stream[20:third] = rng.bytes(third - 20)
    ds.PixelData = encapsulate([bytes(stream)])
    with pytest.raises(Declined, match=r"damaged or cut off|the decoder cannot read the pixel stream"):
        decode(ds)


@pytest.mark.parametrize(
    ("syntax", "position", "value"),
    [("jpeg-lossless-sv1", 6, 255), ("jpeg-lossless-sv1", 15, 0), ("jpeg-2000", 42, 255)],
)
def test_a_stream_that_ends_the_decoder_costs_one_image(syntax: str, position: int, value: int) -> None:
    """Streams on which gdcm ends its process are declined, and the next image is decoded."""
    good = as_bytes(xray(shapes(97, 132)), SYNTAXES[syntax])
    ds = read(good)
    stream = bytearray(next(generate_frames(ds.PixelData, number_of_frames=1)))
    stream[position] = value
    ds.PixelData = encapsulate([bytes(stream)])
    with pytest.raises(Declined, match="the decoder cannot read the pixel stream"):
        decode(ds)
    np.testing.assert_array_equal(decode(read(good)), shapes(97, 132))


def test_a_decoder_that_ended_is_started_again() -> None:
    """The decoding process may be killed at any time."""
    process = DecodingProcess()
    ds = read(as_bytes(xray(shapes(20, 30)), SYNTAXES["rle"]))
    for _ in range(2):
        np.testing.assert_array_equal(process.decode(RLE_REQUEST, ds.PixelData), shapes(20, 30))
        process.close()


def test_an_interrupted_worker_starts_another_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit that strikes while a worker waits for an image does not leave that image to the next one."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    process = DecodingProcess()
    ds = read(as_bytes(xray(shapes(20, 30)), SYNTAXES["rle"]))
    monkeypatch.setattr(decoders, "receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.decode(RLE_REQUEST, ds.PixelData)
    monkeypatch.undo()
    other = read(as_bytes(xray(shapes(20, 30) // 2), SYNTAXES["rle"]))
    np.testing.assert_array_equal(process.decode(RLE_REQUEST, other.PixelData), shapes(20, 30) // 2)
    process.close()


Start = Callable[..., list[str]]


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Give the test a decoding process of its own that starts given programs first; returns those still to start."""
    process, start = DecodingProcess(), subprocess.Popen

    def begin(*programs: str) -> list[str]:
        waiting = list(programs)

        def popen(arguments: list[str], **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401 - those of Popen
            return start([*arguments[:1], "-c", waiting.pop(0)] if waiting else arguments, **options)

        monkeypatch.setattr(decoders, "_child", lambda _pid: process)
        monkeypatch.setattr(subprocess, "Popen", popen)
        return waiting

    yield begin
    process.close()


WAITING = "import time; time.sleep(60)"
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
SPINNING = "import signal, sys; sys.stdin.buffer.read(1); signal.setitimer(signal.ITIMER_PROF, 0.3)\nwhile True: pass"
TROUBLED = (
    "import json, struct, sys; sys.stdin.buffer.read(1); head = json.dumps({'trouble': 'OSError'}).encode(); "
    "sys.stdout.buffer.write(struct.pack('>QQ', len(head), 0) + head); sys.stdout.flush(); sys.stdin.read()"
)


def test_a_decoder_that_is_killed_once_is_tried_again_at_once(starting: Start) -> None:
    """A decoder that ended for want of memory costs nothing: a fresh one gets the same bytes."""
    waiting = starting(KILLED)
    decoded = decode(read(as_bytes(xray(shapes(20, 30)), SYNTAXES["rle"])))
    np.testing.assert_array_equal(decoded, shapes(20, 30))
    assert not waiting


def test_a_decoder_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch, starting: Start) -> None:
    """A decoder that waits for a busy host says nothing about the stream: the image is tried again later."""
    starting(WAITING)
    ds = read(as_bytes(xray(shapes(20, 30)), SYNTAXES["rle"]))
    with monkeypatch.context() as hurry:
        hurry.setattr(decoders, "SECONDS", 0.3)
        with pytest.raises(Transient, match="took more than"):
            decode(ds)
    np.testing.assert_array_equal(decode(ds), shapes(20, 30))


@pytest.mark.parametrize(("program", "left"), [(KILLED, 1), (SPINNING, 2)])
def test_two_decoders_that_end_on_the_same_bytes_decide(starting: Start, program: str, left: int) -> None:
    """A stream that ends two decoders, or keeps a single one busy for ever, is declined; no other is started for it."""
    waiting = starting(program, program, program)
    ds = read(as_bytes(xray(shapes(20, 30)), SYNTAXES["rle"]))
    with pytest.raises(Declined, match="the decoder cannot read the pixel stream"):
        decode(ds)
    assert len(waiting) == left


LIMITED = """
import signal
from workers import decoding_process as process
asked = {"cpu_seconds": 0.3, "transfer_syntax": "1.2.840.10008.1.2.5", "bits_stored": 8}
process._decoded = lambda request, data: "decoded"
assert process._limited(dict(asked), b"") == "decoded"
assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
process._decoded = lambda request, data: [None for _ in iter(int, 1)]
process._limited(dict(asked), b"")
"""


def test_the_time_of_the_processor_is_limited() -> None:
    """A stream that is decoded for ever ends the process after its share of the processor; no other stream does."""
    done = subprocess.run([sys.executable, "-c", LIMITED], cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGPROF, done.stderr


def test_a_host_in_trouble_says_nothing_about_the_stream(starting: Start) -> None:
    """A decoder that reports that it cannot work (out of descriptors, a library that cannot be read) is Transient."""
    starting(TROUBLED)
    ds = read(as_bytes(xray(shapes(20, 30)), SYNTAXES["rle"]))
    with pytest.raises(Transient, match="OSError"):
        decode(ds)
    np.testing.assert_array_equal(decode(ds), shapes(20, 30))


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN])
def test_a_decoder_that_cannot_be_started_is_tried_later(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """No memory or no process left on the host is no fault of the image."""

    def popen(*_: object, **__: object) -> None:
        raise OSError(number, "no more")

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(Transient, match="could not be started"):
        DecodingProcess().decode(RLE_REQUEST, b"")


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded, MemoryError, lambda: OSError(errno.ESTALE, "stale")])
def test_passing_trouble_is_not_the_streams(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> None:
    """A time limit, want of memory or a storage that fails comes through as what it is."""

    def fail(_: object) -> None:
        raise error()

    monkeypatch.setattr(decoders, "get_decoder", fail)
    with pytest.raises(type(error())):
        decode(read(as_bytes(xray())))


def test_a_syntax_without_decoder_is_declined() -> None:
    """A transfer syntax that holds no single image is named in the reason."""
    ds = read(as_bytes(xray()))
    ds.file_meta.TransferSyntaxUID = MPEG2MPML
    with pytest.raises(Declined, match="no decoder for transfer syntax MPEG2"):
        decode(ds)


def test_every_choice_of_decoder_has_a_reason() -> None:
    """The table says why each decoder was chosen."""
    assert all(reason for _, reason in DECODERS.values())
