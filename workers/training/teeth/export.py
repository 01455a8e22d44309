"""Trained weights to a MONAI bundle: half-precision weights, their digest and the words around them.

The model card (docs/README.md) is written by a person; a bundle that has one keeps it.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

from workers.models.arch import FDI
from workers.networks.tooth_net import OUTPUTS
from workers.training.teeth.plan import DEVIATION, MEAN, Plan

_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_DATA = (
    "UFBA-425 (OralBBNet, arXiv 2406.03747; figshare 10.6084/m9.figshare.29827475): 301 training panoramics of "
    "UFBA-UESC Dental Images (Silva et al. 2018, arXiv 1802.03086); and procedural phantoms of this project"
)
_NUMBERED_DATA = (
    "; and panoramics of the collection Dental Radiography (Kaggle, imtkaggleteam/dental-radiography) that an earlier "
    "version of this model numbered"
)
_LICENSE = (
    "Research weights. The label repository carries Apache-2.0; the images under it were given out for academic use on "
    "request, so it is uncertain that the licence covers the pixels. The licence of the software does not cover these "
    "weights."
)
_NUMBERED_LICENSE = (
    " Non-commercial: the collection Dental Radiography is CC BY-NC-SA 4.0 according to a third-party catalogue; where "
    "its films come from is not known."
)
_USE = "Research and evaluation only; not for diagnosis. Results are unverified until a dentist has reviewed them."
_CERTAINTY = [-2.0, 0.35, 1.0]  # a start; workers.training.teeth.calibrate fits it
_KERNEL = 4  # dimensions of a convolution's weights
_LABELS = {"0": "background", **{str(index + 1): f"FDI {fdi}" for index, fdi in enumerate(FDI)}}


def export_bundle(
    weights: Path, plan: Plan, bundle: Path, version: str, metrics: dict[str, Any], name: str = "teeth_panoramic"
) -> str:
    """Write models/model.pt, configs/metadata.json and configs/inference.json of a bundle.

    Args:
        weights: a state dict as ``fit.fit`` writes it.
        plan: with which it was trained.
        bundle: folder of the bundle; made if need be.
        version: of the bundle, raised with every change of weights.
        metrics: figures for ``eval_metrics``.
        name: of the model that the bundle serves: teeth_panoramic or teeth_intraoral.

    Returns:
        The SHA-256 of the weights, hexadecimal.
    """
    state = torch.load(weights, map_location="cpu", weights_only=True)
    # kernels only: batch statistics do not fit into half precision
    half = {key: value.half() if value.ndim == _KERNEL else value for key, value in state.items()}
    buffer = io.BytesIO()
    torch.save(half, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    for folder in ("models", "configs", "docs"):
        (bundle / folder).mkdir(parents=True, exist_ok=True)
    (bundle / "models" / "model.pt").write_bytes(content)
    write_json(bundle / "configs" / "metadata.json", _metadata(plan, version, digest, metrics) | {"name": name})
    write_json(bundle / "configs" / "inference.json", _inference(plan))
    return digest


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Indented, with a newline at the end."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _inference(plan: Plan) -> dict[str, Any]:
    return {
        "network_def": {
            "_target_": "workers.networks.tooth_net.ToothNet",
            "channels": list(plan.channels),
            "features": plan.features,
            "res_units": plan.res_units,
        },
        "canvas": list(plan.large),
        "mean": MEAN,
        "deviation": DEVIATION,
        "certainty": _CERTAINTY,
        "certainty_intraoral": _CERTAINTY,
        "uncertain_below": 0.85,
    }


def _metadata(plan: Plan, version: str, digest: str, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "version": version,
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"scipy": "1.11", "scikit-image": "0.25"},
        "name": "teeth_panoramic",
        "task": "Tooth detection, segmentation and FDI numbering on panoramics and, less well, intra-oral films",
        "description": "A dense network finds centres, outlines and numbers; dynamic programming numbers each jaw.",
        "authors": "The Dentgate developers",
        "manufacturer": "Dentgate",
        "copyright": "Copyright (c) The Dentgate developers",
        "license": _LICENSE + (_NUMBERED_LICENSE if plan.numbered else ""),
        "data_source": _DATA + (_NUMBERED_DATA if plan.numbered else ""),
        "data_type": "grey panoramic radiographs (JPEG) and drawn phantoms",
        "image_classes": "panoramic radiograph, bright = dense, patient's right at the image's left",
        "label_classes": "FDI numbers of the permanent teeth",
        "pred_classes": "permanent teeth with FDI numbers",
        "eval_metrics": metrics,
        "intended_use": _USE,
        "research": True,
        "training": {
            "seed": plan.seed,
            "minutes": plan.minutes,
            "phantom_share": plan.phantom_share,
            "numbered_share": plan.numbered_share if plan.numbered else 0.0,
            "hardware": "2 CPU cores",
        },
        "references": ["Ronneberger et al. 2015, U-Net", "Zhou et al. 2019, Objects as Points"],
        "weights_sha256": digest,
        "network_data_format": _format(*plan.large),
    }


def _format(rows: int, columns: int) -> dict[str, Any]:
    """What goes in and what comes out."""
    return {
        "inputs": {
            "image": {
                "type": "image",
                "format": "magnitude",
                "modality": "PX",
                "num_channels": 1,
                "spatial_shape": [rows, columns],
                "dtype": "float32",
                "value_range": [-2, 3],
                "is_patch_data": False,
                "channel_def": {"0": "image"},
            }
        },
        "outputs": {
            "pred": {
                "type": "logits",
                "format": "segmentation",
                "num_channels": OUTPUTS,
                "spatial_shape": [rows // 2, columns // 2],
                "dtype": "float32",
                "value_range": [],
                "is_patch_data": False,
                "channel_def": {**_LABELS, "33": "centre heat", "34": "offset, rows", "35": "offset, columns"},
            }
        },
    }
