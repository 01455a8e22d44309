"""What a study's state is called in words, decided here and nowhere else.

From the job's state (what is durably done) and from its outbox rows (who works on it, what failed, what waits for a
person). Each status has a short form for lists and a full one with the peer's own words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.domain.job import Stage, State

_SHORT = 80  # longest reason in a list, characters
#: What is being done in a state that is not final.
_ACTIVITY = {
    State.RECEIVED: ("received", "waiting for analysis", "analyzing"),
    State.ANALYZED: ("analyzed", "waiting for the report", "writing the report"),
    State.REPORTED: ("reported", "waiting for delivery", "delivering"),
}
_RESEARCH_SETTING = "allow_research_models"
_WAITS_FOR_REVIEW = "wait for review"
#: part of a message -> short words for it; every other message is cut after its first clause
_SHORT_WORDS = {
    _RESEARCH_SETTING: "research model not allowed",
    "born on another day": "the patient's birth date differs",
    "has another sex": "the patient's sex differs",
    "a dentist must decide": "a person has read the earlier report",
    _WAITS_FOR_REVIEW: "newer findings wait for review",
}
_CODE_NAME = re.compile(r"(^|; )[a-z][a-z0-9]*(_[a-z0-9]+)+: ")


class Tone(StrEnum):
    """How urgent a status is; pages give each a colour and a shape of its own."""

    RECEIVING = "receiving"  #: more images may come
    WORKING = "working"
    RETRYING = "retrying"  #: something failed and is tried again by itself
    DELIVERED = "delivered"
    DECLINED = "declined"
    HELD = "held"  #: nothing failed, a person must decide
    ATTENTION = "attention"  #: something was given up, a person must do something


class Condition(StrEnum):
    """What an outbox row is doing now."""

    WAITING = "waiting"
    RUNNING = "running"
    RETRYING = "retrying"
    DONE = "done"
    DEAD = "dead"  #: given up; a retry button brings it back
    HELD = "held"  #: waits for a person's decision


@dataclass(frozen=True, slots=True)
class Status:
    """A state in words.

    Attributes:
        text: all of it, for example "needs attention: pacs: association rejected".
        short: for a line in a list, for example "needs attention: pacs".
    """

    tone: Tone
    text: str
    short: str


@dataclass(frozen=True, slots=True)
class StepView:
    """One outbox row: a stage, or the delivery to one destination.

    Attributes:
        message: the last error in the peer's own words, or what the destination answered.
        not_before: a retry comes no earlier.
        seconds: time the successful attempt took.
    """

    stage: str
    destination: str
    condition: Condition
    attempts: int
    message: str
    not_before: datetime
    started_at: datetime | None
    finished_at: datetime | None
    dead_at: datetime | None
    seconds: float | None

    @property
    def name(self) -> str:
        """The destination, or the stage."""
        if self.stage == Stage.COMMIT:
            return f"{self.destination}, storage commitment"
        return self.destination or self.stage

    @property
    def to_do(self) -> str:
        """What a person must do before trying again can help; empty if nothing waits for a person."""
        if self.condition is Condition.HELD and _RESEARCH_SETTING in self.message:
            return (
                "an administrator must set analysis.allow_research_models = true and restart Dentgate, "
                "then press Try again"
            )
        if self.condition is Condition.HELD and _WAITS_FOR_REVIEW in self.message:
            return "a person must review the newer findings and sign; what is held then goes on by itself"
        if self.condition is Condition.HELD:
            return "decide on what the last answer names, then press Try again"
        return "mend what the last answer names, then press Try again" if self.condition is Condition.DEAD else ""


def plain_status(tone: Tone, text: str) -> Status:
    """A status whose full form is short."""
    return Status(tone, text, text)


def job_status(state: State, reason: str, steps: Sequence[StepView]) -> Status:
    """What a job's state is called; what failed comes before what waits, that before what is tried again."""
    by_condition = {condition: [s for s in steps if s.condition is condition] for condition in Condition}
    if dead := by_condition[Condition.DEAD]:
        return _status(Tone.ATTENTION, "needs attention", _full(dead), _names(dead))
    if held := by_condition[Condition.HELD]:
        return _status(Tone.HELD, "held", _full(held), in_short(held[0].message))
    if state is State.DECLINED:
        words = in_words(reason) or "no reason was recorded"
        return _status(Tone.DECLINED, "not analyzed", words, in_short(words))
    if state is State.DELIVERED:
        nowhere = not any(step.destination for step in steps)
        return plain_status(Tone.DELIVERED, "reported, nowhere to deliver" if nowhere else "delivered")
    _, waiting, busy = _ACTIVITY[state]
    done = _progress(state, steps)
    if failed := by_condition[Condition.RETRYING]:
        return _status(Tone.RETRYING, f"{done}, trying again", _full(failed), _names(failed))
    if any(step.stage == Stage.COMMIT for step in by_condition[Condition.WAITING]):
        waiting = "waiting for storage commitment"
    words = f"{done}, {busy if by_condition[Condition.RUNNING] else waiting}"
    reasons = [step for step in by_condition[Condition.WAITING] if step.message]
    return _status(Tone.WORKING, words, _full(reasons), "") if reasons else plain_status(Tone.WORKING, words)


def in_words(reason: str) -> str:
    """A stored reason without the code names of the models that gave it; what several said is said once."""
    parts = (_CODE_NAME.sub("", part) for part in reason.split("; "))
    return "; ".join(dict.fromkeys(parts))


def in_short(message: str) -> str:
    """A message cut to its first clause, or in fewer words where some are known."""
    known = next((words for part, words in _SHORT_WORDS.items() if part in message), None)
    if known is not None:
        return known
    clause = re.split(r"[;:] ", message, maxsplit=1)[0] or "no reason was recorded"
    return clause if len(clause) <= _SHORT else f"{clause[:_SHORT].rsplit(' ', 1)[0]}…"


def _progress(state: State, steps: Sequence[StepView]) -> str:
    """What is done, counting the destinations as soon as one of several has everything."""
    deliveries = [step for step in steps if step.stage == Stage.DELIVER]
    arrived = sum(step.condition is Condition.DONE for step in deliveries)
    if state is State.REPORTED and arrived:
        return f"delivered to {arrived} of {len(deliveries)}"
    return _ACTIVITY[state][0]


def _status(tone: Tone, head: str, full: str, short: str) -> Status:
    return Status(tone, f"{head}: {full}", f"{head}: {short}" if short else head)


def _names(steps: Sequence[StepView]) -> str:
    return ", ".join(step.name for step in steps)


def _full(steps: Sequence[StepView]) -> str:
    return "; ".join(f"{step.name}: {step.message or 'no message'}" for step in steps)
