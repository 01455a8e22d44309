"""Each shipped network on this CPU: OpenVINO, as it serves, beside torch eager in the same run, and whether they agree.

Torch runs as loaded (channels first) and as the gateway runs it where there is no OpenVINO (channels last). The three
take turns, so that a busy moment of the machine hits them alike. Each takes one pass that is not timed before the one
that is: torch's threads spin for a while after their last pass and would hold the cores that the next one needs.

Use: python -m tests.benchmarks.engines [REPEATS]
"""

import functools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from workers.inference import Batch, open_network
from workers.models.bundle import BUNDLES, load_bundle
from workers.models.grad_cam import class_maps

_BATCHES = (1, 2, 4)  # one film; a film with its mirror image, as most are looked at; two films in a pass


def main(repeats: int = 9) -> None:
    """A line for each bundle and size of batch: images/s, their ratio to torch as loaded, the largest difference."""
    print(f"inference on {torch.get_num_threads()} threads; images/s, median of {repeats}; ratio: openvino / torch")
    print(f"{'':<22}{'batch':>6}{'torch':>9}{'ch. last':>10}{'openvino':>10}{'ratio':>7}{'largest difference':>20}")
    for path in sorted(BUNDLES.iterdir()):
        shape = _shape(path)
        if shape is None:
            continue
        plain = load_bundle(path).network.eval()
        last = open_network(load_bundle(path).network, shape, "cpu", "torch")
        network = load_bundle(path).network
        served = open_network(class_maps(network) or network, shape, "cpu", "openvino")
        for size in _BATCHES:
            batch = np.random.default_rng(0).standard_normal((size, *shape)).astype(np.float32)
            expected, output = last(batch), served(batch)
            output = output if output.ndim == expected.ndim else output.mean((2, 3))  # maps of a classifier
            differs = float(np.abs(output - expected).max() / max(1.0, float(np.abs(expected).max())))
            rates = _rates((functools.partial(_eager, plain), last, served), batch, repeats)
            print(f"{path.name:<22}{size:>6}{rates[0]:>9.1f}{rates[1]:>10.1f}{rates[2]:>10.1f}", end="")
            print(f"{rates[2] / rates[0]:>7.2f}{differs:>20.1e}")


def _eager(network: torch.nn.Module, batch: Batch) -> Batch:
    with torch.inference_mode():
        output: Batch = network(torch.from_numpy(batch)).numpy()
    return output


def _shape(path: Path) -> tuple[int, int, int] | None:
    """Channels, rows and columns of a bundle's input; None for one of several networks, which is no single engine."""
    bundle = load_bundle(path)
    given = bundle.metadata["network_data_format"]["inputs"]
    if len(given) != 1:
        return None
    ((_, image),) = given.items()
    rows, columns = image["spatial_shape"]
    return int(image["num_channels"]), int(rows), int(columns)


def _rates(runs: Sequence[Callable[[Batch], Batch]], batch: Batch, repeats: int) -> list[float]:
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, taken in zip(runs, seconds, strict=True):
            run(batch)
            started = time.perf_counter()
            run(batch)
            taken.append(time.perf_counter() - started)
    return [len(batch) / statistics.median(taken) for taken in seconds]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
