"""Review of the findings of a study: what the models said, what people made of it, and the request that adds to it.

A request names the version of the review that the person had before them, in the body or as If-Match; if somebody was
first, nothing is done and the answer names the version that stands. A request that is repeated under its key is one.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from service import clock
from service.db import overview, reviews
from service.db.overview import ArtifactView
from service.db.reviews import ReviewLine, Seen
from service.domain.errors import NotUnderstood, Outdated
from service.domain.finding import Analysis, Finding, Judgement
from service.domain.review import Action, Conclusion, Deed, Entry, Judged, ReportStatus, Reviewer, Standing, judge
from service.domain.review_rules import check_entry
from service.domain.uid import is_uid
from service.domain.words import kind_word
from service.storage import get
from service.web.guard import user_of
from service.web.reading import NO_STUDY
from service.web.services import services_of, shelf_of

router = APIRouter(tags=["review"])
_MOST_ACTIONS = 500
_PATH = "/api/studies/{study_instance_uid}/review"
#: A name as PN: at most five components, the first not empty; a backslash or equals sign would end it (PS3.5 6.2).
Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=64,
        pattern=r"^[^\x00-\x1f\\=^]+(\^[^\x00-\x1f\\=^]*){0,4}$",
    ),
]
Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64, pattern=r"^[^\x00-\x1f\\]*$")]
Words = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00-\x1f]*$")]
Uid = Annotated[str, StringConstraints(max_length=64)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReviewerBody(_Body):
    """Who is at work."""

    name: Name = Field(description="plain, or as DICOM writes it: Family^Given^Middle^Prefix^Suffix")
    identifier: Line = Field("", description="of the person in the organization, for example a licence number")
    organization: Line = ""


class ActionBody(_Body):
    """One thing that is done to one finding."""

    do: Deed
    finding: Uid = Field("", description="id of the finding; not for `add`")
    kind: Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00-\x1f]*$")] = Field(
        "", description="for example caries"
    )
    tooth: int | None = Field(None, description="FDI number (ISO 3950)")
    site: Annotated[str, StringConstraints(max_length=64)] = Field("", description="for what belongs to no tooth")
    image: Uid = Field("", description="SOP Instance UID, for `add` only")
    box: tuple[int, int, int, int] | None = Field(None, description="x0, y0, x1, y1 in pixels, for `add` only")
    note: Words = Field("", description="why; kept in the record only")

    def action(self) -> Action:
        """As the domain has it."""
        return Action(self.do, self.finding, self.kind, self.tooth, self.site, self.image, self.box, self.note)


class ReviewBody(_Body):
    """A request of a reviewer."""

    key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")] = Field(
        description="chosen by the client, new for each request; a request repeated under its key is done once"
    )
    version: Annotated[str, StringConstraints(max_length=32)] = Field(
        "", description="version of the review that the person saw; or as If-Match"
    )
    reviewer: ReviewerBody
    actions: Annotated[tuple[ActionBody, ...], Field(max_length=_MOST_ACTIONS)] = ()
    conclusion: Conclusion = Conclusion.OPEN
    correcting: bool = Field(default=False, description="the signature corrects an error of an earlier one")
    reason: Words = Field("", description="of a withdrawal")


@dataclass(frozen=True, slots=True)
class FindingValue:
    """What is said of a finding; ``certainty`` is null where a person says it, ``box`` where it has no place."""

    kind: str
    words: str
    tooth: int | None
    site: str
    certainty: float | None
    box: tuple[int, int, int, int] | None


@dataclass(frozen=True, slots=True)
class FindingState:
    """A finding and what became of it.

    Attributes:
        id: its tracking UID, the same in every SR and SEG.
        ai: what the algorithm said; null if a person added it.
        human: what a person says instead; null if nobody said anything else.
        by, at: who decided last, and when.
    """

    id: str
    image: str
    model: str
    label: str
    status: Judgement
    ai: FindingValue | None
    human: FindingValue | None
    by: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One request, as it was recorded."""

    number: int
    at: datetime
    by: str
    organization: str
    revision: int
    conclusion: Conclusion
    actions: tuple[Action, ...]
    correcting: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ReviewState:
    """Where the review of a study stands.

    Attributes:
        version: to be named by the next request; changes with every entry and every new analysis.
        revision: the analyses that are reviewed; 0 while there are none.
        report: status of the report that is out.
    """

    study_instance_uid: str
    version: str
    revision: int
    standing: Standing
    report: ReportStatus
    signed_by: str
    signed_at: datetime | None
    findings: tuple[FindingState, ...]
    history: tuple[HistoryEntry, ...]


