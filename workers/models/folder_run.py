"""A bundle run by MONAI's own tool over a folder: what ``run`` in ``configs/inference.json`` names.

``python -m monai.bundle run`` (or ``monai.bundle.run`` in Python) builds these. MONAI's own evaluators need ignite,
which does not come with Dentgate; this one needs nothing else.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from service.domain.errors import ConfigurationError
from workers.models.picture_files import PICTURES, is_dicom

ANSWERS = "predictions.csv"
Predict = Callable[[torch.Tensor, nn.Module], torch.Tensor]


def pictures(folder: str) -> list[dict[str, str]]:
    """All pictures and DICOM files in a folder and those below, as MONAI's Dataset takes them.

    Returns:
        ``image``, which becomes the network's input, and ``file``, which stays its name.

    Raises:
        ConfigurationError: there are none.
    """
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith("."))
    found = [
        {"image": str(path), "file": str(path)} for path in files if path.suffix.lower() in PICTURES or is_dicom(path)
    ]
    if not found:
        message = f"{folder} holds no pictures and no DICOM files; name their folder with --dataset_dir"
        raise ConfigurationError(message)
    return found


class FolderEvaluator:
    """Shows the network every image of a folder and writes down what it says."""

    def __init__(  # noqa: PLR0913 - the names that MONAI's evaluators have
        self,
        *,
        dataset: Iterable[Mapping[str, Any]],
        network: nn.Module,
        weights: str,
        inferer: Predict,
        device: torch.device,
        output_dir: str,
        postprocessing: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        """Read the weights.

        Args:
            dataset: each with ``image``, the network's input, and under ``file`` where it comes from.
            network: without weights.
            weights: its state dict.
            inferer: runs it.
            device: where.
            output_dir: made where it is not there.
            postprocessing: of ``pred``, for one image.
            classes: what its answers mean; empty = its answer is maps.
        """
        state = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict(state)  # half precision becomes what the network has
        self._network, self._device = network.eval().to(device), device
        self._dataset, self._inferer, self._postprocessing = dataset, inferer, postprocessing
        self._classes, self._output = tuple(classes), Path(output_dir)

    def run(self) -> dict[str, NDArray[np.float32]]:
        """The answer to each file.

        With classes they are probabilities (classes,), written as rows of ``predictions.csv``; else maps
        (channels, h, w), each written as ``.npy`` under the number of its file, which the table tells.
        """
        answers = {str(data["file"]): self._answer(data) for data in self._dataset}
        self._output.mkdir(parents=True, exist_ok=True)
        with (self._output / ANSWERS).open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow(["file", *(self._classes or ["maps"])])
            for number, (file, answer) in enumerate(answers.items()):
                if self._classes:
                    table.writerow([file, *(f"{value:.6f}" for value in answer)])
                else:
                    np.save(self._output / f"{number:05}.npy", answer)
                    table.writerow([file, f"{number:05}.npy"])
        return answers

    def _answer(self, data: Mapping[str, Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            said = self._inferer(data["image"][None].to(self._device), self._network)[0].cpu()
        after = self._postprocessing({"pred": said})["pred"] if self._postprocessing else said
        return np.asarray(after, np.float32)
