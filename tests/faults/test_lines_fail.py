"""The network fails in every phase of an association and of a delivery; each study comes out once."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults import site
from tests.faults.clinic import Clinic
from tests.faults.lines import Line, Spoil, line_to
from tests.faults.modality import Modality

Tell = Callable[[object], None]
#: where a connection is spoilt: bytes passed before it, and whose. The request of a modality has some 200 bytes, the
#: command of C-STORE some 150, the data set some 20,000; our answers: AC some 180, C-STORE-RSP some 130.
PHASES = {
    "association": (60, True),
    "command": (300, True),
    "data": (9000, True),
    "acceptance": (40, False),
    "response": (200, False),
}


@pytest.fixture
def front(well: Clinic) -> Iterator[Line]:
    """A bad line before the listener."""
    with line_to(well.gateway.dicom_port) as line:
        yield line


@pytest.mark.timeout(300)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    "spoil", [Spoil.CUT, *(pytest.param(s, marks=pytest.mark.long) for s in (Spoil.RESET, Spoil.HOLE, Spoil.SLOW))]
)
def test_a_bad_line_from_the_modality(well: Clinic, front: Line, spoil: Spoil, phase: str) -> None:
    """The modality sends again what it heard no Success of; what it then has is one study with all its images."""
    after, upstream = PHASES[phase]
    front.will(spoil, after, upstream=upstream)
    modality = Modality(front.port, acknowledged=well.modality.acknowledged)
    if spoil in {Spoil.CUT, Spoil.RESET}:
        modality.answer_seconds = 3.0  # nothing comes any more
    study = well.send(f"front-{spoil}-{phase}", 2, modality)
    assert front.spoilt == 1
    seen = well.wait_images(study, 2)
    assert seen == 2


@pytest.mark.timeout(900)
def test_all_of_them_arrive(well: Clinic, tell: Tell) -> None:
    """After all that, every study that got Success is in PACS and record with all its results, once."""
    for study in well.modality.acknowledged:
        well.wait(study, "pacs", "done", 300)
        well.wait(study, "ehr", "done", 300)
    assert well.modality.acknowledged, "run with the tests above"
    everything = [study for study in well.pacs.objects() if study in well.modality.acknowledged]
    tell(f"{len(everything)} studies")
    assert set(everything) == set(well.modality.acknowledged)
    assert not site.wrong_in_record(well.ehr, everything)


@pytest.mark.timeout(300)
@pytest.mark.long
@pytest.mark.parametrize("phase", ["association", "data", "response"])
@pytest.mark.parametrize("spoil", [Spoil.CUT, Spoil.RESET, Spoil.HOLE, Spoil.SLOW])
def test_a_bad_line_to_the_pacs(well: Clinic, spoil: Spoil, phase: str, tell: Tell) -> None:
    """Objects are sent again, under the same UIDs; the PACS has each once."""
    after, upstream = {"association": (60, True), "data": (8000, True), "response": (300, False)}[phase]
    well.pacs_line.slow_bytes = 200_000  # the drawn picture has eight million
    well.pacs_line.will(spoil, after, upstream=upstream)
    began = time.monotonic()
    study = well.send(f"back-{spoil}-{phase}")
    well.wait(study, "ehr", "done")
    well.wait(study, "pacs", "done", 150)
    assert well.pacs_line.spoilt == 1
    well.once(study)
    tell(f"{time.monotonic() - began:.1f} s")


@pytest.mark.timeout(300)
def test_half_open_associations_and_500_idle_connections(well: Clinic, tell: Tell) -> None:
    """500 connections that say nothing, or the first half of an association request, keep no neighbour out for long."""
    idle: list[socket.socket] = []
    try:
        for number in range(500):
            connection = socket.create_connection(("127.0.0.1", well.gateway.dicom_port), timeout=5)
            if number % 2:
                connection.sendall(b"\x01\0\0\0\1\0\0\1\0\0")
            idle.append(connection)
        began = time.monotonic()
        study = well.send("neighbour")
        served = time.monotonic() - began
    finally:
        for connection in idle:
            connection.close()
    well.wait(study, "pacs", "done")
    well.wait(study, "ehr", "done")
    well.once(study)
    tell(f"a neighbour's study was taken after {served:.1f} s")
