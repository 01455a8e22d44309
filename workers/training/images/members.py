"""Train several networks of one plan in turn, and make one of them whose answer is their mean."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from service.domain.errors import ConfigurationError
from workers.networks.several import apart, joined
from workers.training.images.checkpoints import read_checkpoint
from workers.training.images.fit import build_network, fit, trained_minutes
from workers.training.images.plan import Plan
from workers.training.images.samples import Sample
from workers.training.report import Block, learning_curves

MEMBERS = "members"  #: the setting
SMALL = "workers.networks.residual.SmallResNet"
SEVERAL = "workers.networks.several.SeveralResNets"
_MOST = 8  # each costs time at every picture


def members_of(settings: Mapping[str, Any], usual: int) -> int:
    """How many networks share the minutes. Raises ConfigurationError."""
    members = settings.get(MEMBERS, usual)
    if isinstance(members, bool) or not isinstance(members, int) or not 1 <= members <= _MOST:
        message = f"members is {members!r}; it must be a whole number from 1 to {_MOST}"
        raise ConfigurationError(message)
    return members


def folders_of(out: Path, members: int) -> list[Path]:
    """The folder of each network, with its log.jsonl."""
    return [out] if members == 1 else [out / f"member-{member}" for member in range(members)]


def minutes_of(plan: Plan, folders: Sequence[Path]) -> float:
    """How long the networks took together; see ``trained_minutes``."""
    each = replace(plan, minutes=plan.minutes / len(folders))
    return round(sum(trained_minutes(each, folder) for folder in folders), 1)


def member_curves(folders: Sequence[Path], name: str = "network") -> list[Block]:
    """The learning curves of every network, for the report."""
    found = [(number, learning_curves(folder / "log.jsonl")) for number, folder in enumerate(folders, 1)]
    several = len(folders) > 1
    return [
        replace(charts, title=f"{charts.title}, {name}{f' {number} of {len(folders)}' if several else ''}")
        for number, charts in found
        if charts
    ]


def fit_members(  # noqa: PLR0913 - as ``fit``
    train: Sequence[Sample],
    validation: Sequence[Sample],
    plan: Plan,
    out: Path,
    members: int,
    *,
    start: Path | str | None = None,
    frozen: bool = False,
    resume: bool = False,
) -> tuple[nn.Module, Plan]:
    """Train; the networks share the minutes of the plan and differ in everything random.

    Args:
        train, validation, plan, out, frozen, resume: see ``fit``.
        members: how many; one is trained as ``fit`` does.
        start: see ``fit``; weights of several networks begin one each.

    Returns:
        The network, on the CPU, set to inference; and the plan with the network that it is.

    Raises:
        ConfigurationError: as ``fit``; or several were asked for of a network that cannot be joined.
    """
    begin = _beginnings(start, out, members)
    if members == 1:
        return fit(train, validation, plan, out, start=begin[0], frozen=frozen, resume=resume), plan
    if plan.network.get("_target_") != SMALL:
        message = f"several networks can only be made of {SMALL.rpartition('.')[2]}; set members=1"
        raise ConfigurationError(message)
    states = []
    for member, folder in enumerate(folders_of(out, members)):
        own = replace(plan, minutes=plan.minutes / members, seed=1000 * plan.seed + member)
        network = fit(train, validation, own, folder, start=begin[member], frozen=frozen, resume=resume)
        states.append(network.state_dict())
    whole = replace(plan, network=plan.network | {"_target_": SEVERAL, MEMBERS: members})
    together = build_network(whole)
    together.load_state_dict(joined(states))
    return together.eval(), whole


def _beginnings(start: Path | str | None, out: Path, members: int) -> list[Path | str | None]:
    """What each network begins with; a file of several networks is taken apart."""
    if start is None or not Path(start).is_file():
        return [start] * members
    parts = apart(read_checkpoint(Path(start)))
    if len(parts) == 1:
        return [start] * members
    files = [folder / "start.pt" for folder in folders_of(out, members)]
    for member, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(parts[member % len(parts)], file)
    return [*files]
