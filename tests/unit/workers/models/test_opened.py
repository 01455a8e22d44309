"""A network that several models use."""

import gc
from dataclasses import replace

import numpy as np
import torch

from service.domain.finding import Algorithm
from workers.models.bundle import Bundle
from workers.models.opened import open_once

SHAPE = (1, 8, 8)


def bundle(digest: str, layer: torch.nn.Module | None = None) -> Bundle:
    """A bundle whose weights are said to have a digest."""
    algorithm = Algorithm("a", "1", digest, "Test", research=True)
    return Bundle(algorithm, {}, {}, layer or torch.nn.Conv2d(1, 2, 3))


def test_the_same_network_is_opened_once() -> None:
    """Whoever asks for the same weights, layers and input on the same device gets what is open already."""
    first = bundle("01" * 32)
    opened = open_once(first, SHAPE, "cpu")
    assert open_once(replace(first), SHAPE, "cpu") is opened
    others = (
        open_once(bundle("02" * 32), SHAPE, "cpu"),
        open_once(bundle("01" * 32, torch.nn.Conv2d(1, 2, 5)), SHAPE, "cpu"),
        open_once(first, (1, 16, 16), "cpu"),
    )
    assert opened not in others
    assert others[2](np.zeros((1, 1, 16, 16), np.float32)).shape == (1, 2, 14, 14)


def test_what_nobody_uses_is_closed() -> None:
    """The memory comes back with the last model: another network under the same name is opened anew."""
    network = bundle("03" * 32)
    opened = open_once(network, SHAPE, "cpu")
    picture = np.ones((1, 1, 8, 8), np.float32)
    said = opened(picture)
    del opened
    gc.collect()
    with torch.no_grad():
        for weights in network.network.parameters():
            weights.add_(1)
    assert not np.allclose(open_once(network, SHAPE, "cpu")(picture), said)
