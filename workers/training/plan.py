"""How to train; what a bundle must remember of it."""

from dataclasses import dataclass

MEAN, DEVIATION = 0.45, 0.25  # of standardized panoramics


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train; what is not the minutes seldom needs changing."""

    minutes: float
    seed: int = 0
    batch: int = 4
    learning_rate: float = 2.5e-3
    small: tuple[int, int] = (192, 384)
    large: tuple[int, int] = (224, 448)
    small_share: float = 0.4  # of the minutes at the small size
    phantom_share: float = 0.12
    channels: tuple[int, ...] = (32, 64, 128, 192, 256)
    features: int = 32
    res_units: int = 2
    threads: int = 1
