"""Whether there is a mouth: a straight line through what a trained network sees, photographs on one side.

Logistic regression needs seconds and no further network, and a network that knows teeth and gums has what it takes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import nn

from workers.networks.photo_net import PhotoNet
from workers.training.images.augment import augment
from workers.training.images.plan import Plan
from workers.training.images.samples import Sample
from workers.training.photos.elsewhere import draw_elsewhere

_RIDGE = 10.0
_FLAT = 1e-3  # added to a deviation: a feature that never changes says nothing

Features = NDArray[np.float64]


def fit_scope(member: PhotoNet, photographs: Sequence[Sample], plan: Plan, rng: np.random.Generator) -> nn.Conv2d:
    """The layer on ``member.features`` whose mean over the parts is the logit of "a mouth is there".

    Args:
        member: a trained network.
        photographs: of mouths; as many pictures without one are drawn.
        plan: of the network.
        rng: draws and changes the pictures.
    """
    elsewhere = draw_elsewhere(photographs, len(photographs), rng)
    seen = np.concatenate([features_of(member, part, plan, rng) for part in (photographs, elsewhere)])
    return _layer(*fit_line(seen, np.arange(len(seen)) < len(photographs)))


@torch.inference_mode()
def features_of(member: PhotoNet, samples: Sequence[Sample], plan: Plan, rng: np.random.Generator) -> Features:
    """Means over the parts (n, features) of pictures changed as in training."""
    member.eval()
    device, parts = next(member.parameters()).device, list[Features]()
    for first in range(0, len(samples), plan.batch):
        stack = np.stack([sample.pixels for sample in samples[first : first + plan.batch]]).transpose(0, 3, 1, 2)
        pixels = augment(torch.from_numpy(stack.copy()), plan.size, plan.augmentation, rng)
        features = member.features(plan.normalize(pixels).to(device)).mean((2, 3))
        parts.append(features.cpu().double().numpy())
    return np.concatenate(parts)


def fit_line(seen: Features, mouth: NDArray[np.bool_]) -> tuple[Features, float]:
    """Weights (features,) and offset of a logistic regression with a ridge on the standardized features."""
    mean, deviation = seen.mean(0), seen.std(0) + _FLAT
    standard, sign = (seen - mean) / deviation, np.where(mouth, 1.0, -1.0)

    def loss(line: Features) -> tuple[float, Features]:
        margin = sign * (standard @ line[:-1] + line[-1])
        pull = -sign * expit(-margin)
        slope = np.append(standard.T @ pull + _RIDGE * line[:-1], pull.sum())
        return float(np.logaddexp(0, -margin).sum() + _RIDGE / 2 * line[:-1] @ line[:-1]), slope

    line = minimize(loss, np.zeros(standard.shape[1] + 1), jac=True, method="L-BFGS-B").x
    weights = line[:-1] / deviation
    return weights, float(line[-1] - weights @ mean)


def _layer(weights: Features, offset: float) -> nn.Conv2d:
    layer = nn.Conv2d(len(weights), 1, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights).float()[None, :, None, None])
        layer.bias.fill_(offset)  # type: ignore[union-attr] # a layer made with a bias has one
    return layer
