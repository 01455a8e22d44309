"""What results are made from."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from service.domain.finding import Analysis, Finding


@dataclass(frozen=True, slots=True)
class Source:
    """An analyzed image: its header (a data set without pixels) and what one model found in it.

    Attributes:
        picture: the image as it is looked at, a PNG in the geometry of the stored image, maybe smaller; empty = none.
    """

    header: Dataset
    analysis: Analysis
    picture: bytes = b""

    @property
    def numbers(self) -> tuple[int | None, int | None]:
        """Series Number and Instance Number, None where they are missing or make no sense."""
        return self._number("SeriesNumber"), self._number("InstanceNumber")

    @property
    def counted(self) -> tuple[tuple[Finding, int], ...]:
        """The findings, each with its number among those of the same label: 1 for the first, which is nearly all."""
        seen: dict[str, int] = {}
        counted = []
        for finding in self.analysis.findings:
            seen[finding.label] = seen.get(finding.label, 0) + 1
            counted.append((finding, seen[finding.label]))
        return tuple(counted)

    @property
    def place(self) -> str:
        """Where a viewer shows the image, for example "series 1 image 2"; empty if its header does not say."""
        parts = zip(("series", "image"), self.numbers, strict=True)
        return " ".join(f"{name} {number}" for name, number in parts if number is not None)

    def _number(self, keyword: str) -> int | None:
        try:
            number = int(str(self.header.get(keyword)))
        except Exception:  # noqa: BLE001 - malformed elements make pydicom raise nearly anything
            return None
        return number if 0 <= number < 1 << 31 else None  # what IS holds


@dataclass(frozen=True, slots=True)
class Subject:
    """What a result is about: all analyzed images of one revision of a study."""

    study_instance_uid: str
    revision: int
    sources: Sequence[Source]
