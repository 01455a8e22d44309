"""What MONAI's tools need of a bundle beside network and numbers: transforms and ``run``, read by its ConfigParser.

Numbers stand once in ``configs/inference.json``, where the gateway reads them; here ``@name`` refers to them, so that
both cannot disagree. All work on a dictionary: ``image`` is a file and becomes the network's input, ``pred`` is what
the network says of it.
"""

from typing import Any

_OURS = "workers.models.transforms."
_IMAGE, _PRED = {"keys": "image"}, {"keys": "pred"}
_SIMPLE = {"_target_": "SimpleInferer"}
_RUN = "workers.models.folder_run."


def classifier() -> dict[str, Any]:
    """``preprocessing``, ``inferer`` and ``postprocessing`` of a bundle of ``workers.models.image_classifier``."""
    canvas = {"_target_": f"{_OURS}OnCanvasd", **_IMAGE, "size": "@size", "percentiles": "@percentiles"}
    activation = {"_target_": "Activationsd", **_PRED, "sigmoid": "$not @exclusive", "softmax": "@exclusive"}
    return {
        "preprocessing": _compose(_read("@channels"), canvas, _normalized(channel_wise=True)),
        "inferer": {"_target_": f"{_OURS}MirroredInferer", "mirrored": "@mirrored"},
        "postprocessing": _compose(_calibrated("@calibration"), activation),
    } | _run({"postprocessing": "@postprocessing", "classes": "@classes"})


def photos() -> dict[str, Any]:
    """The same of ``workers.models.oral_photo``; its second network, whether there is a mouth, is left out."""
    looks = {"_target_": f"{_OURS}PhotoLooksd", **_IMAGE, "size": "@canvas", "closer": "@closer"}
    normalized = _normalized(channel_wise=True) | {"subtrahend": "$2 * @mean", "divisor": "$2 * @deviation"}
    calibrated = {"_target_": f"{_OURS}Calibratedd", **_PRED, "slopes": "@slopes", "offsets": "@offsets"}
    return {
        "preprocessing": _compose(_read(3), looks, normalized),
        "inferer": {"_target_": f"{_OURS}PhotoInferer", "classes": "$len(@classes)"},
        "postprocessing": _compose(calibrated, {"_target_": "Activationsd", **_PRED, "sigmoid": True}),
    } | _run({"postprocessing": "@postprocessing", "classes": "@classes"})


def conditions() -> dict[str, Any]:
    """The same of the network of single teeth of ``workers.models.conditions``: of teeth that were found as such.

    It has no ``run``: a folder of pictures does not say where their teeth are.
    """
    crop = {"_target_": f"{_OURS}ToothCropd", **_IMAGE, "size": "@size"}
    return {
        "preprocessing": _compose(_read(1), crop, _normalized(channel_wise=True)),
        "inferer": _SIMPLE,
        "postprocessing": _compose(_calibrated("@curves"), {"_target_": "Activationsd", **_PRED, "sigmoid": True}),
    }


def first_look(kind: str) -> dict[str, Any]:
    """``preprocessing`` and ``inferer`` of a dense network: its first look; what it sees becomes findings in code only.

    Args:
        kind: "Panoramic", "Film" (intra-oral) or "Spine".
    """
    look = {"_target_": f"{_OURS}{kind}Lookd", **_IMAGE, "size": "@canvas"}
    before = {"preprocessing": _compose(_read(1), look, _normalized(channel_wise=False)), "inferer": _SIMPLE}
    return before | _run({})


def _run(answers: dict[str, str]) -> dict[str, Any]:
    """What ``python -m monai.bundle run`` needs beside: a folder's files through the parts above, written down.

    ``answers``: what becomes of the network's output; nothing = it is written as it is.
    """
    parts = {"dataset": "@dataset", "network": "@network_def", "inferer": "@inferer", "device": "@device"}
    places = {"weights": "$@bundle_root + '/models/model.pt'", "output_dir": "@output_dir"}
    data = {"_target_": f"{_RUN}pictures", "folder": "@dataset_dir"}
    return {
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "eval",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "dataset": {"_target_": "Dataset", "data": data, "transform": "@preprocessing"},
        "evaluator": {"_target_": f"{_RUN}FolderEvaluator", **parts, **places, **answers},
        "run": ["$@evaluator.run()"],
    }


def _read(channels: int | str) -> dict[str, Any]:
    return {"_target_": f"{_OURS}ReadPictured", **_IMAGE, "channels": channels}


def _normalized(*, channel_wise: bool) -> dict[str, Any]:
    numbers = {"subtrahend": "@mean", "divisor": "@deviation"}
    return {"_target_": "NormalizeIntensityd", **_IMAGE, **numbers, "channel_wise": channel_wise}


def _calibrated(curves: str) -> dict[str, Any]:
    """``curves``: name of a list of slope and offset for each class."""
    slopes, offsets = (f"$[curve[{k}] for curve in {curves}]" for k in (0, 1))
    return {"_target_": f"{_OURS}Calibratedd", **_PRED, "slopes": slopes, "offsets": offsets}


def _compose(*transforms: dict[str, Any]) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(transforms)}
