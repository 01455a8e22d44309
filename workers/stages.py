"""The stages: images -> findings, findings -> results, results -> a destination, which may be asked to keep them."""

import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import datetime
from typing import BinaryIO

from pydicom.dataset import Dataset

from service import clock
from service.db import sent
from service.db.jobs import StageEnd, StoredArtifact, StoredInstance, Work
from service.db.outbox import Claim
from service.db.sent import Delivered
from service.domain.codes import TOOTH_CONDITIONS
from service.domain.errors import Declined, Held, Permanent
from service.domain.finding import Algorithm, Analysis
from service.domain.job import Outcome
from service.domain.result import Delivery, Result
from service.domain.sent import ObjectAnswer
from service.export import Destination
from service.export.commitment import Pursuit
from service.export.conversation import Watched, conversation
from service.export.store_scu import StoreScu
from service.results import WRITERS
from service.results.subject import Source, Subject
from service.storage import get, put
from service.storage.headers import header_key
from service.storage.integrity import is_intact
from workers import pixels
from workers.app import Context
from workers.models import LoadedModel, Model, gate
from workers.models.choose import Choice, choose, refusals, to_json
from workers.models.fit_for_panoramics import is_panoramic
from workers.pixels import Image
from workers.regions import Detection, finding_of
from workers.reviewed import REJECTION, allowed_kinds, is_taken_back, review_of

_LOG = logging.getLogger(__name__)
_SEND_AGAIN = "have the sender send the study again, then try again"
ANALYSIS, PREVIEW, CHOICES, REPORTED = "analysis", "preview", "choices", "reported"


