"""The log of a training: log.jsonl, and TensorBoard where it is installed."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any, Self


class Journal:
    """Writes one line per epoch. Use in a ``with`` statement."""

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
        """One epoch: its number and what was measured."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in line.items():
                if name != "epoch":
                    self._board.add_scalar(name, value, int(line["epoch"]))


def read_journal(out: Path) -> list[dict[str, float]]:
    """The lines of a log.jsonl: epoch, seconds, loss, and now and then val_loss and val_auc."""
    text = (out / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line]
