"""The listener as dcmtk's senders see it: the tools that sites use to try out a new peer."""

import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import UID

from service.settings import SourceSettings
from tests import builders
from tests.unit.listener.conftest import Gateway, Start, gateway, start
from tests.unit.listener.raw_scu import VERIFICATION, RawScu, image, part10

__all__ = ["gateway", "start"]  # fixtures

#: option of storescu that proposes it
STORESCU = {
    "explicit": "-xe",
    "implicit": "-xi",
    "big-endian": "-xb",
    "deflated": "-xd",
    "jpeg-lossless-sv1": "-xs",
    "jpeg-baseline": "-xy",
    "jpeg-ls": "-xt",
    "jpeg-2000": "-xv",
    "rle": "-xr",
}


def dcmtk(tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a tool; pynetdicom puts others of the same name into a virtual environment, so take the system's."""
    binary = shutil.which(tool, path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if binary is None:
        pytest.skip(f"dcmtk's {tool} is not installed (apt install dcmtk)")
    words = [binary, "-v", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    return subprocess.CompletedProcess(words, done.returncode, done.stdout + done.stderr)


def written(folder: Path, name: str, bits: int = 8) -> Path:
    """A file of the panoramic in an encoding of ``builders.SYNTAXES``."""
    path = folder / f"{name}.dcm"
    path.write_bytes(builders.as_bytes(builders.xray(bits=bits, seed=name), builders.SYNTAXES[name]))
    return path


def test_echoscu_is_answered(gateway: Gateway) -> None:
    """Verification, several times, with a normal end and with an abort."""
    assert dcmtk("echoscu", "--repeat", 5, "127.0.0.1", gateway.port).returncode == 0
    dcmtk("echoscu", "--abort", "127.0.0.1", gateway.port)
    assert dcmtk("echoscu", "--propose-ts", 3, "127.0.0.1", gateway.port).returncode == 0


@pytest.mark.parametrize("name", STORESCU)
def test_storescu_stores_every_encoding_it_knows(gateway: Gateway, tmp_path: Path, name: str) -> None:
    """Success, and the stored file has the encoding and the content of the sent one."""
    path = written(tmp_path, name)
    done = dcmtk("storescu", STORESCU[name], "-aet", "PANO1", "127.0.0.1", gateway.port, path)
    assert done.returncode == 0, done.stdout
    (row,) = gateway.ledger.rows
    stored = pydicom.dcmread(gateway.root / row.storage_key)
    assert stored.file_meta.TransferSyntaxUID == builders.SYNTAXES[name]
    assert stored == pydicom.dcmread(path)
    assert row.calling_ae == "PANO1"


def test_dcmsend_stores_a_folder_of_mixed_encodings(gateway: Gateway, tmp_path: Path) -> None:
    """One association, many presentation contexts."""
    for name in builders.SYNTAXES:
        written(tmp_path, name)
    done = dcmtk("dcmsend", "--decompress-never", "--scan-directories", "127.0.0.1", gateway.port, tmp_path)
    assert done.returncode == 0, done.stdout
    assert len(gateway.ledger.rows) == len(builders.SYNTAXES)
    # what is not compressed dcmsend sends in the one native encoding it likes best
    compressed = {syntax for syntax in builders.SYNTAXES.values() if UID(syntax).is_compressed}
    assert compressed <= {row.transfer_syntax_uid for row in gateway.ledger.rows}


def test_a_stored_file_is_read_by_dcmtk(gateway: Gateway, tmp_path: Path) -> None:
    """Our preamble and file meta information are those of a DICOM file."""
    assert dcmtk("storescu", "127.0.0.1", gateway.port, written(tmp_path, "explicit", bits=12)).returncode == 0
    (row,) = gateway.ledger.rows
    done = dcmtk("dcmdump", gateway.root / row.storage_key)
    assert (done.returncode, "W:" in done.stdout, "E:" in done.stdout) == (0, False, False), done.stdout


def test_storescu_shows_why_an_object_was_refused(gateway: Gateway, tmp_path: Path) -> None:
    """The status is a failure of that object, and the reason stands in the response."""
    path = tmp_path / "nameless.dcm"
    path.write_bytes(part10(image(StudyInstanceUID=None)))
    done = dcmtk("storescu", "-d", "127.0.0.1", gateway.port, path)
    assert "0xc000" in done.stdout.lower(), done.stdout
    assert "StudyInstanceUID missing" in done.stdout
    assert not gateway.files()


def test_echoscu_shows_why_an_association_was_rejected(start: Start) -> None:
    """Each reason arrives as the words of the standard."""
    strict = start(accept_any_calling_ae=False, sources=[SourceSettings(ae_title="PANO1")])
    assert "Calling AE Title Not Recognized" in dcmtk("echoscu", "127.0.0.1", strict.port).stdout
    assert dcmtk("echoscu", "-aet", "PANO1", "127.0.0.1", strict.port).returncode == 0
    named = start(check_called_ae=True, root=strict.root)
    assert "Called AE Title Not Recognized" in dcmtk("echoscu", "-aec", "OTHER", "127.0.0.1", named.port).stdout
    full = start(max_associations=1, root=strict.root)
    with RawScu(full.port, [(VERIFICATION, ["1.2.840.10008.1.2"])]):
        assert "Local Limit Exceeded" in dcmtk("echoscu", "127.0.0.1", full.port).stdout


def test_storescu_can_abort_and_come_again(gateway: Gateway, tmp_path: Path) -> None:
    """An abort after the transfer keeps what was acknowledged."""
    path = written(tmp_path, "explicit")
    dcmtk("storescu", "--abort", "127.0.0.1", gateway.port, path)
    assert dcmtk("storescu", "127.0.0.1", gateway.port, path).returncode == 0
    assert len(gateway.ledger.rows) == 1


def test_storescu_with_the_largest_and_the_smallest_pdu(gateway: Gateway, tmp_path: Path) -> None:
    """Both ends of dcmtk's range."""
    path = written(tmp_path, "explicit", bits=12)
    for size in (4096, 131072):
        assert dcmtk("storescu", "--max-send-pdu", size, "127.0.0.1", gateway.port, path).returncode == 0
