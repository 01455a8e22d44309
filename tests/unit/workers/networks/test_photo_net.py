"""The networks for photographs."""

import numpy as np
import torch

from workers.models.oral_photo import pooled
from workers.networks.photo_net import PhotoNet, PhotoNets

SMALL = {"classes": 3, "widths": (8, 8, 8, 8, 8), "blocks": (1, 1, 1, 1)}


def network() -> PhotoNet:
    """A small one with random weights."""
    torch.manual_seed(0)
    return PhotoNet(**SMALL).eval()  # type: ignore[arg-type] # values of several types


@torch.no_grad()
def test_the_logit_is_the_soft_maximum_of_the_parts() -> None:
    """The logits are those of the maps, as serving code pools them too."""
    net, pixels = network(), torch.rand(2, 3, 64, 96)
    maps = net.maps(pixels)
    assert maps.shape == (2, 3, 4, 6)
    np.testing.assert_allclose(pooled(maps.numpy()), net(pixels).numpy(), atol=1e-5)


@torch.no_grad()
def test_one_part_decides_and_an_even_map_is_its_value() -> None:
    """A picture is as suspect as its worst part, less what that part is smaller than the picture."""
    maps = np.full((1, 1, 4, 6), -9, np.float32)
    np.testing.assert_allclose(pooled(maps), -9, atol=1e-5)
    maps[0, 0, 1, 2] = 5
    assert 5 - np.log(24) <= float(pooled(maps)[0, 0]) < 5


@torch.no_grad()
def test_several_side_by_side() -> None:
    """Maps of all members come in order, that of the mouth last."""
    torch.manual_seed(1)
    nets = PhotoNets([SMALL, SMALL]).eval()
    pixels = torch.rand(1, 3, 64, 96)
    output = nets(pixels)
    assert output.shape == (1, 7, 4, 6)
    first, second = (member for member in nets.members if isinstance(member, PhotoNet))
    parts = [first.maps(pixels), second.maps(pixels), nets.scope(first.features(pixels))]
    torch.testing.assert_close(output, torch.cat(parts, 1))


def test_blocks_are_left_out_in_training_only() -> None:
    """Two passes differ while it learns and agree when it serves."""
    net, pixels = network(), torch.rand(4, 3, 64, 96)
    for block in net.body:
        torch.nn.init.ones_(block.second_norm.weight)  # type: ignore[union-attr,arg-type] # as after some training
    with torch.no_grad():
        assert torch.equal(net(pixels), net(pixels))
        net.train()
        assert not torch.equal(net(pixels), net(pixels))
