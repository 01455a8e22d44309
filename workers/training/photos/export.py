"""Networks -> a MONAI bundle of the photograph model."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from torch import nn

from workers.models.oral_photo import OralPhoto
from workers.models.photo_view import BORDER
from workers.networks.photo_net import PhotoNets
from workers.training.photos.plan import DEVIATION, SIZE

CLOSER = 0.85
VERSION = "1.0.0"
_KERNEL = 4  # dimensions of a convolution's weights
_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_generic_20221122.json"
)
_LICENSE = (
    "Research weights. No licence is stated for the photographs: others collected them from the web and from clinics, "
    "their origin is unknown, some carry watermarks of stock agencies, and the collection that was used asks that "
    "neither its images nor weights trained on them be passed on. The licence of the software does not cover these "
    "weights."
)
_USE = "Research and evaluation only; not for diagnosis. Results are unverified until a dentist has reviewed them."
_DATA = (
    "587 groups of photographs (945) for training, 158 groups (228) for validation: repositories Vullkano/"
    "Oral-Diseases-Prediction (conditions) and Amanpandey2005/Mouth-Ulcer-and-Dental-Calculus-Using-VGG-19 (healthy); "
    "drawn pictures without a mouth"
)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a bundle is made of: the networks with their arguments, and how they were trained.

    Attributes:
        classes: outputs of each member.
        members: networks of ``PhotoNet``.
        scope: the layer on the features of the first that tells whether there is a mouth.
        arguments: with which the members were built.
        training: for the metadata: seed, minutes, hardware.
        canvas: rows and columns that the networks see.
    """

    classes: tuple[str, ...]
    members: Sequence[nn.Module]
    scope: nn.Module
    arguments: Sequence[dict[str, Any]]
    training: dict[str, Any]
    canvas: tuple[int, int] = SIZE


def export_bundle(parts: Parts, bundle: Path, version: str = VERSION) -> str:
    """Write models/model.pt, configs/metadata.json and configs/inference.json; calibration and limits are neutral.

    Kernels are kept in half precision, batch statistics do not fit into it. Returns the SHA-256 of the weights.
    """
    networks = PhotoNets(parts.arguments)
    for place, trained in zip([*networks.members, networks.scope], [*parts.members, parts.scope], strict=True):
        place.load_state_dict(trained.state_dict())
    state = networks.state_dict()
    buffer = io.BytesIO()
    torch.save({key: value.half() if value.ndim == _KERNEL else value for key, value in state.items()}, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    for folder in ("models", "configs", "docs"):
        (bundle / folder).mkdir(parents=True, exist_ok=True)
    (bundle / "models" / "model.pt").write_bytes(buffer.getvalue())
    write_json(bundle / "configs" / "metadata.json", _metadata(parts, digest, version))
    write_json(bundle / "configs" / "inference.json", _inference(parts))
    return digest


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Indented, with a newline at the end."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _inference(parts: Parts) -> dict[str, Any]:
    count = len(parts.classes)
    return {
        "network_def": {
            "_target_": "workers.networks.photo_net.PhotoNets",
            "members": list(parts.arguments),
        },
        "classes": list(parts.classes),
        "canvas": list(parts.canvas),
        "mean": list(BORDER),
        "deviation": [DEVIATION] * 3,
        "closer": CLOSER,
        "slopes": [1.0] * count,
        "offsets": [0.0] * count,
        "thresholds": [0.5] * count,
        "least_mouth": 0.0,
    }


def _metadata(parts: Parts, digest: str, version: str) -> dict[str, Any]:
    outputs = len(parts.members) * len(parts.classes) + 1
    rows, columns = parts.canvas
    return {
        "schema": _SCHEMA,
        "version": version,
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"scipy": "1.11", "pillow": "10"},
        "name": OralPhoto.name,
        "task": "Findings on photographs of mouths, with heat maps",
        "description": "Small residual networks judge the parts of a photograph; their soft maximum is the finding.",
        "authors": "The Dentgate developers",
        "manufacturer": "Dentgate",
        "copyright": "Copyright (c) The Dentgate developers",
        "license": _LICENSE,
        "data_source": _DATA,
        "data_type": "colour photographs (JPEG)",
        "image_classes": "photograph of a mouth in colour, mirrored or not",
        "label_classes": "where a photograph was filed; what it was not filed under may be visible all the same",
        "pred_classes": ", ".join(parts.classes),
        "eval_metrics": {},
        "intended_use": _USE,
        "research": True,
        "training": parts.training,
        "references": [
            "He et al. 2016",
            "Hu et al. 2018, squeeze and excitation",
            "Zhou et al. 2016, class activation",
        ],
        "weights_sha256": digest,
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "XC",
                    "num_channels": 3,
                    "spatial_shape": [rows, columns],
                    "dtype": "float32",
                    "value_range": [-3, 3],
                    "is_patch_data": False,
                    "channel_def": {"0": "red", "1": "green", "2": "blue"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "logits",
                    "format": "classification",
                    "num_channels": outputs,
                    "spatial_shape": [rows // 16, columns // 16],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": _channels(parts),
                }
            },
        },
    }


def _channels(parts: Parts) -> dict[str, str]:
    names = [f"{name}, network {member}" for member in range(len(parts.members)) for name in parts.classes]
    return {str(index): name for index, name in enumerate([*names, "a mouth is there"])}
