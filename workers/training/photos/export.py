"""Networks -> a MONAI bundle of the photograph model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from workers.models.oral_photo import OralPhoto
from workers.models.photo_view import BORDER
from workers.networks.photo_net import PhotoNets
from workers.training import monai_config
from workers.training.bundles import write_json, write_metadata, write_weights
from workers.training.photos.plan import DEVIATION, SIZE

CLOSER = 0.85


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a bundle is made of: the networks with their arguments, and how they were trained.

    Attributes:
        classes: outputs of each member.
        members: networks of ``PhotoNet``.
        scope: the layer on the features of the first that tells whether there is a mouth.
        arguments: with which the members were built.
        words: for the metadata: of the data, and under ``training`` seed, minutes, hardware.
        canvas: rows and columns that the networks see.
    """

    classes: tuple[str, ...]
    members: Sequence[nn.Module]
    scope: nn.Module
    arguments: Sequence[dict[str, Any]]
    words: Mapping[str, Any] = field(default_factory=dict)
    canvas: tuple[int, int] = SIZE


def export_bundle(parts: Parts, bundle: Path) -> str:
    """Write models/model.pt, configs/metadata.json and configs/inference.json; calibration and limits are neutral.

    Returns the SHA-256 of the weights.
    """
    networks = PhotoNets(parts.arguments)
    for place, trained in zip([*networks.members, networks.scope], [*parts.members, parts.scope], strict=True):
        place.load_state_dict(trained.state_dict())
    digest = write_weights(bundle, networks.state_dict())
    write_metadata(bundle, _words(parts) | dict(parts.words), digest)
    write_json(bundle / "configs" / "inference.json", _inference(parts))
    return digest


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
    } | monai_config.photos()


def _words(parts: Parts) -> dict[str, Any]:
    outputs = len(parts.members) * len(parts.classes) + 1
    rows, columns = parts.canvas
    return {
        "name": OralPhoto.name,
        "task": "Findings on photographs of mouths, with heat maps",
        "description": "Small residual networks judge the parts of a photograph; their soft maximum is the finding.",
        "data_type": "colour photographs",
        "image_classes": "photograph of a mouth in colour, mirrored or not",
        "label_classes": "where a photograph was filed; what it was not filed under may be visible all the same",
        "pred_classes": ", ".join(parts.classes),
        "references": [
            "He et al. 2016",
            "Hu et al. 2018, squeeze and excitation",
            "Zhou et al. 2016, class activation",
        ],
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
