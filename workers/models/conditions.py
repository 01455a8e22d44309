"""What was done to each tooth of a panoramic and what is wrong with it: fillings, crowns, root canals, implants...

It builds on the tooth model: each tooth is cut out and judged by a small network with one answer per condition.
Implants, root stumps and deeply impacted teeth are often no tooth to that model, so a second network proposes such
places, which are judged alike; they get the number of the free slot where they lie, flagged as uncertain, or none.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.special import expit, logit

from service.domain.errors import ConfigurationError
from service.domain.finding import UNCERTAIN, Algorithm
from workers.inference import Runner, open_network
from workers.models import Verdict
from workers.models.bundle import BUNDLES, broken, load_bundle
from workers.models.dentition import deciduous_only
from workers.models.fit_for_panoramics import judge_panoramic
from workers.models.objects import DEVIATION, MEAN, Proposal, find_objects, object_canvas, object_frame, unclaimed
from workers.models.tooth_crops import CHANNELS, Jaws, Place
from workers.networks.condition_net import ConditionNet
from workers.pixels import Image
from workers.regions import Detection

#: Answers of the network. "pontic" (the tooth of a bridge that stands on none) is told apart but no finding.
HEADS: tuple[str, ...] = (
    "filling", "crown", "root-canal-treated", "implant", "impacted", "destroyed-crown", "pontic",
)  # fmt: skip
CONDITIONS = HEADS[:6]
IMPLANT = "implant"
NEVER = 2.0  #: as a threshold: the bundle does not look for this
Floats = NDArray[np.float32]


class ToothConditions:
    """Conditions of single teeth on panoramics."""

    name = "tooth_conditions"

    def __init__(self, bundle: Path | None = None) -> None:
        """``bundle``: another folder than the one that ships; it may know fewer conditions."""
        self._path = bundle or BUNDLES / self.name
        self.looks_for: tuple[str, ...] = _answers(self._path)

    def judge(self, header: Dataset) -> Verdict:
        """Accept panoramics by modality, description, shape and age, as the tooth model does."""
        accepted, reason = judge_panoramic(header)
        too_young = deciduous_only(header) if accepted else ""
        return Verdict(accepted=accepted and not too_young, reason=too_young or reason)

    def load(self, device: str) -> "LoadedToothConditions":
        """Read the bundle and open its networks. Raises ConfigurationError."""
        bundle = load_bundle(self._path)
        settings = Settings.of(self._path, bundle.settings)
        network = bundle.network
        if not isinstance(network, ConditionNet):
            raise broken(self._path, "network_def in configs/inference.json is no ConditionNet")
        teeth = open_network(network.teeth, (CHANNELS, settings.size, settings.size), device)
        objects = open_network(network.objects, (1, *settings.canvas), device)
        return LoadedToothConditions(bundle.algorithm, teeth, objects, settings)


@dataclass(frozen=True, slots=True)
class Settings:
    """configs/inference.json.

    Attributes:
        size: rows and columns of a crop.
        mean, deviation: of the channels of a crop.
        canvas: rows and columns that the object network sees.
        least_heat: less is no proposal.
        curves: (heads, 2) factor and bias that make a certainty of each logit.
        proposal_curves: (heads, 3) factor, bias, and factor of the logit of the heat, for proposals.
        thresholds: (2, heads) least certainty of a finding on a tooth, and on a proposal; ``NEVER`` for what a bundle
            was not trained for: it says nothing of it, not even that it is absent.
    """

    size: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    canvas: tuple[int, int]
    least_heat: float
    curves: NDArray[np.float64]
    proposal_curves: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @classmethod
    def of(cls, bundle: Path, settings: dict[str, Any]) -> "Settings":
        """From the JSON object. Raises ConfigurationError naming the bundle where something is missing or odd."""
        try:
            rows, columns = (int(value) for value in settings["canvas"])
            mean, deviation = (tuple(float(v) for v in settings[key]) for key in ("mean", "deviation"))
            count = _known_heads(settings["heads"])
            return cls(
                size=int(settings["size"]),
                mean=mean,
                deviation=deviation,
                canvas=(rows, columns),
                least_heat=float(settings["least_heat"]),
                curves=np.array(settings["curves"], float).reshape(count, 2),
                proposal_curves=np.array(settings["proposal_curves"], float).reshape(count, 3),
                thresholds=np.array(settings["thresholds"], float).reshape(2, count),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise broken(bundle, f"configs/inference.json is not that of {ToothConditions.name} ({error})") from error

    @property
    def answers(self) -> tuple[str, ...]:
        """The conditions that the bundle looks for."""
        return tuple(k for k, least in zip(CONDITIONS, self.thresholds.min(0), strict=False) if least < NEVER)


def _answers(bundle: Path) -> tuple[str, ...]:
    """What a bundle looks for; all conditions where it cannot be read, which ``load`` tells of."""
    try:
        settings = json.loads((bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
        return Settings.of(bundle, settings).answers
    except (OSError, ValueError, ConfigurationError):
        return CONDITIONS


def _known_heads(names: list[str]) -> int:
    """How many heads; raises ValueError where they are others, or in another order."""
    if tuple(names) != HEADS:
        message = f"heads {names} instead of {list(HEADS)}"
        raise ValueError(message)
    return len(HEADS)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A place and what the network says of it.

    Attributes:
        place: where.
        tooth: the detection of the tooth model; None = a proposal.
        proposal: the proposal; None = a tooth.
        logits: (heads,).
    """

    place: Place
    tooth: Detection | None
    proposal: Proposal | None
    logits: Floats