@dataclass(frozen=True, slots=True)
class _Desk:
    """What lies before the reviewer: what is to be reviewed, and its analyses with the names they are stored under."""

    seen: Seen
    analyses: tuple[Analysis, ...]
    names: tuple[str, ...]


@router.get(_PATH, summary="Findings, what people made of them, and the version to be named by the next request")
def get_review(request: Request, response: Response, study_instance_uid: str) -> ReviewState:
    """The review of a study; 404 if it is not here."""
    desk = _desk(request, study_instance_uid)
    response.headers["ETag"] = f'"{desk.seen.version}"'
    return _state(study_instance_uid, desk)


@router.post(
    _PATH,
    summary="Accept, change, reject and add findings; sign; withdraw",
    status_code=201,
    response_model=ReviewState,
    responses={
        200: {"description": "the same request was done before", "model": ReviewState},
        409: {"description": "somebody was first, or it is signed or withdrawn; `version` is the one that stands"},
        412: {"description": "the same, where the version was named as If-Match"},
        428: {"description": "no version was named"},
    },
)
def post_review(
    request: Request,
    response: Response,
    study_instance_uid: str,
    body: ReviewBody,
    if_match: Annotated[str, Header()] = "",
) -> ReviewState | Response:
    """Add to the review. A signature or withdrawal brings a new report on its way; the answer does not wait for it."""
    version = if_match.strip().removeprefix("W/").strip('"') or body.version
    if not version:
        raise HTTPException(428, "name the version of the review that you saw: as `version` or If-Match")
    desk = _desk(request, study_instance_uid)
    asked = _asked(_authenticated(request, body), body, version, desk)
    try:
        new = _record(request, study_instance_uid, asked, desk)
    except Outdated as trouble:
        current = _desk(request, study_instance_uid).seen.version
        status = 412 if if_match else 409
        return JSONResponse({"error": str(trouble), "version": current}, status, headers={"ETag": f'"{current}"'})
    after = _desk(request, study_instance_uid)
    response.status_code = 201 if new else 200
    response.headers["ETag"] = f'"{after.seen.version}"'
    return _state(study_instance_uid, after)


def _authenticated(request: Request, body: ReviewBody) -> Reviewer:
    """Who is asking: the one place that decides it. Without a proxy that names users, it is who the caller says.

    Raises:
        HTTPException: 403, the name that the proxy gives cannot stand in a report.
    """
    header = services_of(request).settings.web.user_header
    if not header:
        return Reviewer(body.reviewer.name, body.reviewer.identifier, body.reviewer.organization)
    try:
        named = ReviewerBody(name=user_of(request.headers, header))
    except ValidationError:
        raise HTTPException(403, f"the user that the proxy names in {header} is no name for a report") from None
    return Reviewer(named.name, "", body.reviewer.organization)  # an identifier would be the caller's word


def _asked(reviewer: Reviewer, body: ReviewBody, version: str, desk: _Desk) -> reviews.Request:
    said = body.model_dump(mode="json", exclude={"version"}) | {"reviewer": [reviewer.name, reviewer.identifier]}
    return reviews.Request(
        key=body.key,
        digest=hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest(),
        version=version,
        reviewer=reviewer,
        actions=tuple(action.action() for action in body.actions),
        conclusion=body.conclusion,
        correcting=body.correcting,
        reason=body.reason,
        analyses=desk.names,
    )


