"""A trained classifier to a MONAI bundle that ``workers.models.image_classifier`` serves."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from workers.models.dropped_classifier import KIND
from workers.models.mapping import NAME
from workers.training import monai_config
from workers.training.bundles import write_json, write_metadata, write_weights
from workers.training.images.plan import Plan

EXAMPLE = f"{NAME}.example"  #: what ``write_mapping`` leaves for a person to fill in


@dataclass(frozen=True, slots=True)
class Facts:
    """What a bundle says of itself in words; of its data see ``bundles.provenance``.

    Attributes:
        name: of the bundle and its algorithm.
        task, description, data_type, image_classes: as in MONAI's metadata.
        references: papers.
        modalities, body_parts: which images a bundle that is dropped in takes (dentgate.json).
    """

    name: str
    task: str
    description: str
    data_type: str
    image_classes: str
    references: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ("DX", "CR")
    body_parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """How the answers are read; see ``workers.models.image_classifier.Settings``."""

    thresholds: tuple[float, ...]
    calibration: tuple[tuple[float, float], ...]
    percentiles: tuple[float, float] | None = None
    mirrored: bool = True
    findings: dict[str, str] = field(default_factory=dict)


def export_bundle(
    network: nn.Module, plan: Plan, bundle: Path, facts: Facts, serving: Serving, words: Mapping[str, Any]
) -> str:
    """Write models/model.pt, configs/metadata.json and configs/inference.json.

    Args:
        network: as ``fit`` gives it.
        plan: of its training.
        bundle: folder; made if need be.
        facts, serving: words and numbers.
        words: more for metadata.json: of the data, and under ``training`` what the plan does not say.

    Returns:
        The SHA-256 of the weights, hexadecimal.
    """
    digest = write_weights(bundle, network.state_dict())
    write_serving(bundle, plan, serving)
    training = asdict(plan) | {"network": plan.definition()} | words.get("training", {})
    write_metadata(bundle, _words(plan, facts) | dict(words) | {"training": training}, digest)
    return digest


def write_serving(bundle: Path, plan: Plan, serving: Serving) -> None:
    """Write configs/inference.json."""
    document = {
        "network_def": plan.definition(),
        "size": list(plan.size),
        "channels": plan.channels,
        "percentiles": None if serving.percentiles is None else list(serving.percentiles),
        "mean": list(plan.mean),
        "deviation": list(plan.deviation),
        "classes": list(plan.classes),
        "exclusive": plan.exclusive,
        "thresholds": [round(value, 4) for value in serving.thresholds],
        "calibration": [[round(slope, 4), round(offset, 4)] for slope, offset in serving.calibration],
        "mirrored": serving.mirrored,
        "findings": serving.findings,
    } | monai_config.classifier()
    write_json(bundle / "configs" / "inference.json", document)


def write_mapping(bundle: Path, plan: Plan, facts: Facts, serving: Serving) -> bool:
    """Write dentgate.json, by which a bundle that is dropped in serves.

    Where no class is a known finding, dentgate.json.example is written instead, and False returned: which codes the
    classes have only a person knows. What a person made of it stays.
    """
    thresholds = {str(k): round(value, 4) for k, value in enumerate(serving.thresholds)}
    found = {str(k): kind for k, name in enumerate(plan.classes) if (kind := serving.findings.get(name))}
    channels = {key: {"finding": kind, "threshold": thresholds[key]} for key, kind in found.items()}
    document: dict[str, Any] = {"modality": list(facts.modalities), "channels": channels}
    if facts.body_parts:
        document["body_part"] = list(facts.body_parts)
    if channels:
        (bundle / EXAMPLE).unlink(missing_ok=True)
    else:
        document["channels"] = {
            str(k): {"finding": f"SCT:CODE:{name}", "threshold": thresholds[str(k)], "site": "SITE"}
            for k, name in enumerate(plan.classes)
        }
    write_json(bundle / (NAME if channels else EXAMPLE), document)
    return bool(channels)


def _words(plan: Plan, facts: Facts) -> dict[str, Any]:
    return {
        "kind": KIND,
        "name": facts.name,
        "task": facts.task,
        "description": facts.description,
        "data_type": facts.data_type,
        "image_classes": facts.image_classes,
        "label_classes": ", ".join(plan.classes),
        "pred_classes": ", ".join(plan.classes),
        "references": list(facts.references),
        "network_data_format": _format(plan),
    }


def _format(plan: Plan) -> dict[str, Any]:
    image = {
        "type": "image",
        "format": "magnitude" if plan.channels == 1 else "RGB",
        "num_channels": plan.channels,
        "spatial_shape": list(plan.size),
        "dtype": "float32",
        "value_range": [-2, 3],
        "is_patch_data": False,
        "channel_def": {"0": "image"} if plan.channels == 1 else {"0": "red", "1": "green", "2": "blue"},
    }
    answers = {
        "type": "logits",
        "format": "classification",
        "num_channels": len(plan.classes),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(index): name for index, name in enumerate(plan.classes)},
    }
    return {"inputs": {"image": image}, "outputs": {"pred": answers}}
