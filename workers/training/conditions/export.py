"""Trained weights to the bundle of the condition model; the card (docs/README.md) is written by a person and kept."""

import hashlib
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

from workers.models.conditions import CONDITIONS, HEADS
from workers.models.tooth_crops import CHANNELS
from workers.networks.condition_net import ConditionNet
from workers.training.images.plan import Plan
from workers.training.teeth.export import write_json

NAME = "tooth_conditions"
VERSION = "0.1.0"
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_DATA = (
    "Dental Radiography (Kaggle, imtkaggleteam/dental-radiography), 394 training panoramics with boxes, a part of them "
    "labelled again by the developers, no clinician; the object network starts from the weights of teeth_panoramic"
)
_LICENSE = (
    "Research weights, not for commercial use. A third-party catalogue gives the images CC BY-NC-SA 4.0; the origin of "
    "the films is uncertain. The object network starts from teeth_panoramic, see its card. The licence of the software "
    "does not cover these weights."
)
_USE = "Research and evaluation only; not for diagnosis. Results are unverified until a dentist has reviewed them."
_KERNEL = 4  # dimensions of a convolution's weights


def export_bundle(
    network: ConditionNet,
    definition: dict[str, Any],
    inference: dict[str, Any],
    training: dict[str, Any],
    bundle: Path,
) -> str:
    """Write models/model.pt, configs/metadata.json and configs/inference.json; the SHA-256 of the weights.

    Args:
        network: trained.
        definition: arguments of ``ConditionNet``.
        inference: the settings of the model, see ``workers.models.conditions.Settings``.
        training: seed, minutes, hardware and plan, for the metadata.
        bundle: folder; made if need be.
    """
    # kernels only: batch statistics do not fit into half precision
    state = {k: v.half() if v.ndim == _KERNEL else v for k, v in network.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    for folder in ("models", "configs", "docs"):
        (bundle / folder).mkdir(parents=True, exist_ok=True)
    (bundle / "models" / "model.pt").write_bytes(content)
    target = {"_target_": "workers.networks.condition_net.ConditionNet", **definition}
    write_json(bundle / "configs" / "inference.json", {"network_def": target, **inference})
    write_json(bundle / "configs" / "metadata.json", _metadata(digest, int(inference["size"]), training))
    return digest


def plan_summary(plan: Plan) -> dict[str, Any]:
    """What the metadata keep of the plan of the crops."""
    kept = ("batch", "learning_rate", "weight_decay", "dropout", "smoothing", "balance", "averaging")
    return {key: getattr(plan, key) for key in kept} | {"augmentation": asdict(plan.augmentation)}


def _metadata(digest: str, size: int, training: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "version": VERSION,
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"scipy": "1.11"},
        "name": NAME,
        "task": "Conditions of single teeth on panoramic radiographs",
        "description": (
            "A small residual network judges crops of single teeth; a dense network finds implants, impacted teeth and "
            "root stumps that are no tooth to the tooth model."
        ),
        "authors": "The Dentgate developers",
        "manufacturer": "Dentgate",
        "copyright": "Copyright (c) The Dentgate developers",
        "license": _LICENSE,
        "data_source": _DATA,
        "data_type": "grey panoramic radiographs (JPEG, 512 x 256)",
        "image_classes": "panoramic radiograph, bright = dense, patient's right at the image's left",
        "label_classes": ", ".join(HEADS),
        "pred_classes": ", ".join(CONDITIONS),
        "eval_metrics": {},
        "intended_use": _USE,
        "research": True,
        "training": training,
        "references": ["He et al. 2015, Deep residual learning", "Zhou et al. 2019, Objects as Points"],
        "weights_sha256": digest,
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "PX",
                    "num_channels": CHANNELS,
                    "spatial_shape": [size, size],
                    "dtype": "float32",
                    "value_range": [-2, 3],
                    "is_patch_data": True,
                    "channel_def": {"0": "grey", "1": "mask of the tooth", "2": "distance from the midline"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "logits",
                    "format": "classification",
                    "num_channels": len(HEADS),
                    "spatial_shape": [1],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {str(index): head for index, head in enumerate(HEADS)},
                }
            },
        },
    }
