"""How devices and people change the look of a film. Planes are (1, 1, rows, columns) tensors, 0..1."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows


def standardize(pixels: torch.Tensor) -> torch.Tensor:
    """First to 99th percentile onto 0..1, clipped, of every fourth pixel for speed; as the model does."""
    low, high = np.percentile(pixels[..., ::2, ::2].numpy(), (1, 99))
    return ((pixels - float(low)) / max(float(high - low), 1e-3)).clamp(0, 1)


def appearance(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Tone curve, local contrast, uneven exposure, sharpening or blur, noise, collimation, marks; result in 0..1."""
    u = rng.uniform
    if rng.random() < 0.35:  # noqa: PLR2004 - chances here are choices, not measurements
        x = torch.lerp(x, _local_contrast(x, int(rng.choice([16, 32, 48]))), float(u(0.3, 1.0)))
    if rng.random() < 0.4:  # noqa: PLR2004
        field = torch.from_numpy(rng.normal(0, 0.15, (1, 1, 5, 3)).astype(np.float32))
        x = x + F.interpolate(field, x.shape[-2:], mode="bicubic", align_corners=True)
    x = x.clamp(0, 1) ** float(np.exp(u(-0.7, 0.7)))
    x = (x - 0.5) * float(np.exp(u(-0.5, 0.3))) + 0.5 + float(u(-0.15, 0.15))
    kind = rng.random()
    if kind < 0.2:  # noqa: PLR2004
        x = x + float(u(0.2, 1.0)) * (x - _blur(x, 4))
    elif kind < 0.5:  # noqa: PLR2004
        x = torch.lerp(x, _blur(x, int(rng.integers(2, 4))), float(u(0.3, 1.0)))
    if rng.random() < 0.3:  # noqa: PLR2004
        x = x + float(u(0, 0.06)) * torch.from_numpy(rng.standard_normal(x.shape, np.float32))
    return _marks(x, rng).clamp(0, 1)


def _marks(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Black or white rectangles (names, markers, blanked text) and drawn lines, as on films that were measured."""
    rows, columns = x.shape[-2:]
    x = x.clone()
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.3 else 0):  # noqa: PLR2004
        h, w = int(rng.integers(2, rows // 12 + 3)), int(rng.integers(2, columns // 4 + 3))
        top, left = int(rng.integers(0, rows - h)), int(rng.integers(0, columns - w))
        x[..., top : top + h, left : left + w] = float(rng.choice([0.0, 1.0]))
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.12 else 0):  # noqa: PLR2004
        start, slope = rng.uniform(0, rows), rng.normal(0, 0.5)
        across = np.arange(columns)
        down = np.round(start + slope * (across - columns / 2)).astype(int)
        inside = (down >= 0) & (down < rows - 1)
        x[..., down[inside], across[inside]] = float(rng.choice([0.0, 1.0]))
    return x


def _blur(x: torch.Tensor, k: int) -> torch.Tensor:
    """Fast smooth blur of about k pixels by averaging down and interpolating up."""
    return F.interpolate(F.avg_pool2d(x, k, ceil_mode=True, count_include_pad=False), x.shape[-2:], mode="bilinear")


def _local_contrast(x: torch.Tensor, k: int) -> torch.Tensor:
    """Local mean and deviation removed, like the adaptive equalization that some devices apply."""
    d = x - _blur(x, k)
    return (0.5 + 0.22 * d / (_blur(d * d, k).sqrt() + 0.03)).clamp(0, 1)
