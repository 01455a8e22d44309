"""Trained weights to a MONAI bundle: what a spine model says of itself beside what every bundle says."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from workers.inference import torch_device
from workers.models.cobb import LEVELS
from workers.networks.spine_net import OUTPUTS, STEP
from workers.training import monai_config
from workers.training.bundles import hardware, provenance, write_json, write_metadata, write_weights
from workers.training.spine.plan import DEVIATION, MEAN, Plan
from workers.training.task import Training

#: A start; workers.training.spine.calibrate fits them.
_UNCALIBRATED: dict[str, Any] = {
    "direct_share": 0.5,
    "angle_gain": 1.0,
    "vertebra_certainty": [1.0, 0.5, 1.0],
    "curve_certainty": [0.5, 0.1, 0.2],
    "uncertain_below": 0.75,
}


def export_bundle(weights: Path, plan: Plan, bundle: Path, order: Training) -> str:
    """Write models/model.pt, configs/metadata.json and configs/inference.json of a bundle.

    Args:
        weights: a state dict as ``fit.fit`` writes it.
        plan: with which it was trained.
        bundle: folder of the bundle; made if need be.
        order: of the training.

    Returns:
        The SHA-256 of the weights, hexadecimal.
    """
    digest = write_weights(bundle, torch.load(weights, map_location="cpu", weights_only=True))
    words = provenance(order)
    if plan.phantom_share:
        words["data_source"] += f"; {100 * plan.phantom_share:g} % of the examples are drawn, not films"
    training = asdict(plan) | {
        "start": order.start.name if order.start else "random weights",
        "hardware": hardware(torch_device(order.device)),
    }
    write_metadata(bundle, words | _words(plan) | {"training": training}, digest)
    write_json(bundle / "configs" / "inference.json", _inference(plan))
    return digest


def _inference(plan: Plan) -> dict[str, Any]:
    network = {
        "_target_": "workers.networks.spine_net.SpineNet",
        "channels": list(plan.channels),
        "features": plan.features,
        "res_units": plan.res_units,
    }
    settings = {"canvas": list(plan.canvas), "mean": MEAN, "deviation": DEVIATION}
    return {"network_def": network, **settings, **_UNCALIBRATED, **monai_config.first_look("Spine")}


def _words(plan: Plan) -> dict[str, Any]:
    return {
        "name": "spine_landmarks",
        "task": "Vertebrae T1 to L5 and Cobb angles on spine radiographs from the front or the back",
        "description": "A dense network finds centres, corners and tilts; curves and Cobb angles follow by rule.",
        "data_type": "grey radiographs",
        "image_classes": "whole spine from the front or the back, bright = dense",
        "label_classes": f"four corners of each vertebra, {LEVELS[0]} to {LEVELS[-1]}",
        "pred_classes": "vertebrae, and curves with their Cobb angles",
        "references": [
            "Ronneberger et al. 2015, U-Net",
            "Zhou et al. 2019, Objects as Points",
            "Yi et al. 2020, Vertebra-focused landmark detection for scoliosis assessment",
        ],
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
