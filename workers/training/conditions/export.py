"""Trained weights to the bundle of the condition model."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workers.models.bundle import BUNDLES
from workers.models.conditions import CONDITIONS, HEADS
from workers.models.tooth_crops import CHANNELS
from workers.networks.condition_net import ConditionNet
from workers.training import monai_config
from workers.training.bundles import provenance, write_json, write_metadata, write_weights
from workers.training.images.plan import Plan
from workers.training.task import Training

NAME = "tooth_conditions"
TEETH = "teeth_panoramic"  #: whose weights the object network starts from


def export_bundle(
    network: ConditionNet,
    definition: dict[str, Any],
    inference: dict[str, Any],
    words: dict[str, Any],
    bundle: Path,
) -> str:
    """Write models/model.pt, configs/metadata.json and configs/inference.json; the SHA-256 of the weights.

    Args:
        network: trained.
        definition: arguments of ``ConditionNet``.
        inference: the settings of the model, see ``workers.models.conditions.Settings``.
        words: for the metadata, see ``words_of``.
        bundle: folder; made if need be.
    """
    digest = write_weights(bundle, network.state_dict())
    target = {"_target_": "workers.networks.condition_net.ConditionNet", **definition}
    write_json(bundle / "configs" / "inference.json", {"network_def": target, **inference, **monai_config.conditions()})
    write_metadata(bundle, words | {"network_data_format": _formats(int(inference["size"]))}, digest)
    return digest


def plan_summary(plan: Plan) -> dict[str, Any]:
    """What the metadata keep of the plan of the crops."""
    kept = ("batch", "learning_rate", "weight_decay", "dropout", "smoothing", "balance", "averaging", "mixed")
    return {key: getattr(plan, key) for key in kept} | {"augmentation": asdict(plan.augmentation)}


def words_of(order: Training, said: Sequence[str]) -> dict[str, Any]:
    """Words for metadata.json; ``said``: heads that the bundle answers. Half of it starts from the tooth model."""
    teeth = json.loads((BUNDLES / TEETH / "configs" / "metadata.json").read_text(encoding="utf-8"))
    words = provenance(order)
    words["data_source"] += f"; the object network starts from the weights of {TEETH} {teeth['version']}"
    words["license"] += f" The object network starts from {TEETH}, whose licence holds too: {teeth['license']}"
    return words | {
        "name": NAME,
        "task": "Conditions of single teeth on panoramic radiographs",
        "description": (
            "A small residual network judges crops of single teeth; a dense network finds implants, impacted teeth and "
            "root stumps that are no tooth to the tooth model."
        ),
        "data_type": "grey panoramic radiographs",
        "image_classes": "panoramic radiograph, bright = dense, patient's right at the image's left",
        "label_classes": ", ".join(said),
        "pred_classes": ", ".join(head for head in said if head in CONDITIONS),
        "references": ["He et al. 2015, Deep residual learning", "Zhou et al. 2019, Objects as Points"],
    }


def _formats(size: int) -> dict[str, Any]:
    common: dict[str, Any] = {"dtype": "float32", "is_patch_data": True}
    image = {"type": "image", "format": "magnitude", "modality": "PX", "num_channels": CHANNELS}
    image |= {"spatial_shape": [size, size], "value_range": [-2, 3]}
    image |= {"channel_def": {"0": "grey", "1": "mask of the tooth", "2": "distance from the midline"}}
    output = {"type": "logits", "format": "classification", "num_channels": len(HEADS), "spatial_shape": [1]}
    output |= {"value_range": [], "channel_def": {str(index): head for index, head in enumerate(HEADS)}}
    return {"inputs": {"image": image | common}, "outputs": {"pred": output | common}}
