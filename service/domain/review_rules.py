"""What a request of a reviewer must be, so that it can be recorded and signed."""

from collections.abc import Iterator, Mapping, Sequence

from service.domain.codes import FINDINGS, SITES
from service.domain.errors import NotUnderstood, Outdated
from service.domain.finding import Analysis, Finding
from service.domain.review import Action, Conclusion, Deed, Entry, Standing, doubled_teeth, judge, standing_of
from service.domain.tooth import TEETH
from service.domain.words import span_of


def check_entry(study_uid: str, analyses: Sequence[Analysis], entries: Sequence[Entry], new: Entry) -> None:
    """Whether a new entry makes sense after the earlier ones.

    Raises:
        NotUnderstood: it names what is not there, or says what nobody could report; the message names which action.
        Outdated: it comes too late: everything is signed already, or was withdrawn.
    """
    standing = standing_of(entries, new.revision)
    if standing is Standing.WITHDRAWN:
        raise Outdated("the reports of this study were withdrawn; they cannot be reviewed any more")
    if new.conclusion is Conclusion.WITHDRAW:
        if not new.reason.strip() or new.actions:
            raise NotUnderstood("a withdrawal names its reason and does nothing else")
        return
    if new.conclusion is Conclusion.SIGN and standing is Standing.SIGNED and not new.actions:
        raise Outdated("this is signed already, and nothing has changed since")
    if new.conclusion is Conclusion.OPEN and not new.actions:
        raise NotUnderstood("there is nothing to do: give actions, or a conclusion")
    known = {each.tracking_uid: each.value for each in judge(study_uid, analyses, entries)}
    for number, action in enumerate(new.actions, start=1):
        for problem in _problems(action, known, analyses):
            message = f"action {number} ({action.deed}): {problem}"
            raise NotUnderstood(message)
    judged = judge(study_uid, analyses, [*entries, new])
    nowhere = [each for each in judged if each.by is not None and each.value.kind == "tooth" and not each.value.tooth]
    if any(each.ai is None or each.value != each.ai for each in nowhere):
        raise NotUnderstood("a tooth has a number, not a site")
    if new.conclusion is Conclusion.SIGN and (teeth := sorted(set(doubled_teeth(judged)))):
        message = f"tooth {', '.join(map(str, teeth))} stands twice in one image; change or reject one of the two"
        raise NotUnderstood(message)


def _problems(action: Action, known: Mapping[str, Finding], analyses: Sequence[Analysis]) -> Iterator[str]:
    """Why an action makes no sense; nothing if it does."""
    if action.deed is not Deed.ADD and action.finding not in known:
        yield f"there is no finding {action.finding or '(none named)'} in this review"
    said = action.kind or action.tooth is not None or action.site
    if action.deed in {Deed.ACCEPT, Deed.REJECT} and (said or action.image or action.box):
        yield "it says nothing new of the finding; `change` does"
    if action.deed is Deed.CHANGE and not said:
        yield "name a kind, tooth or site"
    if action.deed is Deed.CHANGE and (action.image or action.box):
        yield "image and box cannot be changed; reject the finding and add another"
    if action.deed is Deed.ADD:
        yield from _problems_of_new(action, analyses)
    if action.kind and action.kind not in FINDINGS:
        yield f"unknown kind of finding {action.kind!r}"
    if action.tooth is not None and action.tooth not in TEETH:
        yield f"{action.tooth} is no FDI number (ISO 3950)"
    if action.tooth is not None and action.site:
        yield "name a tooth or a site, not both"
    if action.site and action.site not in SITES and span_of(Finding("scoliosis", None, 1.0, site=action.site)) is None:
        yield f"unknown site {action.site!r}"


def _problems_of_new(action: Action, analyses: Sequence[Analysis]) -> Iterator[str]:
    """The same for what a finding that is added must have."""
    image = next((each for each in analyses if each.sop_instance_uid == action.image), None)
    if image is None or action.finding:
        yield "name the image by its SOP Instance UID, and no finding; it must be one that a model has seen"
    elif action.box is not None:
        x0, y0, x1, y1 = action.box
        if not (0 <= x0 < x1 <= image.columns and 0 <= y0 < y1 <= image.rows):
            yield f"the box does not lie in the image of {image.columns} x {image.rows} pixels"
    if not action.kind:
        yield "name the kind of finding"
