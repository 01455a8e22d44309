"""``dentgate models``."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from service.domain.finding import Algorithm
from tests.unit.test_commands import own_logging, run
from workers.models import shipped

__all__ = ["own_logging"]  # a fixture that stands for itself


class Weightless:
    """A model that needs no time to load."""

    name = "weightless"

    def load(self, _device: str) -> SimpleNamespace:
        """What the command asks for."""
        return SimpleNamespace(algorithm=Algorithm(self.name, "0.1.0", "ab" * 32, "Dentgate", research=True))


def test_models_say_where_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each model with its version, its weights, the device that it runs on, and whether it is for research."""
    monkeypatch.setattr(shipped, "MODELS", (Weightless(),))
    assert run(tmp_path, "models", text='[analysis]\ndevice = "cpu"\n') == 0
    assert capsys.readouterr().out == "ok    weightless 0.1.0, weights abababababab, on cpu, research model\n"
    assert run(tmp_path, "models", text='[analysis]\ndevice = "cuda:99"\n') == 1
    assert "FAIL  weightless: analysis.device is 'cuda:99'" in capsys.readouterr().out
