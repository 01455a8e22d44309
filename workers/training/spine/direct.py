"""The task ``scoliosis``: the curve of a spine told from the whole film at once, the plain way that papers take.

It is the baseline beside the task ``spine``, which finds vertebrae and measures angles. Films are padded to one shape
and made coarse, because in some collections their shape and sharpness alone tell the classes apart; the bars of the
padding still show the shape, so a figure must be compared with what the size of the films alone gives.
"""

from dataclasses import replace
from pathlib import Path

from service.domain.errors import ConfigurationError
from workers.training.images.task import ImageTask, Recipe
from workers.training.images.tasks import images_recipe
from workers.training.readers import Collection, Record

_CURVES = ("normal", "scoliosis", "single", "double")
_SIZE = (320, 144)  # rows and columns: half of what films are handed out in, so that all are alike unsharp
_PARTS = ("SPINE", "WSPINE", "TLSPINE")  # that a bundle which is dropped in takes
_CAVEATS = (
    "The classes are told from the whole film; no vertebra is found and no angle measured.",
    "Shape and size of the films may tell the classes apart: compare with what they give alone.",
)


def scoliosis_recipe(data: Path, out: Path, seed: int, split: str) -> Recipe:
    """Normal, single and double, or normal and scoliosis where labels say no more; other films are left out.

    Raises:
        ConfigurationError: there are no normal films, or no others.
    """
    recipe = images_recipe(data, out, seed, split)
    whole = recipe.collection
    columns = [whole.classes.index(name) for name in _CURVES if name in whole.classes]
    classes = tuple(whole.classes[column] for column in columns)
    if "normal" not in classes or len(classes) == 1:
        message = f"{data} has the classes {', '.join(whole.classes)}; normal and {' or '.join(_CURVES[1:])} are needed"
        raise ConfigurationError(message)
    reduced = (Record(r.file, r.split, r.group, tuple(r.truth[column] for column in columns)) for r in whole.records)
    records = tuple(record for record in reduced if record.truth.count(1) == 1)
    return replace(
        recipe,
        collection=Collection(whole.folder, classes, records, exclusive=True),
        facts=replace(recipe.facts, name="scoliosis", task=f"Type of curve: {', '.join(classes)}", body_parts=_PARTS),
        findings={name: "scoliosis" for name in classes if name != "normal"},
        changes={"size": _SIZE, "balance": 0.5, "batch": 24},
        caveats=(*_CAVEATS, *recipe.caveats),
    )


SCOLIOSIS = ImageTask(
    "scoliosis", "type of curve from the whole spine film at once: the baseline beside spine", scoliosis_recipe
)
