"""What of a picture spoke for a class: class activation maps (Zhou 2016) and Grad-CAM (Selvaraju 2017).

Where a network ends in global average pooling and one linear layer, its class activation map is exact: the logit is the
mean of the map. Such a network is turned into one that gives the maps, which any engine runs. For all others the map is
taken from the gradients, in torch.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from workers.models.arch import Frame
from workers.models.view import look_at

Maps = NDArray[np.float32]
_PLANES = 4  # dimensions of what still has rows and columns
_HOT = 0.5  # of the hottest place
_FINE = 8  # steps of the fine grid to one of the coarse one


class ClassMaps(nn.Module):
    """Pictures to class activation maps (B, classes, h, w); their means are the logits."""

    def __init__(self, network: nn.Module, linear: nn.Linear) -> None:
        """``network``: with ``features``; ``linear``: its last layer."""
        super().__init__()
        self.network = network
        self.kernel = nn.Parameter(linear.weight.detach()[:, :, None, None].clone(), requires_grad=False)
        self.bias = nn.Parameter(linear.bias.detach().clone(), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, rows, columns) to (B, classes, h, w)."""
        return F.conv2d(self.network.features(x), self.kernel, self.bias)  # type: ignore[operator]


def class_maps(network: nn.Module) -> ClassMaps | None:
    """The network that gives exact maps; None where the head is more than pooling and a linear layer ``fc``."""
    linear = getattr(network, "fc", None)
    return ClassMaps(network, linear) if isinstance(linear, nn.Linear) and hasattr(network, "features") else None


def grad_cam(network: nn.Module, batch: Maps) -> Maps:
    """Maps (B, classes, h, w) by gradients, for a network with ``features`` and ``classify``."""
    found = list[torch.Tensor]()
    with torch.enable_grad():
        given = torch.from_numpy(batch).to(next(network.parameters()).device)
        features = network.features(given).detach().requires_grad_()  # type: ignore[operator]
        logits = network.classify(features)  # type: ignore[operator]
        for index in range(logits.shape[1]):
            (slope,) = torch.autograd.grad(logits[:, index].sum(), features, retain_graph=True)
            found.append((slope.mean((2, 3), keepdim=True) * features).sum(1).detach())
    maps: Maps = torch.stack(found, 1).cpu().numpy()
    return maps


def gradient_maps(network: nn.Module, batch: Maps, classes: Sequence[int]) -> Maps | None:
    """Grad-CAM of any classifier: of the last of its layers that still has a plane.

    Args:
        network: pictures to logits (B, classes).
        batch: (B, channels, rows, columns).
        classes: of which maps are wanted.

    Returns:
        (B, len(classes), h, w); None for TorchScript, whose layers cannot be watched, and where no layer has a plane.
    """
    if isinstance(network, torch.jit.ScriptModule):
        return None
    planes = list[torch.Tensor]()

    def note(_layer: nn.Module, _given: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == _PLANES and output[0, 0].numel() > 1:
            planes[:] = [output]

    hooks = [layer.register_forward_hook(note) for layer in network.modules() if not list(layer.children())]
    try:
        with torch.enable_grad():
            given = torch.from_numpy(batch).to(next(network.parameters()).device).requires_grad_()
            logits = network(given)
            if not planes:
                return None
            slopes = [torch.autograd.grad(logits[:, k].sum(), planes[0], retain_graph=True)[0] for k in classes]
    finally:
        for hook in hooks:
            hook.remove()
    found = [(slope.mean((2, 3), keepdim=True) * planes[0]).sum(1).detach() for slope in slopes]
    maps: Maps = torch.stack(found, 1).cpu().numpy()
    return maps


def to_heat(plane: Maps) -> Maps:
    """A map (h, w) as heat, 0 to 1: what speaks more for the class than the mean of all places; the most is 1."""
    above = np.clip(plane - plane.mean(), 0, None)
    heat: Maps = (above / max(float(above.max()), 1e-6)).astype(np.float32)
    return heat


def hot_box(heat: Maps, shape: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Box x0, y0, x1, y1 around the part of the heat that is connected with its hottest place.

    Args:
        heat: (h, w) over the whole image.
        shape: rows and columns of the image.

    Returns:
        In pixels of the image; None where all is cold.
    """
    if not heat.any():
        return None
    fine = look_at(heat, Frame(0.5, 0.5, 0.5, 0.5), (heat.shape[0] * _FINE, heat.shape[1] * _FINE))
    hot = fine >= _HOT * fine.max()
    parts, _ = ndimage.label(hot)
    rows, columns = np.nonzero(parts == parts[np.unravel_index(int(fine.argmax()), fine.shape)])
    down, across = shape[0] / fine.shape[0], shape[1] / fine.shape[1]
    x0, y0 = int(columns.min() * across), int(rows.min() * down)
    x1, y1 = int(np.ceil((columns.max() + 1) * across)), int(np.ceil((rows.max() + 1) * down))
    return x0, y0, min(max(x1, x0 + 1), shape[1]), min(max(y1, y0 + 1), shape[0])
