"""The tasks that can be trained and measured. A new one is a module with a ``Task``, and a line here."""

import importlib
from dataclasses import dataclass
from typing import cast

from service.domain.errors import ConfigurationError
from workers.training.task import Task


@dataclass(frozen=True, slots=True)
class Entry:
    """A task before its module is imported, which takes seconds that ``--help`` must not take.

    Attributes:
        name: on the command line.
        place: module and name of the ``Task``, or of its class.
        labelled: whether images carry classes, which a training needs examples and counter-examples of.
        bundle: name of the one that ships; empty = none.
        boxed: whether it reads boxes itself, see ``layouts.prepare``.
        backbones: whether the network can be chosen, and its first weights by name.
    """

    name: str
    place: str
    labelled: bool = False
    bundle: str = ""
    backbones: bool = False
    boxed: bool = False

    def load(self) -> Task:
        """The task."""
        module, _, name = self.place.partition(":")
        found = getattr(importlib.import_module(module), name)
        return cast("Task", found() if isinstance(found, type) else found)


TASKS: tuple[Entry, ...] = (
    Entry("teeth", "workers.training.teeth.task:TEETH", bundle="teeth_panoramic"),
    Entry("conditions", "workers.training.conditions.task:TASK", bundle="tooth_conditions", boxed=True),
    Entry("photos", "workers.training.photos.task:Photos", labelled=True, bundle="oral_photo"),
    Entry("fracture", "workers.training.images.tasks:FRACTURE", labelled=True, bundle="fracture", backbones=True),
    Entry("spine", "workers.training.spine.task:SPINE", bundle="spine_landmarks"),
    Entry("scoliosis", "workers.training.spine.direct:SCOLIOSIS", labelled=True, backbones=True),
    Entry("images", "workers.training.images.tasks:IMAGES", labelled=True, backbones=True),
)


def find_task(name: str) -> Entry:
    """The task of a name. Raises ConfigurationError."""
    for entry in TASKS:
        if entry.name == name:
            return entry
    message = f"there is no task {name!r}; known: {', '.join(entry.name for entry in TASKS)}"
    raise ConfigurationError(message)
