"""Reading analyses from storage, and what they say about a study in figures."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from service.db.overview import ArtifactView, StudyView
from service.domain.finding import Analysis
from service.storage import Storage, get

UNCERTAIN = "number-uncertain"
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class ImageFindings:
    """What one model found in one image, in short.

    Attributes:
        teeth: FDI numbers, ascending.
        uncertain: those of them whose number the model is not sure of.
    """

    sop_instance_uid: str
    model: str
    version: str
    weights_sha256: str
    research: bool
    teeth: tuple[int, ...]
    uncertain: tuple[int, ...]
    notes: tuple[str, ...]


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
    )


def count_teeth(images: Sequence[ImageFindings]) -> int | None:
    """Different teeth found in all images together; None if nothing was analyzed."""
    return len({tooth for image in images for tooth in image.teeth}) if images else None
