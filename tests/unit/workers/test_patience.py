"""How long a delivery is tried: what a peer wishes never makes it shorter."""

from collections.abc import Callable

import pytest

from service.db.jobs import StageEnd, Work
from service.db.outbox import Claim
from service.db.tables import Outbox
from service.domain.errors import Transient
from service.domain.job import Stage
from tests.bench import PANORAMIC, Bench
from tests.builders import as_bytes, xray
from workers.app import Context
from workers.pipeline import STAGES, run


@pytest.mark.parametrize(("wish", "least"), [(1.0, 450.0), (3000.0, 3000.0), (None, 450.0)])
def test_a_peer_may_ask_for_more_time_not_for_less(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, wish: float | None, least: float
) -> None:
    """Its attempts would be used up in minutes by a page that says "try again in a second" for a weekend."""

    def busy(_context: Context, _taken: Claim, _work: Work) -> StageEnd:
        raise Transient("maintenance", retry_after=wish)

    monkeypatch.setitem(STAGES, Stage.ANALYZE, busy)
    made = bench()
    made.receive(as_bytes(xray(PANORAMIC)))
    (row,) = made.rows()
    with made.services.db.begin() as session:
        session.get_one(Outbox, row.id).attempts = 200
    run(made.context, row.id)
    (row,) = made.rows()
    assert (row.attempts, row.dead_at) == (201, None)
    assert row.started_at is not None
    assert (row.not_before - row.started_at).total_seconds() >= least
