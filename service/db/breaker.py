"""A circuit breaker for each destination: while it does not answer, one delivery asks for all of them.

Without it every study would wait out the whole time limit of a peer that swallows what it is sent, and a few of those
hold all processes: the other destinations would wait with it. The state stands in the database, so any number of
workers keep to it. A destination without a row, or with no failure, is well.
"""

from datetime import datetime, timedelta

from sqlalchemy import case, or_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service import clock
from service.db.engine import Database
from service.db.tables import DestinationState, Outbox
from service.domain.job import WAITS

FIRST_SECONDS, LONGEST_SECONDS = 2.0, 60.0
LONGEST_WISH_SECONDS = 3600.0  # a peer that asks for more (a maintenance page) is asked again after this
_ASKED_SECONDS = 15.0  # somebody is asking: look again after this, if nobody has told before
_MOST_DOUBLINGS = 10


def admit(session: Session, destination: str, lease_seconds: float) -> tuple[datetime, str] | None:
    """Whether a delivery may begin; inside the transaction that claims it.

    Returns:
        None: go. Else when to come again, and what it waits for, in words.
    """
    state = session.get(DestinationState, destination)
    if state is None or not state.failures:
        return None
    now = clock.now()
    words = f"{WAITS}{destination} to answer again: {state.message}"
    if state.not_before is not None and state.not_before > now:
        return state.not_before, words
    mine = session.execute(
        update(DestinationState)
        .where(
            DestinationState.destination == destination,
            or_(DestinationState.asked_until.is_(None), DestinationState.asked_until <= now),
        )
        .values(asked_until=now + timedelta(seconds=lease_seconds))
        .returning(DestinationState.destination)
    ).one_or_none()
    return None if mine else (now + timedelta(seconds=_ASKED_SECONDS), words)


def silent(db: Database, destination: str, message: str, retry_after: float | None = None) -> None:
    """It gave no answer, or asked everybody to come later: nobody asks before its time.

    Args:
        db: the record.
        destination: name.
        message: what happened.
        retry_after: seconds that it named. They only lengthen the time, which doubles from 2 s to a minute.
    """
    for _ in range(2):
        try:
            with db.begin() as session:
                state = session.get(DestinationState, destination, with_for_update=True)
                if state is None:
                    state = DestinationState(destination=destination, failures=0)
                    session.add(state)
                least = min(FIRST_SECONDS * 2.0 ** min(state.failures, _MOST_DOUBLINGS), LONGEST_SECONDS)
                seconds = min(max(least, retry_after or 0.0), LONGEST_WISH_SECONDS)
                state.failures, state.message = state.failures + 1, message
                state.not_before, state.asked_until = clock.now() + timedelta(seconds=seconds), None
        except IntegrityError:  # another worker made the row at the same moment
            continue
        return


def answered(db: Database, destination: str) -> None:
    """It answers: what waited for that is due now."""
    with db.session() as session:
        state = session.get(DestinationState, destination)
        if state is None or not state.failures:
            return
    well = {"failures": 0, "not_before": None, "asked_until": None, "message": ""}
    waited = (Outbox.destination == destination, Outbox.put_off, Outbox.finished_at.is_(None), Outbox.lease == "")
    only = Outbox.message.startswith(f"{WAITS}{destination} to answer again", autoescape=True)
    due = {"not_before": clock.now(), "put_off": False, "rung_at": None}
    with db.begin() as session:
        session.execute(update(DestinationState).where(DestinationState.destination == destination).values(**well))
        message = case((only, ""), else_=Outbox.message)  # a row that had failed before has a story of its own
        session.execute(update(Outbox).where(*waited).values(message=message, **due))


def unsettled(db: Database, destination: str) -> None:
    """Who asked cannot say whether it answers (it had trouble of its own): the next one may ask."""
    with db.session() as session:
        state = session.get(DestinationState, destination)
        if state is None or state.asked_until is None:
            return
    with db.begin() as session:
        let_ask(session, destination)


def let_ask(session: Session, destination: str) -> None:
    """Who was admitted does not ask: the next one may."""
    mine = DestinationState.destination == destination
    session.execute(update(DestinationState).where(mine).values(asked_until=None))


def forget(session: Session) -> None:
    """A person wants everything tried now."""
    held_back = DestinationState.failures > 0
    session.execute(update(DestinationState).where(held_back).values(not_before=None, asked_until=None))
