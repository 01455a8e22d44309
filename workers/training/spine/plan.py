"""How to train; what a bundle must remember of it."""

from dataclasses import dataclass

from workers.training.descent import Optimizer, Schedule

MEAN, DEVIATION = 0.45, 0.25  # of standardized films


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train; what is not the minutes seldom needs changing.

    Attributes:
        patience: looks at the validation films without a smaller loss after which it ends, and the best weights are
            kept; 0 = runs to the end and keeps the last, so that a figure on those films is not the best of many.
    """

    minutes: float
    seed: int = 0
    batch: int = 6
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    optimizer: Optimizer = Optimizer.ADAMW
    schedule: Schedule = Schedule.COSINE
    dropout: float = 0.0  # in every unit of the U-Net, while it trains
    patience: int = 0
    canvas: tuple[int, int] = (576, 192)
    small: tuple[int, int] = (384, 128)
    small_share: float = 0.45  # of the minutes at the small size, where steps are cheap
    phantom_share: float = 0.08  # of the examples are drawn
    channels: tuple[int, ...] = (32, 64, 128, 192, 256)
    features: int = 32
    res_units: int = 2
    threads: int = 1
    mixed: bool = True  # bfloat16 in the network, float32 in weights and loss
