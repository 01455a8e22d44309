"""docs/operations.md and the unit of systemd tell the truth."""

import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from service import supervisor
from service.__main__ import main
from tests.unit.web.rows import serving, site

ROOT = Path(__file__).parents[2]
UNIT = (ROOT / "deploy/dentgate.service").read_text(encoding="utf-8")
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def setting(name: str) -> str:
    """The value of a line of the unit."""
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return str(value)


def test_the_unit_is_one(tmp_path: Path) -> None:
    """The tool of systemd finds nothing wrong with it, but for the program that is not installed here."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze on this machine")
    copy = tmp_path / "dentgate.service"
    copy.write_text(UNIT.replace(setting("ExecStart"), "/bin/true"), encoding="utf-8")
    done = subprocess.run([tool, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_waits_for_an_orderly_stop() -> None:
    """It gives the supervisor and the broker all the time that they may take."""
    broker_seconds = 10.0  # EmbeddedBroker.stop
    assert float(setting("TimeoutStopSec")) > supervisor.STOP_SECONDS + broker_seconds
    assert setting("KillMode") == "mixed", "else its processes are stopped beside it"


def test_commands_of_the_page_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Every `dentgate` command with its options, of page and unit, is understood."""
    lines = [setting("ExecStart").partition("bin/")[2], *re.findall(r"`(dentgate [^`\n]+)`", PAGE)]
    lines += re.findall(r"^dentgate [a-z].*$", PAGE, re.MULTILINE)
    used: dict[str, set[str]] = {}
    for line in lines:
        used.setdefault(line.split()[1], set()).update(re.findall(r"--[a-z-]+", line.partition("#")[0]))
    assert len(used) > 5
    for command, options in used.items():
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0, command
        assert options <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out)), command


def test_metrics_of_the_page_are_those_that_there_are(tmp_path: Path) -> None:
    """The page names every metric, and none that is not there."""
    made = site(
        tmp_path, source=[{"ae_title": "PANO1"}], destination=[{"name": "pacs", "url": "dicom://A@127.0.0.1:4"}]
    )
    with serving(made.app()) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        there = set(re.findall(r"^(dentgate_\w+)", client.get("/metrics").text, re.MULTILINE))
    made.db.close()
    assert set(re.findall(r"`(dentgate_\w+)", PAGE)) == there
