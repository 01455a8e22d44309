"""The tasks themselves: what is read, how the bundle is called, what the reader must keep in mind."""

from dataclasses import replace
from pathlib import Path

from service.domain.codes import FINDINGS
from service.domain.errors import ConfigurationError
from workers.models.bundle import BUNDLES
from workers.training.images.export import Facts
from workers.training.images.pictures import in_colour
from workers.training.images.plan import Augmentation
from workers.training.images.task import ImageTask, Recipe
from workers.training.layouts import prepare
from workers.training.readers import Collection, labels_of, read_collection, read_rows

_PERCENTILES = (1.0, 99.5)  # of a radiograph: the brightest markers stay out of it
_FRACTURED = frozenset({"fractured", "fracture"})
_WHOLE = frozenset({"not_fractured", "not fractured", "no_fracture", "no fracture", "normal"})
_BONES = Augmentation(
    rotation=40, zoom=0.3, stretch=0.08, shift=0.1, contrast=0.4, gamma=0.4, brightness=0.1, invert=0.1, blur=0.25,
    noise=0.04, erasing=0.5,
)  # fmt: skip
_FRACTURE = Facts(
    name="fracture",
    task="Fracture or none on radiographs of arms and legs",
    description="A network answers for the whole image; its class activation map shows where.",
    data_type="grey radiographs",
    image_classes="radiograph of an arm or leg, bright = dense",
    references=("He et al. 2015, arXiv 1512.03385", "Zhou et al. 2016, class activation maps"),
)
_CAVEATS = (
    "Thresholds and calibration were fitted on the validation images, unless the card of the bundle says otherwise.",
)
_FRACTURE_CAVEATS = (
    (
        "Where fractured and other images come from different collections or show other parts of the body, a network "
        "can tell them apart without seeing a fracture."
    ),
    *_CAVEATS,
    "What is known of the data of the bundle that ships stands in its card (docs/README.md of the bundle).",
)


def fracture_recipe(data: Path, out: Path, seed: int, split: str) -> Recipe:
    """Fractured or not; MRI, CT, dental and composed pictures (column content_flag) are left out."""
    folder = prepare(data, out, seed, split)
    truths = {}
    for row in read_rows(folder, ("file", "labels")):
        names = {name.lower() for name in labels_of(row)}
        if row.get("content_flag"):
            continue
        if len(names & (_FRACTURED | _WHOLE)) != 1:
            message = f"{row['file']} is labelled {row['labels']!r}; fractured or not_fractured is needed"
            raise ConfigurationError(message)
        truths[folder / row["file"]] = int(bool(names & _FRACTURED))
    collection = read_collection(folder)
    records = [replace(r, truth=(truths[r.file],)) for r in collection.records if r.file in truths]
    return Recipe(
        collection=Collection(folder, ("fracture",), tuple(records), exclusive=False),
        facts=_FRACTURE,
        findings={"fracture": "fracture"},
        percentiles=_PERCENTILES,
        channels=1,
        changes={"augmentation": _BONES, "balance": 0.8, "mixup": 0.3, "weight_decay": 0.05, "batch": 24},
        nothing=18,
        members=3,
        caveats=_FRACTURE_CAVEATS,
    )


def images_recipe(data: Path, out: Path, seed: int, split: str) -> Recipe:
    """The user's own classes: a folder for each, or a manifest.csv."""
    collection = read_collection(prepare(data, out, seed, split))
    colour = in_colour(collection)
    facts = Facts(
        name="images",
        task=f"Classification of images: {', '.join(collection.classes)}",
        description="A classifier of whole images, trained with dentgate train images.",
        data_type="colour pictures" if colour else "grey pictures",
        image_classes="as in the training images",
        modalities=("XC",) if colour else ("DX", "CR"),
    )
    return Recipe(
        collection=collection,
        facts=facts,
        findings={name: kind for name in collection.classes if (kind := _kind_of(name))},
        percentiles=None if colour else _PERCENTILES,
        channels=3 if colour else 1,
        caveats=_CAVEATS,
    )


def _kind_of(name: str) -> str:
    """The finding that a class is called after; empty for "normal" and for words that are none."""
    plain = name.strip().lower().replace("_", "-").replace(" ", "-")
    kind = {"fractured": "fracture", "calculus-or-plaque": "calculus", "plaque": "calculus"}.get(plain, plain)
    return kind if kind in FINDINGS else ""


FRACTURE = ImageTask(
    "fracture", "fracture or none on radiographs of arms and legs", fracture_recipe, BUNDLES / "fracture"
)
IMAGES = ImageTask("images", "your own classes: a folder for each, or manifest.csv", images_recipe)
