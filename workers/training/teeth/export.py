"""Trained weights to a MONAI bundle: what a tooth model says of itself beside what every bundle says."""

from pathlib import Path
from typing import Any

import torch

from workers.inference import torch_device
from workers.models.arch import FDI
from workers.networks.tooth_net import OUTPUTS
from workers.training import monai_config
from workers.training.bundles import hardware, provenance, write_json, write_metadata, write_weights
from workers.training.task import Training
from workers.training.teeth.panoramics import read_manifest
from workers.training.teeth.plan import DEVIATION, MEAN, Plan

PANORAMIC, INTRAORAL = "teeth_panoramic", "teeth_intraoral"
_CERTAINTY = [-2.0, 0.35, 1.0]  # a start; workers.training.teeth.calibrate fits it
_LABELS = {"0": "background", **{str(index + 1): f"FDI {fdi}" for index, fdi in enumerate(FDI)}}
_TASKS = {
    PANORAMIC: "Tooth detection, segmentation and FDI numbering on panoramics and, less well, intra-oral films",
    INTRAORAL: (
        "Tooth detection, segmentation and FDI numbering on intra-oral radiographs; trained on windows of panoramics"
    ),
}
_IMAGES = {
    PANORAMIC: "panoramic radiograph, bright = dense, patient's right at the image's left",
    INTRAORAL: "intra-oral radiograph, bright = dense, upright, mirrored as a panoramic is",
}


def export_bundle(weights: Path, plan: Plan, bundle: Path, order: Training, name: str = PANORAMIC) -> str:
    """Write models/model.pt, configs/metadata.json and configs/inference.json of a bundle.

    Args:
        weights: a state dict as ``fit.fit`` writes it.
        plan: with which it was trained.
        bundle: folder of the bundle; made if need be.
        order: of the training.
        name: of the model that the bundle serves, PANORAMIC or INTRAORAL.

    Returns:
        The SHA-256 of the weights, hexadecimal.
    """
    digest = write_weights(bundle, torch.load(weights, map_location="cpu", weights_only=True))
    write_metadata(bundle, _words(plan, order, name), digest)
    write_json(bundle / "configs" / "inference.json", _inference(plan, name))
    return digest


def _words(plan: Plan, order: Training, name: str) -> dict[str, Any]:
    known = provenance(order)
    source = known["data_source"]
    if plan.numbered:
        folder = Path(plan.films or plan.numbered).name
        count = len(read_manifest(Path(plan.numbered), "train"))
        source += f", and {count} films of the folder {folder} that a model numbered"
    return known | {
        "name": name,
        "task": _TASKS[name],
        "description": "A dense network finds centres, outlines and numbers; dynamic programming numbers each jaw.",
        "data_source": source + (", and drawn phantoms" if plan.phantom_share else ""),
        "data_type": "grey panoramic radiographs" + (" and drawn phantoms" if plan.phantom_share else ""),
        "image_classes": _IMAGES[name],
        "label_classes": "FDI numbers of the permanent teeth",
        "pred_classes": "permanent teeth with FDI numbers",
        "training": {
            "seed": plan.seed,
            "minutes": plan.minutes,
            "start": order.start.name if order.start else "random weights",
            "phantom_share": plan.phantom_share,
            "numbered_share": plan.numbered_share if plan.numbered else 0.0,
            "hardware": hardware(torch_device(order.device)),
        },
        "references": ["Ronneberger et al. 2015, U-Net", "Zhou et al. 2019, Objects as Points"],
        "network_data_format": _format(*plan.large),
    }


def _inference(plan: Plan, name: str) -> dict[str, Any]:
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
    } | monai_config.first_look("Film" if name == INTRAORAL else "Panoramic")


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
