"""The log of a training: log.jsonl, and TensorBoard where it is installed."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any, Self

_CLOCKS = ("epoch", "step")


class Journal:
    """Writes one line per epoch, or every so many steps. Use in a ``with`` statement."""

    def __init__(self, out: Path, *, resumed: bool) -> None:
        """``out``: folder; ``resumed``: add to what is there."""
        self._file = (out / "log.jsonl").open("a" if resumed else "w", encoding="utf-8")
        self._board: Any = None
        if importlib.util.find_spec("tensorboard"):
            self._board = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(out / "tensorboard"))

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close both logs."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, line: dict[str, float]) -> None:
        """What was measured, with the number of its ``epoch`` or ``step``."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._board is not None:
            clock = next(name for name in _CLOCKS if name in line)
            for name, value in line.items():
                if name != clock:
                    self._board.add_scalar(name, value, int(line[clock]))


def read_journal(out: Path) -> list[dict[str, float]]:
    """The lines of a log.jsonl, of a classifier: epoch, seconds, loss, and now and then val_loss and val_auc."""
    text = (out / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line]
