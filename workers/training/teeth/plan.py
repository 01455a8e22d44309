"""How to train; what a bundle must remember of it."""

from dataclasses import dataclass

from workers.training.descent import Optimizer, Schedule
from workers.training.settings import with_settings
from workers.training.task import Training

MEAN, DEVIATION = 0.45, 0.25  # of standardized panoramics


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train; what is not the minutes seldom needs changing."""

    minutes: float
    seed: int = 0
    batch: int = 4
    learning_rate: float = 2.5e-3
    weight_decay: float = 1e-3
    optimizer: Optimizer = Optimizer.ADAMW
    schedule: Schedule = Schedule.COSINE
    dropout: float = 0.0  # in every unit of the U-Net, while it trains
    patience: int = 0  # looks at the validation films without a better Dice after which it ends; 0 = off
    small: tuple[int, int] = (224, 448)
    large: tuple[int, int] = (256, 512)
    small_share: float = 0.4  # of the minutes at the small size
    phantom_share: float = 0.12
    films: str = ""  # folder of films without tooth numbers, for the shipped model to number first; empty = none
    numbered: str = ""  # folder of films that a model numbered before (``self_training``); empty = none
    numbered_share: float = 0.27
    few_share: float = 0.45  # of the labelled films drawn are ones with teeth missing, where there are any
    transplant_share: float = 0.5  # of the films get teeth of other films (``transplant``)
    channels: tuple[int, ...] = (32, 64, 128, 192, 256)
    features: int = 32
    res_units: int = 2
    mixed: bool = True  # bfloat16 in the network, float32 in weights and loss
    threads: int = 1


def plan_of(order: Training) -> Plan:
    """The plan of an order. Raises ConfigurationError for a setting that it does not have."""
    plan = Plan(minutes=order.minutes, seed=order.seed, threads=order.threads)
    return with_settings(plan, order.settings, "teeth")
