"""Reading analyses from storage, and what they say about a study in figures."""

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from service.db.overview import ArtifactView, JobView, StudyView
from service.domain.codes import MEASUREMENTS
from service.domain.finding import LANDMARKS, UNCERTAIN, Analysis, Finding
from service.domain.words import kind_word, measured
from service.storage import Storage, get

_KEPT = 4096
_MOST_WORDS = 3


@dataclass(frozen=True, slots=True)
class MeasurementInShort:
    """A measurement: kind, value and UCUM unit."""

    kind: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class FindingInShort:
    """A finding without its outline.

    Attributes:
        tooth: FDI number, null if it belongs to no tooth.
        site: for example "T5-T11"; empty where the whole image is meant.
        certainty: 0 to 1.
        box: x0, y0, x1, y1 in pixels of the stored image; null for a finding of the whole image.
    """

    kind: str
    words: str
    tooth: int | None
    site: str
    certainty: float
    box: tuple[int, int, int, int] | None
    flags: tuple[str, ...]
    measurements: tuple[MeasurementInShort, ...]


@dataclass(frozen=True, slots=True)
class ImageFindings:
    """What one model found in one image, in short.

    Attributes:
        teeth: FDI numbers, ascending.
        uncertain: those of them whose number the model is not sure of.
        refused: why the image was not read; empty if it was.
        looks_for: kinds of finding that the model can find.
        findings: everything but the teeth as such.
    """

    sop_instance_uid: str
    model: str
    version: str
    weights_sha256: str
    research: bool
    teeth: tuple[int, ...]
    uncertain: tuple[int, ...]
    notes: tuple[str, ...]
    refused: str
    looks_for: tuple[str, ...]
    findings: tuple[FindingInShort, ...]

    @property
    def counts_teeth(self) -> bool:
        """Whether it says anything about how many teeth there are."""
        return "tooth" in self.looks_for and not self.refused


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a model was, or was not, run on an image."""

    model: str
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ImageChoices:
    """What was decided about every model for one image."""

    sop_instance_uid: str
    models: tuple[Verdict, ...]


class AnalysisShelf:
    """Reads analyses, and keeps what they say in short: a list of studies asks for the same ones every few seconds.

    An artifact's key names its content, so what is kept never grows stale. Safe for many threads.
    """

    def __init__(self, storage: Storage, kept: int = _KEPT) -> None:
        """Start empty; ``kept`` summaries are held at most."""
        self._storage = storage
        self._kept = kept
        self._shelf: OrderedDict[str, ImageFindings] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, artifact: ArtifactView) -> Analysis | None:
        """The analysis, or None where its file is missing or damaged: a page still shows everything else."""
        try:
            return Analysis.from_json(get(self._storage, artifact.storage_key))
        except (OSError, KeyError, TypeError, ValueError):
            return None

    def choices(self, job: JobView) -> tuple[ImageChoices, ...]:
        """What was decided about the models for every image of a job; nothing for what is missing or damaged."""
        found = []
        for artifact in job.of_kind("choices"):
            try:
                entries = json.loads(get(self._storage, artifact.storage_key))
                found.append(ImageChoices(artifact.name, tuple(Verdict(**entry) for entry in entries)))
            except (OSError, TypeError, ValueError):
                continue
        return tuple(found)

    def summary(self, artifact: ArtifactView) -> ImageFindings | None:
        """The analysis in short, or None as for ``read``."""
        key = artifact.storage_key
        with self._lock:
            if key in self._shelf:
                self._shelf.move_to_end(key)
                return self._shelf[key]
        analysis = self.read(artifact)
        if analysis is None:
            return None
        findings = summarize(analysis)
        with self._lock:
            self._shelf[key] = findings
            while len(self._shelf) > self._kept:
                self._shelf.popitem(last=False)
        return findings

    def of_study(self, study: StudyView) -> tuple[ImageFindings, ...]:
        """What was found in the newest revision that has something to show."""
        job = study.analyzed_job
        found = (self.summary(artifact) for artifact in job.of_kind("analysis")) if job is not None else ()
        return tuple(findings for findings in found if findings is not None)


def summarize(analysis: Analysis) -> ImageFindings:
    """An analysis in short."""
    teeth = [finding for finding in analysis.findings if finding.tooth is not None and finding.kind == "tooth"]
    return ImageFindings(
        sop_instance_uid=analysis.sop_instance_uid,
        model=analysis.algorithm.name,
        version=analysis.algorithm.version,
        weights_sha256=analysis.algorithm.weights_sha256,
        research=analysis.algorithm.research,
        teeth=tuple(sorted({f.tooth for f in teeth if f.tooth is not None})),
        uncertain=tuple(sorted({f.tooth for f in teeth if f.tooth is not None and UNCERTAIN in f.flags})),
        notes=analysis.notes,
        refused=analysis.refused,
        looks_for=analysis.looks_for,
        findings=tuple(_in_short(finding) for finding in analysis.findings if finding.kind != "tooth"),
    )


def _in_short(finding: Finding) -> FindingInShort:
    units = {kind: codes.unit.value for kind, codes in MEASUREMENTS.items()}
    return FindingInShort(
        kind=finding.kind,
        words=" ".join(part for part in (kind_word(finding.kind), measured(finding)) if part),
        tooth=finding.tooth,
        site=finding.site,
        certainty=round(finding.certainty, 3),
        box=None if finding.region is None else finding.region.box,
        flags=finding.flags,
        measurements=tuple(
            MeasurementInShort(each.kind, each.value, units.get(each.kind, "")) for each in finding.measurements
        ),
    )


def count_teeth(images: Sequence[ImageFindings]) -> int | None:
    """Different teeth found in all images together; None if no image was read for teeth."""
    read = [image for image in images if image.counts_teeth]
    return len({tooth for image in read for tooth in image.teeth}) if read else None


def teeth_by_image(images: Sequence[ImageFindings]) -> tuple[int, ...]:
    """Teeth found in each image that was read for teeth, in the order of the images."""
    found: dict[str, set[int]] = {}
    for image in images:
        if image.counts_teeth:
            found.setdefault(image.sop_instance_uid, set()).update(image.teeth)
    return tuple(len(teeth) for teeth in found.values())


def found_in_short(images: Sequence[ImageFindings]) -> str:
    """What was found besides teeth, for a line of a list: "fracture, caries"; "not read" where nothing was read."""
    words = [kind_word(f.kind) for image in images for f in image.findings if f.kind not in LANDMARKS]
    several = list(dict.fromkeys(words))
    more = f" and {len(several) - _MOST_WORDS} more" if len(several) > _MOST_WORDS else ""
    if several:
        return f"{', '.join(several[:_MOST_WORDS])}{more}"
    if images and all(image.refused for image in images):
        return "not read"
    return "nothing found" if images and not any(image.counts_teeth for image in images) else ""
