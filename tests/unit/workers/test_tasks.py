"""What a worker process brings into memory."""

import subprocess
import sys
from pathlib import Path

import pytest

_LOADED = """
import sys
from pathlib import Path
from service.settings import load_settings
from workers.tasks import worker_app
worker_app(load_settings(None, Path(sys.argv[1])), sys.argv[2:])
print(*sorted({"torch", "monai"} & set(sys.modules)))
"""


@pytest.mark.parametrize(("stages", "loaded"), [(["report", "deliver", "commit"], ""), (["analyze"], "monai torch")])
def test_only_who_analyzes_loads_torch(tmp_path: Path, stages: list[str], loaded: str) -> None:
    """A worker that reports and delivers starts without torch; one that analyzes has it before its pool forks."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, str(tmp_path), *stages], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == loaded
