"""Our objects in dcmtk's archives: stored by our sender, fetched back by dcmtk's own client."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

from service.domain.result import Delivery
from service.export.store_scu import StoreScu
from service.results import WRITERS
from tests import servers
from tests.builders import destination_of, uid_of, xray
from tests.subjects import content_of, every_object, subject_of
from tests.validators import run, tool

AET = "DCMQR"


@contextmanager
def running(program: str, *options: str, port: int) -> Iterator[None]:
    """A server of dcmtk from its first C-ECHO to its end."""
    process = subprocess.Popen([tool(program), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while run("echoscu", "-aec", AET, "127.0.0.1", str(port)).returncode and time.monotonic() < deadline:
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Port of a running dcmqrscp, and the folder in which it keeps what it gets."""
    if not servers.isolated():
        pytest.skip("dcmqrscp listens on every interface, so it runs in a network namespace only (tests/isolated.sh)")
    folder = tmp_path_factory.mktemp("dcmqrscp")
    (folder / "kept").mkdir()
    port = servers.free_port()
    settings = folder / "dcmqrscp.cfg"
    settings.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\nHostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{AET} {folder / 'kept'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with running("dcmqrscp", "-c", str(settings), "+B", port=port):
        yield port, folder / "kept"


def test_every_object_comes_back_as_it_was_sent(archive: tuple[int, Path], tmp_path: Path) -> None:
    """Stored twice by C-STORE and fetched by C-GET, each object is there once, and is the same byte for byte."""
    port, kept = archive
    results = every_object("dcmqrscp")
    assert len(results) >= 10
    study = uid_of("dcmqrscp", "study")
    destination = StoreScu(destination_of(f"dicom://{AET}@127.0.0.1:{port}"), "DENTGATE")
    for _ in range(2):
        line = destination.deliver(Delivery(study, 1, results, 1))
        assert f"{len(results)} stored" in line
        assert len(list(kept.glob("*.dcm"))) == len(results)
    query = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    fetched = run("getscu", "-S", *query, "+B", "-od", tmp_path, "-aec", AET, "127.0.0.1", str(port))
    assert fetched.returncode == 0, fetched.stdout
    files = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in tmp_path.iterdir()}
    assert set(files) == {result.name for result in results}
    for result in results:
        assert content_of(files[result.name].read_bytes()) == content_of(result.content), result.kind


def test_a_label_map_arrives_as_it_was_sent(tmp_path: Path) -> None:
    """Where an archive takes SOP classes that are younger than itself, the label map is stored byte for byte."""
    if not servers.isolated():
        pytest.skip("storescp listens on every interface, so it runs in a network namespace only (tests/isolated.sh)")
    (label_map,) = WRITERS["seg-labelmap"](subject_of(xray(seed="label map")))
    port = servers.free_port()
    with running("storescp", "--promiscuous", "+B", "-od", str(tmp_path), str(port), port=port):
        destination = StoreScu(destination_of(f"dicom://STORESCP@127.0.0.1:{port}"), "DENTGATE")
        assert "1 stored" in destination.deliver(Delivery("1.2.3", 1, [label_map], 1))
    (file,) = (path for path in tmp_path.iterdir() if label_map.name in path.name)
    assert content_of(file.read_bytes()) == content_of(label_map.content)
