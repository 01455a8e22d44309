"""The path of a study is a table: what it does not hold cannot happen."""

import itertools

import pytest

from service.domain.errors import DentgateError
from service.domain.job import NEXT, PATH, Outcome, Stage, State, advance


def test_the_path_leads_from_received_to_delivered() -> None:
    """Following what is due from the first state reaches the last one."""
    state = State.RECEIVED
    seen = [state]
    while state in NEXT:
        state = advance(state, NEXT[state], Outcome.DONE)
        seen.append(state)
    assert seen == [State.RECEIVED, State.ANALYZED, State.REPORTED, State.DELIVERED]


@pytest.mark.parametrize("move", list(itertools.product(State, Stage, Outcome)))
def test_only_moves_of_the_table_are_legal(move: tuple[State, Stage, Outcome]) -> None:
    """Every move that the table does not name raises."""
    if move in PATH:
        assert advance(*move) is PATH[move]
    else:
        with pytest.raises(DentgateError, match="no move"):
            advance(*move)
