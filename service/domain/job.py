"""The path of a study as one table: states, stages and the moves between them.

A state names what is durably done. "Busy" is a lease on an outbox row, never a state: a crash leaves nothing to undo.
"""

from enum import StrEnum

from service.domain.errors import DentgateError


class State(StrEnum):
    """What is durably done for one revision of a study."""

    RECEIVED = "received"  #: every instance is stored, the study has been quiet
    ANALYZED = "analyzed"  #: the models' findings are stored
    DECLINED = "declined"  #: no model accepts the study; the reason is stored; final
    REPORTED = "reported"  #: SR, SEG and report are built and stored
    DELIVERED = "delivered"  #: every destination has what it asked for; final


class Stage(StrEnum):
    """What is to be done next; each is a Celery queue, a one-line task and a plain function."""

    ANALYZE = "analyze"
    REPORT = "report"
    DELIVER = "deliver"
    COMMIT = "commit"  #: an archive is asked whether it keeps what was delivered; only where the site wants that


class Outcome(StrEnum):
    """How a stage ended well."""

    DONE = "done"
    DECLINED = "declined"


#: (state before, stage, outcome) -> state after. Nothing else is a legal move.
PATH: dict[tuple[State, Stage, Outcome], State] = {
    (State.RECEIVED, Stage.ANALYZE, Outcome.DONE): State.ANALYZED,
    (State.RECEIVED, Stage.ANALYZE, Outcome.DECLINED): State.DECLINED,
    (State.ANALYZED, Stage.REPORT, Outcome.DONE): State.REPORTED,
    (State.REPORTED, Stage.DELIVER, Outcome.DONE): State.DELIVERED,
    (State.REPORTED, Stage.COMMIT, Outcome.DONE): State.DELIVERED,
}

#: Stages that have a row for each destination; a job is delivered when none of them is left.
BY_DESTINATION = (Stage.DELIVER, Stage.COMMIT)

#: How the message of a row begins that waits for a peer's answer: nothing failed.
WAITS = "waits for "

#: What is due once a state is reached; a final state has no entry.
NEXT: dict[State, Stage] = {
    State.RECEIVED: Stage.ANALYZE,
    State.ANALYZED: Stage.REPORT,
    State.REPORTED: Stage.DELIVER,
}


def advance(state: State, stage: Stage, outcome: Outcome) -> State:
    """The state after a stage. Raises DentgateError for a move that the table does not know."""
    try:
        return PATH[state, stage, outcome]
    except KeyError:
        message = f"no move from {state} by {stage}:{outcome}"
        raise DentgateError(message) from None
