"""What is wrong with a data set, found before the training starts and said so that it can be mended.

Every check names the file and the mend; the first that fails ends the command.
"""

from collections import Counter
from collections.abc import Sequence
from os.path import normpath
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers.training.progress import Progress
from workers.training.readers import MANIFEST, Collection, read_collection, read_rows

_SHOWN = 3  # of many alike


def check_training_data(data: Path, *, labelled: bool) -> None:
    """Everything that can be known before the first step.

    Args:
        data: folder with a complete manifest (see ``layouts.prepare``).
        labelled: images carry classes.

    Raises:
        ConfigurationError: a column, part, file or class is missing, an image is damaged, a group lies in two parts.
    """
    check_manifest(data, labelled=labelled)
    check_files(data, read_rows(data))
    if labelled:
        Progress().end(_understood(read_collection(data)))


def _understood(collection: Collection) -> str:
    """What will be learnt, in a line that shows a slip in the labels before the hours of a training."""
    counts = np.stack([(collection.part(part).truth == 1).sum(0) for part in ("train", "val")], 1)
    classes = [f"{name} {train} + {val}" for name, (train, val) in zip(collection.classes, counts, strict=True)]
    several = sum(record.truth.count(1) > 1 for record in collection.records)
    none = sum(1 not in record.truth for record in collection.records)
    each = "one for each image" if collection.exclusive else f"{several} images show several, {none} none"
    return f"classes, images of train + val: {', '.join(classes)}; {each}"


def check_manifest(data: Path, *, labelled: bool) -> None:
    """The same without a look at the files."""
    rows = read_rows(data, ("file", "split", "group"))
    _check_parts(data, rows)
    _check_groups(data, rows)
    if labelled:
        check_classes(read_collection(data))


def _check_parts(data: Path, rows: Sequence[dict[str, str]]) -> None:
    counts = Counter(row["split"] for row in rows)
    for part in ("train", "val"):
        if not counts[part]:
            known = ", ".join(f"{name or 'empty'} ({count})" for name, count in counts.items())
            message = f"{data / MANIFEST} has no image of split {part!r}; it has {known}; give both in its column split"
            raise ConfigurationError(message)
    twice = [name for name, count in Counter(normpath(row["file"]) for row in rows).items() if count > 1]
    if twice:
        message = f"{data / MANIFEST} lists {_some(twice)} more than once; leave one row of each"
        raise ConfigurationError(message)


def _check_groups(data: Path, rows: Sequence[dict[str, str]]) -> None:
    parts: dict[str, set[str]] = {}
    for row in rows:
        if row["group"] and row["split"]:
            parts.setdefault(row["group"], set()).add(row["split"])
    crossing = [f"{group} ({' and '.join(sorted(found))})" for group, found in parts.items() if len(found) > 1]
    if crossing:
        message = (
            f"{data / MANIFEST}: group {_some(crossing)} lies in two parts, so a figure on one would flatter; "
            "give all images of a group the same split (folders below those of the classes are groups)"
        )
        raise ConfigurationError(message)


def check_classes(collection: Collection) -> None:
    """Raises ConfigurationError where nothing can be told apart: one class only, or a class without training images."""
    manifest = collection.folder / MANIFEST
    if collection.exclusive and len(collection.classes) == 1:
        message = f"{manifest}: all images are {collection.classes[0]!r}; a second class is needed to tell it from"
        raise ConfigurationError(message)
    truth = collection.part("train").truth
    for wanted, word in ((1, "example"), (0, "counter-example")):
        for k, name in enumerate(collection.classes):
            if not (truth[:, k] == wanted).any():
                message = f"{manifest}: class {name!r} has no {word} in split train; add some or leave the class out"
                raise ConfigurationError(message)


def check_files(data: Path, rows: Sequence[dict[str, str]]) -> None:
    """Every image and label map can be opened and read to its end, and they fit each other."""
    progress, bad = Progress(), list[str]()
    for done, row in enumerate(rows, 1):
        size, trouble = _opened(data / row["file"])
        if not trouble and row.get("label_file"):
            label_size, trouble = _opened(data / row["label_file"])
            if not trouble and label_size != size:
                trouble = (
                    f"{row['label_file']} has {label_size[0]} x {label_size[1]} pixels, its image {size[0]} x {size[1]}"
                )
        if trouble:
            bad.append(trouble)
        progress.tell(f"checking images: {done} of {len(rows)}", done / len(rows))
    progress.end(f"{len(rows)} images checked")
    if bad:
        message = (
            f"{len(bad)} of {len(rows)} images cannot be used: {_some(bad)}; mend the files or take out their rows"
        )
        raise ConfigurationError(message)


def _opened(file: Path) -> tuple[tuple[int, int], str]:
    """Columns and rows of a picture, and what is wrong with it."""
    try:
        with Picture.open(file) as picture:
            picture.load()
            return picture.size, ""
    except FileNotFoundError:
        return (0, 0), f"{file} is not there"
    except (OSError, ValueError, SyntaxError, Picture.DecompressionBombError) as error:
        return (0, 0), f"{file} is damaged or no picture ({type(error).__name__})"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
