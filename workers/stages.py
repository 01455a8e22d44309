"""The three stages: images -> findings, findings -> results, results -> a destination."""

import hashlib
import logging
from typing import BinaryIO

from pydicom.dataset import Dataset

from service import clock
from service.db.jobs import StageEnd, StoredArtifact, StoredInstance, Work
from service.db.outbox import Claim
from service.domain.errors import Declined, Held, Permanent
from service.domain.finding import Analysis
from service.domain.job import Outcome
from service.domain.result import Delivery, Result
from service.results import WRITERS
from service.results.subject import Source, Subject
from service.storage import get, put
from workers import pixels
from workers.app import Context
from workers.models import MODELS, Model
from workers.regions import finding_of

_LOG = logging.getLogger(__name__)
ANALYSIS, PREVIEW = "analysis", "preview"


def analyze(context: Context, _taken: Claim, work: Work) -> StageEnd:
    """Run the models that fit on every image of the study.

    An image that was analyzed by the same weights for an earlier revision keeps that analysis, so its results keep
    their identity.

    Raises:
        Declined: no model accepts any image; the reasons of all.
    """
    if not work.instances:
        message = "every object of the study carries a SOP Instance UID under which another object was received before"
        raise Declined(message)
    artifacts: list[StoredArtifact] = []
    reasons: list[str] = []
    for instance in work.instances:
        try:
            artifacts += _analyze_instance(context, work, instance, reasons)
        except Declined as decision:
            reasons.append(str(decision))
    reason = "; ".join(dict.fromkeys(reasons))
    if not any(artifact.kind == ANALYSIS for artifact in artifacts):
        return StageEnd(Outcome.DECLINED, artifacts, reason=reason or "the study holds no image")
    return StageEnd(artifacts=artifacts, reason=reason)


def report(context: Context, _taken: Claim, work: Work) -> StageEnd:
    """Write every kind of result from the analyses."""
    subject = _subject(context, work)
    results = [result for write in WRITERS.values() for result in write(subject)]
    return StageEnd(artifacts=[_keep(context, work, result) for result in results])


def deliver(context: Context, taken: Claim, work: Work) -> StageEnd:
    """Send what one destination takes."""
    research = [a.algorithm.name for a in _analyses(context, work) if a.algorithm.research]
    if research and not context.services.settings.analysis.allow_research_models:
        message = f"research model {research[0]}: set analysis.allow_research_models = true to deliver its results"
        raise Held(message)
    destination, kinds = context.services.destination(taken.destination)
    results = [
        Result(stored.kind, stored.name, stored.media_type, _checked(context, stored))
        for stored in work.of_kind(*kinds)
    ]
    answer = destination.deliver(Delivery(work.study_instance_uid, work.revision, results, taken.attempt))
    return StageEnd(message=answer)


def _analyze_instance(
    context: Context, work: Work, instance: StoredInstance, reasons: list[str]
) -> list[StoredArtifact]:
    with _instance(context, instance.storage_key) as file:
        header = pixels.read_header(file)
        model = _choose(header, reasons)
        kept = _kept(context, work, instance, model)
        if kept:
            return kept
        started_at = clock.now()
        file.seek(0)
        image = pixels.load(file)
    preview = Result(PREVIEW, instance.sop_instance_uid, "image/png", pixels.preview(image))
    made = [_keep(context, work, preview)]
    if model is None:
        return made
    loaded = context.load(model)
    findings = tuple(finding_of(detection, image) for detection in loaded.analyze(image))
    analysis = Analysis(
        algorithm=loaded.algorithm,
        sop_instance_uid=instance.sop_instance_uid,
        rows=int(header.Rows),
        columns=int(header.Columns),
        started_at=started_at,
        findings=findings,
        notes=image.notes,
    )
    return [
        *made,
        _keep(context, work, Result(ANALYSIS, instance.sop_instance_uid, "application/json", analysis.to_json())),
    ]


def _instance(context: Context, key: str) -> BinaryIO:
    try:
        return context.services.storage.open(key)
    except FileNotFoundError:
        message = f"an instance has vanished from storage: {key}"
        raise Permanent(message) from None


def _choose(header: Dataset, reasons: list[str]) -> Model | None:
    """The first model that accepts the image; otherwise each refusal is added to the reasons."""
    refusals = []
    for model in MODELS:
        verdict = model.judge(header)
        if verdict.accepted:
            return model
        refusals.append(f"{model.name}: {verdict.reason}")
    reasons.extend(refusals)
    return None


def _kept(context: Context, work: Work, instance: StoredInstance, model: Model | None) -> list[StoredArtifact]:
    """Analysis and preview of an earlier revision, if the weights are still the same."""
    earlier = [stored for stored in work.earlier if stored.name == instance.sop_instance_uid]
    analyses = [stored for stored in earlier if stored.kind == ANALYSIS]
    if model is None or not analyses:
        return []
    try:
        analysis = Analysis.from_json(_checked(context, analyses[0]))
    except Permanent:
        return []  # it vanished or was altered: analyze anew
    if analysis.algorithm != context.load(model).algorithm:
        return []
    return [analyses[0], *[stored for stored in earlier if stored.kind == PREVIEW][:1]]


def _keep(context: Context, work: Work, result: Result) -> StoredArtifact:
    """Store a result under its own digest: the same bytes again are the same file."""
    sha256 = hashlib.sha256(result.content).hexdigest()
    stored = put(context.services.storage, f"results/{sha256[:2]}/{sha256}", result.content)
    _LOG.info("job %d: %s, %d bytes", work.job_id, result.kind, stored.size)
    return StoredArtifact(result.kind, result.name, result.media_type, stored.key, sha256)


def _checked(context: Context, stored: StoredArtifact) -> bytes:
    """The bytes of an artifact. Raises Permanent when the file vanished or was altered."""
    try:
        content = get(context.services.storage, stored.storage_key)
    except FileNotFoundError:
        message = f"{stored.kind} has vanished from storage: {stored.storage_key}"
        raise Permanent(message) from None
    if hashlib.sha256(content).hexdigest() != stored.sha256:
        message = f"{stored.kind} was altered in storage: {stored.storage_key}"
        raise Permanent(message)
    return content


def _analyses(context: Context, work: Work) -> list[Analysis]:
    return [Analysis.from_json(_checked(context, stored)) for stored in work.of_kind(ANALYSIS)]


def _subject(context: Context, work: Work) -> Subject:
    keys = {instance.sop_instance_uid: instance.storage_key for instance in work.instances}
    sources = []
    for analysis in _analyses(context, work):
        with _instance(context, keys[analysis.sop_instance_uid]) as file:
            sources.append(Source(pixels.read_header(file), analysis))
    return Subject(work.study_instance_uid, work.revision, sources)
