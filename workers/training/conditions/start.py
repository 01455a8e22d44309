"""Weights to begin with: a bundle of this task, or the crops' network of an earlier training."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from service.domain.errors import ConfigurationError
from workers.networks.several import apart
from workers.training.images.checkpoints import State, looks_like, put, read_checkpoint

_PARTS = ("teeth.", "objects.")  # of ``workers.networks.condition_net.ConditionNet``


@dataclass(frozen=True, slots=True)
class Start:
    """Weights of the crops' network and of the object network; empty = those that they begin with otherwise."""

    crops: State = field(default_factory=dict)
    objects: State = field(default_factory=dict)

    def write_crops(self, out: Path) -> Path | None:
        """A file in ``out`` that ``fit`` can start from; None where there are no weights."""
        if not self.crops:
            return None
        out.mkdir(parents=True, exist_ok=True)
        torch.save(self.crops, out / "start.pt")
        return out / "start.pt"


def read_start(start: Path | str, crops: nn.Module, objects: nn.Module) -> Start:
    """Read models/model.pt of a tooth_conditions bundle, or crops/member-0/model.pt of a training.

    Args:
        start: the file.
        crops, objects: the networks that the weights must fit; they get them, of several networks the first.

    Raises:
        ConfigurationError: it belongs to another network; says which.
    """
    state = {name: value.float() for name, value in read_checkpoint(Path(start)).items()}
    parts = [{n.removeprefix(p): v for n, v in state.items() if n.startswith(p)} for p in _PARTS]
    found = Start(*parts) if all(parts) else Start(state)
    try:
        put(crops, apart(found.crops)[0], str(start))
        objects.load_state_dict(found.objects or objects.state_dict())
    except (ConfigurationError, RuntimeError) as error:
        message = (
            f"--start {start} looks like {looks_like(found.crops)}; task conditions has one network of its own: give "
            "models/model.pt of a tooth_conditions bundle or crops/member-0/model.pt of an earlier training, or leave "
            "it away"
        )
        raise ConfigurationError(message) from error
    return found
