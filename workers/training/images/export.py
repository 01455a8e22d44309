"""A trained classifier to a MONAI bundle that ``workers.models.image_classifier`` serves."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from torch import nn

from workers.models.dropped_classifier import KIND
from workers.training.images.plan import Plan

_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_USE = "Research and evaluation only; not for diagnosis. Results are unverified until a person has reviewed them."
_KERNEL = 4  # dimensions of a convolution's weights


@dataclass(frozen=True, slots=True)
class Facts:
    """What a bundle says of itself in words.

    Attributes:
        name: of the bundle and its algorithm.
        version: raised with every change of weights.
        task, description, license, data_source, data_type, image_classes: as in MONAI's metadata.
        references: papers.
        modalities, body_parts: which images a bundle that is dropped in takes (dentgate.json).
    """

    name: str
    version: str
    task: str
    description: str
    license: str
    data_source: str
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
    network: nn.Module, plan: Plan, bundle: Path, facts: Facts, serving: Serving, training: dict[str, Any]
) -> str:
    """Write models/model.pt, configs/metadata.json, configs/inference.json and, where there is none, a card.

    Args:
        network: as ``fit`` gives it.
        plan: of its training.
        bundle: folder; made if need be.
        facts, serving: words and numbers.
        training: hardware, figures and whatever else metadata.json shall say under "training".

    Returns:
        The SHA-256 of the weights, hexadecimal.
    """
    # kernels only: batch statistics do not fit into half precision
    state = {key: value.half() if value.ndim == _KERNEL else value for key, value in network.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    for folder in ("models", "configs", "docs"):
        (bundle / folder).mkdir(parents=True, exist_ok=True)
    (bundle / "models" / "model.pt").write_bytes(content)
    write_serving(bundle, plan, serving)
    settings = asdict(plan) | {"network": plan.definition()}
    _write(bundle / "configs" / "metadata.json", _metadata(plan, facts, digest) | {"training": settings | training})
    card = bundle / "docs" / "README.md"
    if not card.exists():
        card.write_text(_card(plan, facts), encoding="utf-8")
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
    }
    _write(bundle / "configs" / "inference.json", document)


def write_mapping(bundle: Path, plan: Plan, facts: Facts, serving: Serving) -> bool:
    """Write dentgate.json, by which a bundle that is dropped in serves; False where no class is a known finding."""
    channels = {
        str(plan.classes.index(name)): {"finding": kind, "threshold": round(threshold, 4)}
        for name, threshold in zip(plan.classes, serving.thresholds, strict=True)
        if (kind := serving.findings.get(name))
    }
    document = {"modality": list(facts.modalities), "channels": channels}
    if facts.body_parts:
        document["body_part"] = list(facts.body_parts)
    if channels:
        _write(bundle / "dentgate.json", document)
    return bool(channels)


def note_figures(bundle: Path, figures: dict[str, Any]) -> None:
    """Write what was measured into metadata.json, under ``eval_metrics``."""
    file = bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text(encoding="utf-8"))
    _write(file, metadata | {"eval_metrics": {"validation": figures}})


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _metadata(plan: Plan, facts: Facts, digest: str) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "kind": KIND,
        "version": facts.version,
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"scipy": "1.11", "scikit-image": "0.25"},
        "name": facts.name,
        "task": facts.task,
        "description": facts.description,
        "authors": "The Dentgate developers",
        "manufacturer": "Dentgate",
        "copyright": "Copyright (c) The Dentgate developers",
        "license": facts.license,
        "data_source": facts.data_source,
        "data_type": facts.data_type,
        "image_classes": facts.image_classes,
        "label_classes": ", ".join(plan.classes),
        "pred_classes": ", ".join(plan.classes),
        "eval_metrics": {},
        "intended_use": _USE,
        "research": True,
        "references": list(facts.references),
        "weights_sha256": digest,
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


def _card(plan: Plan, facts: Facts) -> str:
    lines = (
        f"# {facts.name}",
        facts.description,
        f"Classes: {', '.join(plan.classes)} ({'one of them' if plan.exclusive else 'each by itself'}).",
        f"Trained on: {facts.data_source}. Licence: {facts.license}",
        "Figures: report.html beside the training. Not tested: everything that is not in that report.",
        _USE,
    )
    return "\n\n".join(lines) + "\n"
