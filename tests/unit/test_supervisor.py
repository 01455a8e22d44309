"""`dentgate up` keeps its processes running and leaves none behind."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from service.supervisor import Child, Supervisor
from tests.gateway import ROOT

LASTING = "import sys, time, pathlib; pathlib.Path(sys.argv[1]).open('a').write('x'); time.sleep({})"


def starts(path: Path) -> int:
    """How often a child was started."""
    return len(path.read_text()) if path.exists() else 0


def child(path: Path, seconds: float) -> Child:
    """A process that notes its start and ends after some seconds."""
    return Child("probe", [sys.executable, "-c", LASTING.format(seconds), str(path)], os.environ)  # noqa: TID251


def run_for(children: list[Child], seconds: float) -> None:
    """Supervise for a while, then stop."""
    stop = threading.Event()
    threading.Timer(seconds, stop.set).start()
    Supervisor(children).run(stop)


def test_a_child_that_ends_is_started_again(tmp_path: Path) -> None:
    """A process that dies comes back, and one that dies at once comes back ever more slowly."""
    run_for([child(tmp_path / "starts", 0.0)], 4.0)
    assert starts(tmp_path / "starts") == 2


def test_stopping_ends_the_children(tmp_path: Path) -> None:
    """After the stop no child runs any more, long before it would have ended by itself."""
    started = time.monotonic()
    run_for([child(tmp_path / "starts", 60.0)], 1.0)
    assert time.monotonic() - started < 10
    assert starts(tmp_path / "starts") == 1


def test_a_child_ends_with_its_parent() -> None:
    """A process told its parent's pid ends when that parent was killed."""
    code = (
        "import subprocess, sys, os;"
        "inner = 'import sys, time; from service.supervisor import end_with_parent;"
        "end_with_parent(int(sys.argv[1])); time.sleep(60)';"
        "p = subprocess.Popen([sys.executable, '-c', inner, str(os.getpid())]); print(p.pid, flush=True); p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(1.0)
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()
