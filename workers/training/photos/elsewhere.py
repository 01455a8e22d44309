"""Pictures that show no mouth, drawn: what the model must refuse instead of naming findings in it.

No collection of other photographs is needed: some are drawn from nothing, some from the colours and the texture of the
photographs themselves, so that colours alone do not tell a mouth, and how it is put together must.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from workers.training.images.samples import Sample

Colours = NDArray[np.float32]
_SKINS = ((0.92, 0.76, 0.68), (0.85, 0.65, 0.55), (0.75, 0.52, 0.42), (0.55, 0.36, 0.27), (0.36, 0.23, 0.17))
_TINY = (0.05, 0.12)  # share of the side of a photograph in which hardly more than one tissue is seen


def draw_elsewhere(photographs: Sequence[Sample], count: int, rng: np.random.Generator) -> list[Sample]:
    """``count`` pictures without a mouth, of the shape of the photographs, labelled 0, each a group of its own."""
    drawings: tuple[Callable[[Colours, np.random.Generator], Colours], ...] = (
        scrambled, leaves, texture, texture, skin, landscape, pattern, page,
    )  # fmt: skip
    samples = []
    for number in range(count):
        photograph = photographs[int(rng.integers(len(photographs)))].pixels.astype(np.float32) / np.float32(255)
        drawn = drawings[number % len(drawings)](photograph, rng).clip(0, 1)
        pixels = np.round(drawn * 255).astype(np.uint8)
        samples.append(Sample(pixels, np.zeros(1, np.float32), f"drawn-{number}", f"drawn-{number}"))
    return samples


def scrambled(photograph: Colours, rng: np.random.Generator) -> Colours:
    """The spectrum and the colours of a photograph in random phases: as much detail, nothing to see."""
    noise = np.fft.fft2(rng.standard_normal(photograph.shape[:2]))
    phases = (noise / np.abs(noise).clip(1e-9))[..., None]
    spectrum = np.fft.fft2(photograph, axes=(0, 1))
    spectrum[1:] *= phases[1:]
    spectrum[0, 1:] *= phases[0, 1:]
    drawn: Colours = np.real(np.fft.ifft2(spectrum, axes=(0, 1))).astype(np.float32)
    return drawn


def leaves(photograph: Colours, rng: np.random.Generator) -> Colours:
    """Discs over discs ("dead leaves", whose statistics are those of natural pictures), coloured like a photograph."""
    rows, columns = photograph.shape[:2]
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    drawn = np.empty_like(photograph)
    drawn[:] = _any_pixel(photograph, rng)
    foreign = rng.random() < 0.5  # noqa: PLR2004 - every second one has colours of its own
    for _ in range(int(rng.integers(40, 160))):
        radius = rows * 0.04 / rng.uniform(0.08, 1.0)
        across, down = (x - rng.uniform(0, columns)) / rng.uniform(0.5, 2), y - rng.uniform(0, rows)
        colour = rng.random(3) if foreign else _any_pixel(photograph, rng)
        drawn[across**2 + down**2 < radius**2] = colour
    return drawn + 0.04 * rng.standard_normal(drawn.shape).astype(np.float32)


def texture(photograph: Colours, rng: np.random.Generator) -> Colours:
    """A tiny part of a photograph enlarged: one tissue, no mouth."""
    rows, columns = photograph.shape[:2]
    share = rng.uniform(*_TINY)
    high, wide = max(int(rows * share), 4), max(int(columns * share), 4)
    top, left = int(rng.integers(0, rows - high)), int(rng.integers(0, columns - wide))
    part = photograph[top : top + high, left : left + wide]
    return _grained(_enlarged(part, (rows, columns)), rng)


def skin(photograph: Colours, rng: np.random.Generator) -> Colours:
    """Skin with folds, lit from one side; often before a background of another colour, as a hand or a cheek is."""
    shape = photograph.shape[:2]
    tone = np.array(_SKINS[int(rng.integers(len(_SKINS)))], np.float32) * rng.uniform(0.9, 1.1, 3).astype(np.float32)
    drawn = tone * (1 + 0.08 * _relief(shape, rng.uniform(4, 40), rng))[..., None]
    if rng.random() < 0.6:  # noqa: PLR2004 - not always
        behind = rng.random(3).astype(np.float32)
        drawn = np.where((_relief(shape, 30, rng) > rng.uniform(-0.5, 1))[..., None], behind, drawn)
    return _grained(drawn * _light(shape, rng), rng)


def landscape(photograph: Colours, rng: np.random.Generator) -> Colours:
    """Bands of colour one above the other."""
    rows, columns = shape = photograph.shape[:2]
    bands = rng.random((int(rng.integers(2, 6)), 3)).astype(np.float32)
    height = np.linspace(0, len(bands) - 0.01, rows)[:, None] + 0.3 * _relief(shape, 12, rng)
    drawn = bands[height.clip(0, len(bands) - 1).astype(int)]
    return _grained(drawn * (1 + 0.15 * _relief((rows, columns), rng.uniform(1, 8), rng))[..., None], rng)


def pattern(photograph: Colours, rng: np.random.Generator) -> Colours:
    """Stripes, boards, bricks or tiles of two colours."""
    rows, columns = photograph.shape[:2]
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    wave = np.sin(along / rng.uniform(1.5, 12) + rng.uniform(0, 2) * _relief((rows, columns), 20, rng))
    if rng.random() < 0.5:  # noqa: PLR2004 - every second one
        wave = np.minimum(wave, np.sin(across / rng.uniform(1.5, 12)))
    one, other = (_any_pixel(photograph, rng) if rng.random() < 0.5 else rng.random(3) for _ in range(2))  # noqa: PLR2004
    return _grained(np.where((wave > rng.uniform(-0.5, 0.5))[..., None], one, other).astype(np.float32), rng)


def page(photograph: Colours, rng: np.random.Generator) -> Colours:
    """Lines of something like words on paper."""
    rows, columns = photograph.shape[:2]
    words = _enlarged(rng.random((rows // 4, columns // 6, 1)).astype(np.float32), (rows, columns))[..., 0] > 0.45  # noqa: PLR2004
    lines = (np.arange(rows) // int(rng.integers(4, 9)) % 2 == 0)[:, None]
    paper = np.array([1, rng.uniform(0.9, 1), rng.uniform(0.75, 1)], np.float32) * rng.uniform(0.7, 1)
    ink = rng.uniform(0, 0.4, 3).astype(np.float32)
    marks = words & lines & (rng.random((rows, columns)) < 0.7)  # noqa: PLR2004 - gaps within letters
    return _grained(np.where(marks[..., None], ink, paper).astype(np.float32), rng)


def _any_pixel(photograph: Colours, rng: np.random.Generator) -> Colours:
    rows, columns = photograph.shape[:2]
    colour: Colours = photograph[int(rng.integers(rows)), int(rng.integers(columns))]
    return colour


def _relief(shape: tuple[int, ...], coarse: float, rng: np.random.Generator) -> Colours:
    """Smooth noise (rows, columns) of mean 0 and deviation 1, about ``coarse`` pixels from hill to dale."""
    noise = gaussian_filter(rng.standard_normal(shape[:2]).astype(np.float32), coarse, mode="wrap")
    relief: Colours = (noise - noise.mean()) / (noise.std() + 1e-9)
    return relief


def _light(shape: tuple[int, ...], rng: np.random.Generator) -> Colours:
    """(rows, columns, 1) from bright to less bright."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    falling: Colours = (1 + 0.3 * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1))).astype(np.float32)
    return falling[..., None]


def _grained(drawn: Colours, rng: np.random.Generator) -> Colours:
    grain = rng.uniform(0, 0.05) * rng.standard_normal(drawn.shape[:2])
    return (drawn + grain[..., None]).astype(np.float32)


def _enlarged(part: Colours, shape: tuple[int, int]) -> Colours:
    factors = (shape[0] / part.shape[0], shape[1] / part.shape[1], 1)
    return np.asarray(zoom(part, factors, order=1, grid_mode=True, mode="nearest"), np.float32)[: shape[0], : shape[1]]
