"""Endless augmented batches of labelled spine films."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset

from workers.training.spine.augment import augment
from workers.training.spine.films import Film, load_films, read_manifest
from workers.training.spine.phantom import spine_phantom
from workers.training.spine.plan import DEVIATION, MEAN, Plan
from workers.training.spine.targets import dense_targets

Tensors = tuple[torch.Tensor, ...]

_PHANTOM_SEEDS = range(1_000_000, 1_000_000 + 120)  # far from those of demo and tests


class Stream(IterableDataset[Tensors]):
    """Endless augmented batches, made in the worker process of a DataLoader."""

    def __init__(self, data: Path, plan: Plan, seed: int, started: float) -> None:
        """``seed``: another one where a training goes on; ``started``: time.perf_counter() of its beginning."""
        self.data, self.plan, self.seed, self.started = data, plan, seed, started

    def __iter__(self) -> Iterator[Tensors]:
        """Batches of what ``tensors_of`` makes."""
        torch.set_num_threads(1)
        rng = np.random.default_rng(self.seed)
        films = load_films(read_manifest(self.data, "train"))
        order, seeds, drawn = _endless(len(films), rng), list(_PHANTOM_SEEDS), list[Film]()
        while True:
            if seeds and self.plan.phantom_share > 0:  # one with every batch: drawing all would hold up the start
                phantom = spine_phantom(seeds.pop())
                drawn.append(Film(phantom.pixels, phantom.corners))
            small = time.perf_counter() - self.started < 60 * self.plan.minutes * self.plan.small_share
            size = self.plan.small if small else self.plan.canvas
            parts = []
            for _ in range(self.plan.batch):
                chosen = bool(drawn) and rng.random() < self.plan.phantom_share
                film = drawn[int(rng.integers(len(drawn)))] if chosen else films[next(order)]
                parts.append(tensors_of(film, size, rng))
            yield tuple(torch.stack(group) for group in zip(*parts, strict=True))


def tensors_of(film: Film, size: tuple[int, int], rng: np.random.Generator) -> Tensors:
    """A random example of a film: pixels, heats, ways, tilt, votes; see ``targets.Targets``."""
    example = augment(film, size, rng)
    t = dense_targets(example.corners, size)
    return (example.pixels[0] - MEAN) / DEVIATION, t.heats, t.ways, t.tilt, t.votes


def _endless(count: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()
