"""Options of the fault suite: the seed is printed with every failure, counts and minutes can be raised.

They are known where this folder is named on the command line (``make faults``); elsewhere the short values hold.
"""

import sys
from collections.abc import Callable, Iterator

import pytest

from tests.faults.clinic import Clinic, clinic

SEED, MINUTES = 20261121, 30.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of pytest."""
    group = parser.getgroup("faults")
    group.addoption("--seed", type=int, default=SEED, help=f"of everything random, default {SEED}")
    group.addoption("--kills", type=int, default=200, help="kill -9 of processes in the long run, default 200")
    group.addoption("--minutes", type=float, default=MINUTES, help=f"of the soak, default {MINUTES:g}")


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Writes a line of figures where a person sees it, captured output or not."""
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def write(figures: object) -> None:
        line = f"\n{request.node.name}: {figures}"
        with capture.global_and_fixture_disabled():
            if terminal is None:  # one of several processes; what it writes here goes where the first one writes
                print(line, file=sys.stderr)  # noqa: T201 - figures
            else:
                terminal.write_line(line)

    return write


@pytest.fixture
def seed(request: pytest.FixtureRequest, tell: Callable[[object], None]) -> int:
    """The seed, told: ``--seed`` takes it."""
    value = int(request.config.getoption("seed", SEED))
    tell(f"seed {value}")
    return value


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """One clinic for the tests of peers and lines; each leaves its lines in order."""
    with clinic(tmp_path_factory.mktemp("hospital")) as running:
        yield running


@pytest.fixture
def well(hospital: Clinic) -> Iterator[Clinic]:
    """The same with everything in order, before and after."""
    yield hospital
    hospital.pacs.refuse = hospital.pacs.abort = 0
    hospital.pacs.slow = 0.0
    hospital.pacs_line.target = hospital.pacs.port
    hospital.pacs_line.times = hospital.desk.times = 0
    hospital.desk.writes_only = True
