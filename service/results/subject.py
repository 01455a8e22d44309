"""What results are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydicom.dataset import Dataset

from service import clock
from service.domain.codes import Code
from service.domain.finding import Analysis, Finding
from service.domain.review import Signature
from service.results.mending import zone_of


@dataclass(frozen=True, slots=True)
class Reference:
    """A DICOM object that an earlier revision of the study made."""

    kind: str
    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Source:
    """An analyzed image: its header (a data set without pixels) and what one model found in it.

    Attributes:
        picture: the image as it is looked at, a PNG in the geometry of the stored image, maybe smaller; empty = none.
        signature: who answers for it; then the findings are those that the person let stand. None = nobody.
    """

    header: Dataset
    analysis: Analysis
    picture: bytes = b""
    signature: Signature | None = None

    @property
    def numbers(self) -> tuple[int | None, int | None]:
        """Series Number and Instance Number, None where they are missing or make no sense."""
        return self._number("SeriesNumber"), self._number("InstanceNumber")

    @property
    def counted(self) -> tuple[tuple[Finding, int], ...]:
        """The findings, each with its number among those of the same label: 1 for the first, which is nearly all."""
        return self.analysis.counted

    @property
    def edition(self) -> str:
        """What UIDs of results depend on besides image and algorithm: the signature; empty = nobody signed."""
        return "" if self.signature is None else self.signature.edition

    @property
    def made_at(self) -> datetime:
        """When what it says was said: the start of the analysis, or when it was signed."""
        return self.analysis.started_at if self.signature is None else self.signature.at

    @property
    def said_at(self) -> datetime:
        """The same by the clock of the image, so that a result is never older than its image (PS3.3 C.12.1.1.8).

        That is its Timezone Offset From UTC, which every date and time of a result then stands in, or the clinic's own.
        """
        zone = zone_of(self.header)
        return clock.local(self.made_at) if zone is None else self.made_at.astimezone(zone)

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
    """What a result is about: all analyzed images of one revision of a study.

    Attributes:
        report_codes: kind of examination -> code of its report, where the site has one of its own.
        earlier: DICOM objects that earlier revisions made of the study, the oldest first; known only where a person
            signed or withdrew.
    """

    study_instance_uid: str
    revision: int
    sources: Sequence[Source]
    report_codes: Mapping[str, Code] = field(default_factory=dict)
    earlier: Sequence[Reference] = ()

    @property
    def signature(self) -> Signature | None:
        """Under whose name the results go out; None = nobody's."""
        return self.sources[0].signature if self.sources else None
