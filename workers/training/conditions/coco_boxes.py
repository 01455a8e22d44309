"""Boxes with a condition from a COCO file: DENTEX's diseases (``category_id_3``), or conditions as plain categories."""

import json
from pathlib import Path
from typing import Any

from service.domain.errors import ConfigurationError


def read(document: Path) -> list[tuple[str, str, tuple[float, float, float, float]]]:
    """File name of the picture without folders, name of the condition, and box x0, y0, x1, y1 of each annotation.

    DENTEX (Hamamci 2023) gives a quadrant, a tooth and a disease; its files without diseases hold no boxes.

    Raises:
        ConfigurationError: it cannot be read or is no COCO file with conditions.
    """
    try:
        content = json.loads(document.read_text(encoding="utf-8-sig"))
        pictures = {image["id"]: Path(str(image["file_name"])).name for image in content["images"]}
        if "categories_1" in content and "categories_3" not in content:
            return []  # teeth, without what is wrong with them
        key, kinds = ("category_id", "categories") if "categories" in content else ("category_id_3", "categories_3")
        names = {c["id"]: str(c["name"]) for c in content[kinds]}
        told = [a for a in content["annotations"] if key in a]  # of a sound tooth DENTEX's layout may name no disease
        return [(pictures[a["image_id"]], names[a[key]], _corners(a["bbox"])) for a in told]
    except OSError as error:
        message = f"{document} cannot be read ({error.strerror})"
        raise ConfigurationError(message) from error
    except (ValueError, KeyError, TypeError) as error:
        message = (
            f"{document} is not COCO with conditions ({type(error).__name__}: {error}); it needs images, categories "
            "(or DENTEX's categories_3) and annotations with a bbox"
        )
        raise ConfigurationError(message) from error


def _corners(box: Any) -> tuple[float, float, float, float]:  # noqa: ANN401 - from JSON
    x, y, width, height = (float(value) for value in box)
    return x, y, x + width, y + height
