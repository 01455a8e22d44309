"""Each shipped network on this CPU: OpenVINO, as it serves, beside torch eager in the same run, and whether they agree.

Use: python -m tests.benchmarks.engines [REPEATS]
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from workers.inference import Runner, open_network
from workers.models.bundle import BUNDLES, load_bundle

_BATCHES = (1, 4)


def main(repeats: int = 9) -> None:
    """A line for each bundle and size of batch: images/s of both engines, their ratio, the largest difference."""
    print(f"inference on {torch.get_num_threads()} threads; images/s, median of {repeats}")
    print(f"{'':<22}{'batch':>6}{'torch eager':>13}{'openvino':>10}{'ratio':>7}{'largest difference':>20}")
    for path in sorted(BUNDLES.iterdir()):
        shape = _shape(path)
        if shape is None:
            continue
        eager = open_network(load_bundle(path).network, shape, "cpu", "torch")
        served = open_network(load_bundle(path).network, shape, "cpu", "openvino")
        for size in _BATCHES:
            batch = np.random.default_rng(0).standard_normal((size, *shape)).astype(np.float32)
            expected = eager(batch)
            differs = float(np.abs(served(batch) - expected).max() / max(1.0, float(np.abs(expected).max())))
            slow, fast = _rate(eager, batch, repeats), _rate(served, batch, repeats)
            print(f"{path.name:<22}{size:>6}{slow:>13.1f}{fast:>10.1f}{fast / slow:>7.2f}{differs:>20.1e}")


def _shape(path: Path) -> tuple[int, int, int] | None:
    """Channels, rows and columns of a bundle's input; None for one of several networks, which is no single engine."""
    bundle = load_bundle(path)
    given = bundle.metadata["network_data_format"]["inputs"]
    if len(given) != 1:
        return None
    ((_, image),) = given.items()
    rows, columns = image["spatial_shape"]
    return int(image["num_channels"]), int(rows), int(columns)


def _rate(run: Runner, batch: np.ndarray[tuple[int, ...], np.dtype[np.float32]], repeats: int) -> float:
    seconds = []
    run(batch)
    for _ in range(repeats):
        started = time.perf_counter()
        run(batch)
        seconds.append(time.perf_counter() - started)
    return len(batch) / statistics.median(seconds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