def analyze(context: Context, _taken: Claim, work: Work) -> StageEnd:
    """Run every model that fits on every image of the study.

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
            artifacts += _Reading(context, work, instance, reasons).artifacts()
        except Declined as decision:
            reasons.append(str(decision))
    reason = "; ".join(dict.fromkeys(reasons))
    if not any(artifact.kind == ANALYSIS for artifact in artifacts):
        return StageEnd(Outcome.DECLINED, artifacts, reason=reason or "the study holds no image")
    return StageEnd(artifacts=artifacts, reason=reason)


def report(context: Context, _taken: Claim, work: Work) -> StageEnd:
    """Write every kind of result from the analyses.

    Research models that the site has not allowed by name are left out, unless that leaves nothing: then the results
    are written, shown in the pages, and held back from every destination. Of a job that a person's signature brought
    about, everything that they signed is written, and nothing else.
    """
    analyses = _analyses(context, work)
    wanted = context.services.wanted_results()
    review = review_of(context, work, analyses)
    if review is None:
        allowed = [analysis for analysis in analyses if _is_allowed(context, analysis.algorithm)] or analyses
        subject = _subject(context, work, allowed)
    else:
        allowed, wanted = list(review.analyses), review.kinds(wanted)
        subject = review.sign(context, work, _subject(context, work, allowed))
    results = [result for kind, write in WRITERS.items() if kind in wanted for result in write(subject)]
    names = sorted({analysis.algorithm.name for analysis in allowed})
    results.append(Result(REPORTED, "", "application/json", json.dumps(names).encode()))
    return StageEnd(artifacts=[_keep(context, work, result) for result in results])


def deliver(context: Context, taken: Claim, work: Work) -> StageEnd:
    """Send what one destination takes."""
    destination, kinds = context.services.destination(taken.destination)
    review = allowed_kinds(context, taken, work, kinds, destination.takes)
    if not review.takes_back:
        _hold_research(context, work)
    results = work.of_kind(*review.kinds)
    known = sent.objects(context.services.db, Delivered(taken.job_id, taken.destination))
    there = {(each.answer.sop_instance_uid, each.sha256) for each in known if each.answer.stored}
    missing = [result for result in results if (result.name, result.sha256) not in there]
    answer = _send(context, taken, work, destination, missing) if missing or not review.note else ""
    if review.waits:
        raise Held(review.note)
    before = len(results) - len(missing)
    parts = (answer, review.note, f"{before} stored by an earlier attempt" if before else "")
    answer = "; ".join(part for part in parts if part)
    return StageEnd(message=answer, commit=isinstance(destination, StoreScu) and destination.commitment)


def _hold_research(context: Context, work: Work) -> None:
    """Raises Held where a model made the results that the site has not allowed."""
    told = {name for stored in work.of_kind(REPORTED) for name in json.loads(_checked(context, stored))}
    for algorithm in (analysis.algorithm for analysis in _analyses(context, work)):
        if algorithm.name in (told or {algorithm.name}) and not _is_allowed(context, algorithm):
            message = (
                f"research model {algorithm.name}: set analysis.allow_research_models = true "
                "(or to a list with its name) to deliver its results"
            )
            raise Held(message)


def commit(context: Context, taken: Claim, work: Work) -> StageEnd:
    """Ask an archive whether it keeps what was delivered; see ``service.export.commitment``."""
    destination, kinds = context.services.destination(taken.destination)
    if not isinstance(destination, StoreScu) or not destination.commitment:
        return StageEnd(message="storage commitment is switched off")
    if is_taken_back(context, work, kinds):
        return StageEnd(message="a person took these results back; storage commitment is no longer asked for")

    def send_again(uids: Collection[str]) -> None:
        _send(
            context, taken, work, destination, [each for each in work.of_kind(*kinds, REJECTION) if each.name in uids]
        )

    what = Delivered(taken.job_id, taken.destination)
    db = context.services.db
    line = Pursuit(db, what, Watched(db, taken.destination, destination), send_again).step(taken.attempt)
    return StageEnd(message=f"{destination.peer}: {line}")


def _send(
    context: Context, taken: Claim, work: Work, destination: Destination, stored: Sequence[StoredArtifact]
) -> str:
    """Deliver some results, and keep what was said to each also where the delivery failed."""
    results = [Result(each.kind, each.name, each.media_type, _checked(context, each)) for each in stored]
    answers = list[ObjectAnswer]()
    delivery = Delivery(work.study_instance_uid, work.revision, results, taken.attempt, answers.append)
    try:
        with conversation(context.services.db, taken.destination) if results else nullcontext():
            return destination.deliver(delivery)
    finally:
        digests = {each.name: each.sha256 for each in stored}
        sent.note(context.services.db, Delivered(taken.job_id, taken.destination), answers, digests)


def _is_allowed(context: Context, algorithm: Algorithm) -> bool:
    return not algorithm.research or context.services.settings.analysis.allows_research(algorithm.name)


class _Reading:
    """One image on its way through the models that fit it; its pixels are held no longer than that."""

    def __init__(self, context: Context, work: Work, instance: StoredInstance, reasons: list[str]) -> None:
        """``reasons``: gets what the reader must know where the image, or a part of the work on it, was refused."""
        self._context, self._work, self._instance, self._reasons = context, work, instance, reasons
        self._choices: list[Choice] = []

    def artifacts(self) -> list[StoredArtifact]:
        """Analyses, preview and choices. Raises Declined for a file whose pixels cannot be read."""
        with _instance(self._context, self._instance) as file:
            if not is_intact(file, self._instance.sha256):
                message = f"an image was altered in storage: {self._instance.storage_key}; {_SEND_AGAIN}"
                raise Permanent(message)
            header = pixels.read_header(file)
            judged = choose(header, self._context.models())
            self._choices = [choice for _, choice in judged]
            fitting = [(model, self._context.load(model)) for model, choice in judged if choice.accepted]
            if not fitting:
                self._reasons += refusals(self._choices)
            made = self._kept(fitting) if fitting else []
            if not made:
                started_at = clock.now()
                file.seek(0)
                made = self._read(pixels.load(file), fitting, started_at)
        choices = Result(CHOICES, self._instance.sop_instance_uid, "application/json", to_json(self._choices))
        return [*made, _keep(self._context, self._work, choices)]

    def _kept(self, fitting: Sequence[tuple[Model, LoadedModel]]) -> list[StoredArtifact]:
        """Analyses and preview of an earlier revision, if nothing would have to be computed; else nothing."""
        preview = self._earlier(PREVIEW)[:1]
        refusal = self._kept_analysis(gate.ALGORITHM)
        if refusal is not None and preview:
            self._note(refusal[1])
            return [*preview, refusal[0]]
        kept = [self._kept_analysis(loaded.algorithm) for _, loaded in fitting]
        complete = [entry for entry in kept if entry is not None]
        if not preview or len(complete) < len(kept):
            return []
        for _, analysis in complete:
            self._note(analysis)
        return [*preview, *(stored for stored, _ in complete)]

    def _earlier(self, kind: str) -> list[StoredArtifact]:
        uid = self._instance.sop_instance_uid
        return [s for s in self._work.earlier if s.kind == kind and (s.name == uid or s.name.startswith(f"{uid}/"))]

    def _kept_analysis(self, algorithm: Algorithm) -> tuple[StoredArtifact, Analysis] | None:
        for stored in self._earlier(ANALYSIS):
            try:
                analysis = Analysis.from_json(_checked(self._context, stored))
            except Permanent:
                continue  # it vanished or was altered: analyze anew
            if analysis.algorithm == algorithm:
                return stored, analysis
        return None

    def _read(
        self, image: Image, fitting: Sequence[tuple[Model, LoadedModel]], started_at: datetime
    ) -> list[StoredArtifact]:
        """Gate, then the models in their order, each with what those before it saw."""
        preview = Result(PREVIEW, self._instance.sop_instance_uid, "image/png", pixels.preview(image))
        made = [_keep(self._context, self._work, preview)]
        refused = gate.refuse(image) if fitting else ""
        if refused:
            looked_for = tuple(dict.fromkeys(kind for model, _ in fitting for kind in model.looks_for))
            analysis = self._analysis(gate.ALGORITHM, image, started_at, looked_for)
            self._note(replace(analysis, refused=refused))
            return [*made, self._store(replace(analysis, refused=refused))]
        before: list[Detection] = []
        renewed = False
        for model, loaded in fitting:
            analysis = self._analysis(loaded.algorithm, image, started_at, model.looks_for)
            try:
                seen, notes = _look(model, loaded, image, tuple(before))
            except Declined as decision:
                analysis = replace(analysis, refused=str(decision))
            else:
                before += seen
                findings = tuple(finding_of(detection, image) for detection in seen)
                analysis = replace(analysis, findings=findings, notes=(*analysis.notes, *notes))
            self._note(analysis)
            # The same weights say the same: their results keep their UIDs, unless they judged teeth of other weights.
            kept = None if renewed and _judges_teeth(model) else self._kept_analysis(loaded.algorithm)
            renewed = renewed or kept is None
            made.append(self._store(analysis) if kept is None else kept[0])
        return made

    def _analysis(
        self, algorithm: Algorithm, image: Image, started_at: datetime, looks_for: tuple[str, ...]
    ) -> Analysis:
        return Analysis(
            algorithm=algorithm,
            sop_instance_uid=self._instance.sop_instance_uid,
            rows=int(image.header.Rows),
            columns=int(image.header.Columns),
            started_at=started_at,
            findings=(),
            notes=image.notes,
            looks_for=looks_for,
        )

    def _store(self, analysis: Analysis) -> StoredArtifact:
        name = f"{self._instance.sop_instance_uid}/{analysis.algorithm.name}"
        return _keep(self._context, self._work, Result(ANALYSIS, name, "application/json", analysis.to_json()))

    def _note(self, analysis: Analysis) -> None:
        """A refusal by the pixels stands beside the verdicts on the header, and in the job's reason."""
        if analysis.refused:
            self._choices.append(Choice(analysis.algorithm.name, accepted=False, reason=analysis.refused))
            self._reasons.append(f"{analysis.algorithm.name}: {analysis.refused}")


