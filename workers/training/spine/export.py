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

from workers.models.cobb import LEVELS
from workers.networks.spine_net import OUTPUTS, STEP
from workers.training.spine.plan import DEVIATION, MEAN, Plan

_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_DATA = (
    "AASCE 2019 / SpineWeb data set 16 (Wu et al. 2017, doi 10.1007/978-3-319-66182-7_15; Wang et al. 2021, doi "
    "10.1016/j.media.2021.102115): 388 training films, patients kept together"
)
_LICENSE = (
    "Research weights. SpineWeb hands the films out after registration, for research; the licence of the software does "
    "not cover these weights."
)
_USE = "Research and evaluation only; not for diagnosis. Results are unverified until a person has reviewed them."
_KERNEL = 4  # dimensions of a convolution's weights
#: A start; workers.training.spine.calibrate fits them.
_UNCALIBRATED: dict[str, Any] = {
    "direct_share": 0.5,
    "angle_gain": 1.0,
    "vertebra_certainty": [1.0, 0.5, 1.0],
    "curve_certainty": [0.5, 0.1, 0.2],
    "uncertain_below": 0.75,
}


def export_bundle(weights: Path, plan: Plan, bundle: Path, version: str, metrics: dict[str, Any]) -> str:
    """Write models/model.pt, configs/metadata.json and configs/inference.json of a bundle.

    Args:
        weights: a state dict as ``fit.fit`` writes it.
        plan: with which it was trained.
        bundle: folder of the bundle; made if need be.
        version: of the bundle, raised with every change of weights.
        metrics: figures for ``eval_metrics``.

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
    write_json(bundle / "configs" / "metadata.json", _metadata(plan, version, digest, metrics))
    write_json(bundle / "configs" / "inference.json", _inference(plan))
    return digest


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Indented, with a newline at the end."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _inference(plan: Plan) -> dict[str, Any]:
    network = {
        "_target_": "workers.networks.spine_net.SpineNet",
        "channels": list(plan.channels),
        "features": plan.features,
        "res_units": plan.res_units,
    }
    settings = {"canvas": list(plan.canvas), "mean": MEAN, "deviation": DEVIATION}
    return {"network_def": network, **settings, **_UNCALIBRATED}


def _metadata(plan: Plan, version: str, digest: str, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "version": version,
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"scipy": "1.11", "scikit-image": "0.25"},
        "name": "spine_landmarks",
        "task": "Vertebrae T1 to L5 and Cobb angles on spine radiographs from the front or the back",
        "description": "A dense network finds centres, corners and tilts; curves and Cobb angles follow by rule.",
        "authors": "The Dentgate developers",
        "manufacturer": "Dentgate",
        "copyright": "Copyright (c) The Dentgate developers",
        "license": _LICENSE,
        "data_source": _DATA,
        "data_type": "grey radiographs (JPEG)",
        "image_classes": "whole spine from the front or the back, bright = dense",
        "label_classes": f"four corners of each vertebra, {LEVELS[0]} to {LEVELS[-1]}",
        "pred_classes": "vertebrae, and curves with their Cobb angles",
        "eval_metrics": metrics,
        "intended_use": _USE,
        "research": True,
        "training": {"seed": plan.seed, "minutes": plan.minutes, "hardware": "2 CPU cores"},
        "references": [
            "Ronneberger et al. 2015, U-Net",
            "Zhou et al. 2019, Objects as Points",
            "Yi et al. 2020, Vertebra-focused landmark detection for scoliosis assessment",
        ],
        "weights_sha256": digest,
        "network_data_format": _formats(plan),
    }


def _formats(plan: Plan) -> dict[str, Any]:
    rows, columns = plan.canvas
    corners = ("top left", "top right", "bottom left", "bottom right")
    names = ["centre heat", *(f"{corner} heat" for corner in corners)]
    names += [f"way to the {corner}, {axis}" for corner in corners for axis in ("columns", "rows")]
    common: dict[str, Any] = {"dtype": "float32", "is_patch_data": False}
    image = {"type": "image", "format": "magnitude", "modality": "DX", "num_channels": 1, "value_range": [-2, 3]}
    output = {"type": "logits", "format": "segmentation", "num_channels": OUTPUTS, "value_range": []}
    image |= common | {"spatial_shape": [rows, columns], "channel_def": {"0": "image"}}
    output |= common | {
        "spatial_shape": [rows // STEP, columns // STEP],
        "channel_def": {str(index): name for index, name in enumerate([*names, "tilt"])},
    }
    return {"inputs": {"image": image}, "outputs": {"pred": output}}
