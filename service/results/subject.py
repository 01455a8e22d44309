"""What results are made from."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from service.domain.finding import Analysis


@dataclass(frozen=True, slots=True)
class Source:
    """An analyzed image: its header (a data set without pixels) and what one model found in it."""

    header: Dataset
    analysis: Analysis


@dataclass(frozen=True, slots=True)
class Subject:
    """What a result is about: all analyzed images of one revision of a study."""

    study_instance_uid: str
    revision: int
    sources: Sequence[Source]
