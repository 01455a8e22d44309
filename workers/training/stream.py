"""Endless augmented batches of labelled panoramics and phantoms."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset

from workers.training.augment import augment
from workers.training.panoramics import Sample, load_samples, phantom_samples, read_manifest
from workers.training.plan import DEVIATION, MEAN, Plan
from workers.training.targets import dense_targets

_PHANTOM_SEEDS = range(1_000_000, 1_000_000 + 240)  # far from those of demo and tests


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """Standardized pixels to roughly zero mean and unit variance."""
    return (pixels - MEAN) / DEVIATION


class Stream(IterableDataset[tuple[torch.Tensor, ...]]):
    """Endless augmented batches, made in the worker process of a DataLoader."""

    def __init__(self, data: Path, plan: Plan, started: float) -> None:
        """``started``: time.perf_counter() of the beginning, shared so that all switch the size together."""
        self.data, self.plan, self.started = data, plan, started

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Batches of pixels, classes, heat, offsets, number of centres."""
        torch.set_num_threads(1)
        rng = np.random.default_rng(self.plan.seed)
        real = load_samples(read_manifest(self.data, "train"))
        seeds, drawn = list(_PHANTOM_SEEDS), list[Sample]()
        order = _endless(len(real), rng)
        while True:
            if seeds and self.plan.phantom_share > 0:  # one more with every batch: drawing all would hold up the start
                drawn += phantom_samples([seeds.pop()])
            small = time.perf_counter() - self.started < 60 * self.plan.minutes * self.plan.small_share
            yield self._batch(real, drawn, order, self.plan.small if small else self.plan.large, rng)

    def _batch(
        self,
        real: list[Sample],
        drawn: list[Sample],
        order: Iterator[int],
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> tuple[torch.Tensor, ...]:
        pixels, targets = [], []
        for _ in range(self.plan.batch):
            phantom = bool(drawn) and rng.random() < self.plan.phantom_share
            sample = drawn[int(rng.integers(len(drawn)))] if phantom else real[next(order)]
            example = augment(sample, size, rng)
            pixels.append(normalize(example.pixels[0]))
            targets.append(dense_targets(example.classes[0]))
        return (
            torch.stack(pixels),
            torch.stack([t.classes for t in targets]),
            torch.stack([t.heat for t in targets]),
            torch.stack([t.offsets for t in targets]),
            torch.tensor(sum(t.centres for t in targets)),
        )


def _endless(count: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()
