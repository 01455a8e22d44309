"""What every trained bundle holds, whatever the network: weights, metadata in MONAI's form, figures and a card.

Where weights come from, under which licence their images were given and who answers for them is known to whoever
trains, not to the software: a bundle says what the order says, and asks its reader to find out the rest. A bundle that
is written again over one that stands (a released one, for example) keeps the words and the card that a person gave it,
but not its version: other weights get their digest behind it ("0.2.0+1f3c9a2e") until a person gives them one of their
own.
"""

import hashlib
import io
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

from workers.models.bundle import own_version
from workers.training.readers import MANIFEST, read_rows
from workers.training.task import Training

UNRELEASED = "0.0.0"  #: version of a bundle that nobody has released, before the digest of its weights
USE = "Research and evaluation only; not for diagnosis. Results are unverified until a person has reviewed them."
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_KERNEL = 4  # dimensions of a convolution's weights
_MARK = "Written by the training; take this line out when you change the card, or the next training writes it anew."
_KEPT = ("license", "data_source", "authors", "manufacturer", "copyright", "intended_use", "description")


def write_weights(bundle: Path, state: Mapping[str, torch.Tensor], name: str = "model.pt") -> str:
    """Write ``models/NAME`` and make the folders of a bundle; the SHA-256 of the file, hexadecimal.

    Kernels are stored in half precision; all else, batch statistics among them, does not fit into it.
    """
    half = {key: value.half() if value.ndim == _KERNEL else value for key, value in state.items()}
    buffer = io.BytesIO()
    torch.save(half, buffer)
    content = buffer.getvalue()
    for folder in ("models", "configs", "docs"):
        (bundle / folder).mkdir(parents=True, exist_ok=True)
    (bundle / "models" / name).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def provenance(order: Training) -> dict[str, str]:
    """Words for metadata.json about the data of an order: ``data_source``, ``license``, ``authors``, ``copyright``."""
    rows = read_rows(order.data, ("file", "split", "group"))
    counts = {split: [row for row in rows if row["split"] == split] for split in ("train", "val")}
    parts = " and ".join(
        f"{len(part)} images of {len({row['group'] or row['file'] for row in part})} groups (split {split})"
        for split, part in counts.items()
    )
    return {
        "data_source": f"{parts} of the folder {order.data.name}",
        "license": "That of the images trained on, which only whoever trained it knows; ask before passing it on.",
        "authors": "whoever trained it",
        "copyright": "see license",
    }


def hardware(device: torch.device) -> str:
    """What it was trained on, in a few words."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"


def write_metadata(bundle: Path, words: Mapping[str, Any], digest: str, *, keep: bool = True) -> None:
    """Write configs/metadata.json.

    Args:
        bundle: folder.
        words: name, task, description, data_type, label_classes and so on, as in MONAI's schema; see ``provenance``.
        digest: of the weights.
        keep: the words that a person gave a bundle that stands there stay (``license``, ``authors`` and so on).
    """
    file = bundle / "configs" / "metadata.json"
    standing = json.loads(file.read_text(encoding="utf-8")) if keep and file.is_file() else {}
    common = {
        "schema": _SCHEMA,
        "version": _version(standing, digest),
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"scipy": "1.11", "scikit-image": "0.25"},
        "manufacturer": "Dentgate",
        "eval_metrics": {},
        "intended_use": USE,
        "research": True,
        "weights_sha256": digest,
    }
    stays = {key: standing[key] for key in _KEPT if key in standing}
    if "version" in standing and released(standing) == UNRELEASED:
        stays.pop("data_source", None)  # the images of the training before this one
    write_json(file, common | dict(words) | stays)


def _version(standing: Mapping[str, Any], digest: str) -> str:
    """The same weights keep their version; others get one that no other weights have (SemVer's build metadata)."""
    if standing.get("weights_sha256") == digest and "version" in standing:
        return str(standing["version"])
    return own_version(released(standing), digest)


def released(metadata: Mapping[str, Any]) -> str:
    """The version that a person gave a bundle, whatever weights it holds by now."""
    return str(metadata.get("version", UNRELEASED)).partition("+")[0]


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Indented, with a newline at the end."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def note_figures(bundle: Path, figures: Mapping[str, Any], part: str = "validation") -> None:
    """Write what was measured into metadata.json, under ``eval_metrics``."""
    file = bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text(encoding="utf-8"))
    write_json(file, metadata | {"eval_metrics": {part: dict(figures)}})


def write_card(bundle: Path) -> None:
    """Write docs/README.md, the model card, from metadata.json; a card that a person wrote stays."""
    card = bundle / "docs" / "README.md"
    if card.exists() and _MARK not in card.read_text(encoding="utf-8"):
        return
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    training = ", ".join(f"{key} {value}" for key, value in metadata.get("training", {}).items() if _short(value))
    figures = metadata["eval_metrics"].get("validation", {})
    lines = [
        f"# {metadata['name']} {metadata['version']}: model card",
        metadata["description"],
        f"**{metadata['intended_use']}**",
        f"Answers: {metadata['pred_classes']}.",
        f"Trained on: {metadata['data_source']}. Licence: {metadata['license']}",
        f"Training: {training}." if training else "",
        str(figures.get("headline", "")),
        *(f"- {key}: {told}" for key, value in figures.items() if key != "headline" and (told := _told(value))),
        f"Figures with intervals, and what failed: report.html of the training, whose images {MANIFEST} names.",
        "Not tested: everything that is not in that report.",
        _MARK,
    ]
    card.write_text("\n\n".join(line for line in lines if line) + "\n", encoding="utf-8")


def _told(figure: object) -> str:
    """A number or a few words, or a value with its interval; empty for anything longer."""
    if isinstance(figure, Mapping) and figure.keys() >= {"value", "low", "high"}:
        known = f"{figure['value']} ({figure['low']} to {figure['high']})"
        return "" if figure["value"] is None else known
    return str(figure) if _short(figure) else ""


def _short(value: object) -> bool:
    return isinstance(value, int | float | str) and len(str(value)) < 60  # noqa: PLR2004 - what a line holds
