"""Coverage-guided fuzzing of the parser edges with atheris."""

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.conftest import Effort
from tests.fuzz.guided import EDGES
from tests.gateway import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed (no wheel for this machine)"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Memory, where there is such a folder: fsync is not what is tested here."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of its own below it
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        yield Path(name)


def guided(edge: str, folder: Path, seed: int, runs: int) -> None:
    """That many runs without a finding."""
    command = [sys.executable, "-m", "tests.fuzz.guided", edge, str(folder / edge)]
    options = [f"-runs={runs}", f"-seed={seed}", f"-artifact_prefix={folder}/"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, check=False, timeout=3000)
    words = done.stderr.decode("utf-8", "replace")
    culprit = [path.read_bytes()[:400] for path in folder.glob("*-*") if path.is_file()]
    assert done.returncode == 0, f"{edge}, seed {seed}: {words[-3000:]} {culprit}"
    figures = re.findall(r"cov: (\d+).*|stat::number_of_executed_units: (\d+)|stat::peak_rss_mb: +(\d+)", words)
    covered, executed, peak = (max((int(each[at]) for each in figures if each[at]), default=0) for at in range(3))
    print(f"\n{edge}: seed {seed}, {executed} runs, {covered} places reached, peak {peak} MB")  # noqa: T201 - figures
    assert executed >= runs
    assert covered > 10


@pytest.mark.parametrize("edge", ["connection", "dataset"])
@pytest.mark.timeout(200)
def test_an_edge_is_searched(edge: str, folder: Path, effort: Effort) -> None:
    """A short search finds nothing."""
    guided(edge, folder, effort.seed, effort.inputs // 3)


@pytest.mark.long
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.timeout(3000)
def test_an_edge_is_searched_for_long(edge: str, folder: Path, effort: Effort) -> None:
    """Nor does a long one."""
    guided(edge, folder, effort.seed, effort.inputs // 10)