class LoadedToothConditions:
    """The model with its weights."""

    def __init__(self, algorithm: Algorithm, teeth: Runner, objects: Runner, settings: Settings) -> None:
        """``teeth``, ``objects``: the networks; see ``ToothConditions.load``."""
        self.algorithm, self.settings = algorithm, settings
        self._teeth, self._objects = teeth, objects

    def analyze(self, image: Image, before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """Conditions of the teeth that the tooth model found; nothing where it found none."""
        teeth = [d for d in before if d.kind == "tooth" and d.box is not None]
        if not teeth:
            return ()
        jaws = Jaws(image.pixels, teeth)
        found: list[Detection] = []
        for judged in self.judge(jaws, teeth):
            found += self._findings(judged, jaws)
        return tuple(sorted(found, key=lambda d: (HEADS.index(d.kind), d.tooth or 0)))

    def judge(self, jaws: Jaws, teeth: Sequence[Detection]) -> list[Judged]:
        """All teeth, and the proposals that are none of them, in one run of the network."""
        places = [Place(d.box, d.mask, d.tooth) for d in teeth if d.box is not None]
        boxes = np.array([place.box for place in places], float).reshape(-1, 4)
        proposals = unclaimed(self.propose(jaws), boxes)
        logits = self.logits([jaws.crop(place, self.settings.size) for place in places + _places(proposals)])
        judged = [Judged(p, d, None, row) for p, d, row in zip(places, teeth, logits[: len(teeth)], strict=True)]
        rest = zip(_places(proposals), proposals, logits[len(teeth) :], strict=True)
        return judged + [Judged(place, None, proposal, row) for place, proposal, row in rest]

    def propose(self, jaws: Jaws) -> list[Proposal]:
        """Places that the object network finds, teeth or not."""
        frame = object_frame(jaws)
        canvas = (object_canvas(jaws, frame, self.settings.canvas) - MEAN) / DEVIATION
        both = self._objects(np.stack([canvas, canvas[:, ::-1]])[:, None].astype(np.float32))
        output = (both[0] + both[1][:, :, ::-1]) / 2
        return find_objects(output, frame, (jaws.rows, jaws.columns), self.settings.least_heat)

    def logits(self, crops: Sequence[NDArray[np.uint8]]) -> Floats:
        """(n, heads) of crops (size, size, CHANNELS)."""
        if not crops:
            return np.zeros((0, len(HEADS)), np.float32)
        pixels = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255
        mean, deviation = (
            np.array(v, np.float32)[:, None, None] for v in (self.settings.mean, self.settings.deviation)
        )
        return self._teeth(((pixels - mean) / deviation).astype(np.float32))

    def certainties(self, judged: Judged) -> NDArray[np.float64]:
        """(heads,) 0 to 1."""
        settings, logits = self.settings, judged.logits.astype(float)
        if judged.proposal is None:
            return np.asarray(expit(settings.curves[:, 0] * logits + settings.curves[:, 1]))
        factor, bias, heat = settings.proposal_curves.T
        return np.asarray(expit(factor * logits + bias + heat * logit(judged.proposal.heat)))

    def _findings(self, judged: Judged, jaws: Jaws) -> list[Detection]:
        certainties = self.certainties(judged)
        least = self.settings.thresholds[0 if judged.proposal is None else 1]
        box, mask, tooth, flags = _region(judged, jaws)
        return [
            Detection(
                kind, tooth, round(float(sure), 3), box, mask, _remarks(kind, tooth, flags), "" if tooth else "jaw"
            )
            for kind, sure, threshold in zip(CONDITIONS, certainties, least, strict=False)
            if sure >= threshold
        ]


def _places(proposals: Sequence[Proposal]) -> list[Place]:
    return [Place(proposal.box) for proposal in proposals]


def _region(
    judged: Judged, jaws: Jaws
) -> tuple[tuple[int, int, int, int], NDArray[np.bool_] | None, int | None, tuple[str, ...]]:
    """Box, mask, number and flags of a finding."""
    if judged.tooth is not None and judged.tooth.box is not None:
        return judged.tooth.box, judged.tooth.mask, judged.tooth.tooth, judged.tooth.flags
    x0, y0, x1, y1 = judged.place.box
    number = jaws.free_number(judged.place)
    return (int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1))), None, number, (UNCERTAIN,) if number else ()


def _remarks(kind: str, tooth: int | None, flags: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the tooth; the number of an implant is always a guess, for the tooth model knows none."""
    return flags if tooth is None or kind != IMPLANT or UNCERTAIN in flags else (UNCERTAIN, *flags)