def _record(request: Request, study_instance_uid: str, asked: reviews.Request, desk: _Desk) -> bool:
    """Check and record; False if it was recorded before. What was checked is what the version says, or it is refused.

    Raises:
        Outdated: somebody was first.
        NotUnderstood: it makes no sense.
    """
    services = services_of(request)
    with services.db.session() as session:
        known = reviews.find_request(session, desk.seen.study_id, asked.key)
    if known is None:
        if asked.version != desk.seen.version:
            message = f"the review stands at version {desk.seen.version}, not {asked.version}; read it again"
            raise Outdated(message)
        if not desk.analyses:
            raise NotUnderstood("there is no result of this study yet that could be reviewed")
        check_entry(study_instance_uid, desk.analyses, desk.seen.entries, _entry(asked, desk.seen))
    return services.review(study_instance_uid, asked)


def _entry(asked: reviews.Request, seen: Seen) -> Entry:
    number = len(seen.entries) + 1
    how = (asked.conclusion, asked.correcting, asked.reason)
    return Entry(number, seen.revision, asked.reviewer, clock.now(), asked.actions, *how)


def _desk(request: Request, study_instance_uid: str) -> _Desk:
    """What is to be reviewed. Raises HTTPException 404."""
    if not is_uid(study_instance_uid):
        raise HTTPException(404, NO_STUDY)
    with services_of(request).db.session() as session:
        seen = reviews.find_seen(session, study_instance_uid)
        if seen is None:
            raise HTTPException(404, NO_STUDY)
        artifacts = _artifacts(session, study_instance_uid, seen)
    reported = _reported(request, artifacts)
    found = [(each.name, shelf_of(request).read(each)) for each in artifacts if each.kind == "analysis"]
    kept = [
        (name, each)
        for name, each in found
        if each is not None and each.algorithm.name in (reported or {each.algorithm.name})
    ]
    return _Desk(seen, tuple(analysis for _, analysis in kept), tuple(name for name, _ in kept))


def _artifacts(session: Session, study_instance_uid: str, seen: Seen) -> Sequence[ArtifactView]:
    study = overview.find_study(session, study_instance_uid, clock.now())
    jobs = () if study is None else study.jobs
    return next((job.artifacts for job in jobs if job.id == seen.job_id), ())


def _reported(request: Request, artifacts: Sequence[ArtifactView]) -> set[str]:
    """Names of the models whose findings were reported; none where that is not known."""
    names = [each for each in artifacts if each.kind == "reported"]
    try:
        return {name for each in names for name in json.loads(get(services_of(request).storage, each.storage_key))}
    except (OSError, ValueError):
        return set()


def _state(study_instance_uid: str, desk: _Desk) -> ReviewState:
    seen = desk.seen
    line = ReviewLine.of(seen.entries, seen.revision)
    return ReviewState(
        study_instance_uid=study_instance_uid,
        version=seen.version,
        revision=seen.revision,
        standing=line.standing,
        report=line.status,
        signed_by=line.by,
        signed_at=line.at,
        findings=tuple(
            _finding(each, desk.analyses) for each in judge(study_instance_uid, desk.analyses, seen.entries)
        ),
        history=tuple(_history(entry) for entry in seen.entries),
    )


def _finding(judged: Judged, analyses: Sequence[Analysis]) -> FindingState:
    analysis = analyses[judged.analysis]
    theirs = judged.value if judged.ai is None or judged.value != judged.ai else None
    return FindingState(
        id=judged.tracking_uid,
        image=analysis.sop_instance_uid,
        model=analysis.algorithm.name,
        label=judged.label,
        status=judged.judgement,
        ai=None if judged.ai is None else _value(judged.ai, round(judged.ai.certainty, 3)),
        human=None if theirs is None else _value(theirs, None),
        by="" if judged.by is None else judged.by.display,
        at=judged.at,
    )


def _value(finding: Finding, certainty: float | None) -> FindingValue:
    box = None if finding.region is None else finding.region.box
    return FindingValue(finding.kind, kind_word(finding.kind), finding.tooth, finding.site, certainty, box)


def _history(entry: Entry) -> HistoryEntry:
    return HistoryEntry(
        number=entry.number,
        at=entry.at,
        by=entry.reviewer.display,
        organization=entry.reviewer.organization,
        revision=entry.revision,
        conclusion=entry.conclusion,
        actions=entry.actions,
        correcting=entry.correcting,
        reason=entry.reason,
    )