def _look(
    model: Model, loaded: LoadedModel, image: Image, before: tuple[Detection, ...]
) -> tuple[tuple[Detection, ...], tuple[str, ...]]:
    """What a model sees, and notes for the reader.

    Raises:
        Declined: by the model; where no tooth is seen that should be numbered or judged; for a panoramic that cuts off
            the arch.
    """
    seen = loaded.analyze(image, before)
    if not seen and _judges_teeth(model) and not any(d.kind == "tooth" for d in before):
        raise Declined("no teeth were found whose condition could be judged")
    if "tooth" not in model.looks_for:
        return seen, ()
    panoramic = is_panoramic(image.header)
    if no_teeth := gate.judge_teeth(seen, panoramic=panoramic):
        raise Declined(no_teeth)
    if not panoramic:
        return seen, ()
    refused, notes = gate.judge_arch(seen, image.pixels.shape)
    if refused:
        raise Declined(refused)
    return seen, notes


def _judges_teeth(model: Model) -> bool:
    """Whether it builds on the teeth that a model before it numbered."""
    return TOOTH_CONDITIONS.issuperset(model.looks_for)


def _instance(context: Context, instance: StoredInstance) -> BinaryIO:
    """Raises Permanent for a file that vanished, Held for one that was removed after its time (storage.keep_days)."""
    if not instance.storage_key:
        message = f"an earlier image of this study was removed after storage.keep_days; {_SEND_AGAIN}"
        raise Held(message)
    try:
        return context.services.storage.open(instance.storage_key)
    except FileNotFoundError:
        message = f"an image has vanished from storage: {instance.storage_key}; {_SEND_AGAIN}"
        raise Permanent(message) from None


def _header(context: Context, instance: StoredInstance) -> Dataset:
    """The header of an instance, which retention leaves of one that it removes. Raises Permanent or Held."""
    try:
        with _instance(context, instance) as file:
            return pixels.read_header(file)
    except (Held, Permanent):
        with suppress(FileNotFoundError), context.services.storage.open(header_key(instance.sha256)) as file:
            return pixels.read_header(file)
        raise


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


def _subject(context: Context, work: Work, analyses: Sequence[Analysis]) -> Subject:
    instances = {instance.sop_instance_uid: instance for instance in work.instances}
    shown = {analysis.sop_instance_uid for analysis in analyses}  # a study may hold hundreds of images nobody reads
    previews = (stored for stored in work.of_kind(PREVIEW) if stored.name in shown)
    pictures = {stored.name: _checked(context, stored) for stored in previews}
    sources = []
    for analysis in analyses:
        uid = analysis.sop_instance_uid
        sources.append(Source(_header(context, instances[uid]), analysis, pictures.get(uid, b"")))
    report_codes = context.services.settings.report.by_kind()
    return Subject(work.study_instance_uid, work.revision, sources, report_codes)
