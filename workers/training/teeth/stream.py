"""Endless augmented batches of labelled panoramics and phantoms."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset

from workers.training.teeth.augment import Example, augment
from workers.training.teeth.panoramics import Sample, load_samples, phantom_samples, read_manifest
from workers.training.teeth.plan import DEVIATION, MEAN, Plan
from workers.training.teeth.targets import dense_targets
from workers.training.teeth.transplant import transplant

_FULL = 28  # teeth
_HIDE = 0.6  # of the self-numbered films show their surround as it came, not as it was filled
_PHANTOM_SEEDS = range(1_000_000, 1_000_000 + 240)  # far from those of demo and tests


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """Standardized pixels to roughly zero mean and unit variance."""
    return (pixels - MEAN) / DEVIATION


class Stream(IterableDataset[tuple[torch.Tensor, ...]]):
    """Endless augmented batches, made in the worker process of a DataLoader."""

    def __init__(self, data: Path, plan: Plan, started: float, steps: int = 0) -> None:
        """A stream of a run.

        Args:
            data: folder of the labelled films.
            plan: of the run.
            started: time.perf_counter() of the beginning, shared so that all switch the size together.
            steps: done already, so that a resumed run sees new examples.
        """
        self.data, self.plan, self.started, self.steps = data, plan, started, steps

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Batches of pixels, classes, heat, offsets, number of centres, what is known."""
        torch.set_num_threads(1)
        rng = np.random.default_rng((self.plan.seed, self.steps))
        sources = self._sources(rng)
        while True:
            small = time.perf_counter() - self.started < 60 * self.plan.minutes * self.plan.small_share
            size = self.plan.small if small else self.plan.large
            yield collate([augment(next(sources), size, rng) for _ in range(self.plan.batch)])

    def _sources(self, rng: np.random.Generator) -> Iterator[Sample]:
        """Samples in the shares of the plan, without end."""
        plan = self.plan
        real = load_samples(read_manifest(self.data, "train"))
        full = [sample for sample in real if _teeth(sample) >= _FULL]
        few = [sample for sample in real if _teeth(sample) < _FULL] or full
        many, fewer = _endless(full or few, rng), _endless(few, rng)
        folder = Path(plan.numbered)
        numbered = load_samples(read_manifest(folder, "train"), _HIDE) if plan.numbered else []
        others, share = _endless(numbered, rng), plan.numbered_share if numbered else 0.0
        drawn = _phantoms(rng)
        while True:
            luck = rng.random()
            if luck < plan.phantom_share:
                yield next(drawn)
                continue
            if luck < plan.phantom_share + share:
                sample = next(others)
            else:
                sample = next(fewer if rng.random() < plan.few_share else many)
            donor = real[int(rng.integers(len(real)))]
            yield transplant(sample, donor, rng) if rng.random() < plan.transplant_share else sample


def collate(examples: list[Example]) -> tuple[torch.Tensor, ...]:
    """One batch with its dense targets."""
    targets = [dense_targets(example.classes[0]) for example in examples]
    return (
        torch.stack([normalize(example.pixels[0]) for example in examples]),
        torch.stack([t.classes for t in targets]),
        torch.stack([t.heat for t in targets]),
        torch.stack([t.offsets for t in targets]),
        torch.tensor(sum(t.centres for t in targets)),
        torch.stack([t.known for t in targets]),
    )


def _teeth(sample: Sample) -> int:
    return len(np.unique(sample.classes)) - 1


def _phantoms(rng: np.random.Generator) -> Iterator[Sample]:
    """Drawn panoramics, one more each time until all are there: drawing all at once would hold up the start."""
    seeds, drawn = list(_PHANTOM_SEEDS), list[Sample]()
    while True:
        if seeds:
            drawn += phantom_samples([seeds.pop()])
        yield drawn[int(rng.integers(len(drawn)))]


def _endless(samples: list[Sample], rng: np.random.Generator) -> Iterator[Sample]:
    while True:
        yield from (samples[i] for i in rng.permutation(len(samples)))
