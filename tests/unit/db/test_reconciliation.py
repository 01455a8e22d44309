"""The account of a day: everything is somewhere, or it is named."""

from datetime import timedelta

from sqlalchemy import update

from service import clock
from service.db.reconciliation import Account, Deliveries, last_received, reconcile
from service.db.tables import Instance
from service.domain.job import Stage, State
from tests.unit.web.rows import Site, dead, done

HOUR = timedelta(hours=1)


def account(gateway: Site, *, ago: timedelta = timedelta()) -> Account:
    """Of the two hours around now, or around some time before."""
    middle = clock.now() - ago
    with gateway.db.session() as session:
        return reconcile(session, middle - HOUR, middle + HOUR)


def test_every_step_of_the_way_is_counted(gateway: Site) -> None:
    """Open, analyzing, declined, reporting, reported: each study is in one line, and nothing is adrift."""
    gateway.study("2.25.1", open=True, revision=0)
    with gateway.db.begin() as session:
        session.execute(update(Instance).values(revision=None))
    gateway.step(gateway.job(gateway.study("2.25.2")), Stage.ANALYZE)
    gateway.job(gateway.study("2.25.3"), State.DECLINED)
    gateway.step(gateway.job(gateway.study("2.25.4", conflict=True), State.ANALYZED), Stage.REPORT)
    reported = gateway.job(gateway.study("2.25.5", instances=2), State.REPORTED)
    gateway.step(reported, Stage.DELIVER, "pacs", **done())
    gateway.step(reported, Stage.DELIVER, "ehr", held=True)
    gateway.step(reported, Stage.DELIVER, "folder")
    found = account(gateway)
    assert (found.images, found.open_images, found.set_aside, found.image_revisions) == (7, 1, 1, 5)
    assert (found.revisions, found.analyzing, found.declined, found.analyzed) == (4, 1, 1, 2)
    assert (found.reporting, found.reported, found.stuck) == (1, 1, 0)
    assert found.deliveries == {
        "ehr": Deliveries(held=1),
        "folder": Deliveries(waiting=1),
        "pacs": Deliveries(delivered=1),
    }
    assert found.adrift == ()
    assert found.images == found.open_images + found.set_aside + found.image_revisions


def test_dead_letters_are_told_apart(gateway: Site) -> None:
    """A dead analysis waits and is called stuck; a dead delivery counts at its destination."""
    gateway.step(gateway.job(gateway.study("2.25.1")), Stage.ANALYZE, **dead("killed twice"))
    gateway.step(gateway.job(gateway.study("2.25.2"), State.REPORTED), Stage.DELIVER, "pacs", **dead("refused"))
    found = account(gateway)
    assert (found.analyzing, found.stuck) == (1, 1)
    assert found.deliveries == {"pacs": Deliveries(dead=1)}
    assert any("dead letters" in line for line in found.lines())


def test_what_is_nowhere_is_named(gateway: Site) -> None:
    """A job without its outbox row, a final one with work left, an image in no revision: each is adrift."""
    gateway.job(gateway.study("2.25.1"))
    gateway.step(gateway.job(gateway.study("2.25.2"), State.DELIVERED), Stage.DELIVER, "pacs")
    gateway.study("2.25.3", revision=0)
    found = account(gateway)
    assert sorted(found.adrift) == [
        "study 2.25.1: received, but no analyze is due",
        "study 2.25.2: delivered, but work is left",
        "study 2.25.3: an image is in no revision",
    ]
    assert sum(line.startswith("ADRIFT") for line in found.lines()) == 3


def test_another_time_has_its_own_account(gateway: Site) -> None:
    """What came before the time asked for does not count."""
    gateway.job(gateway.study())
    assert account(gateway, ago=timedelta(days=1)) == Account(*(0,) * 11)


def test_when_each_sender_was_heard_last(gateway: Site) -> None:
    """The newest image of each AE title decides."""
    gateway.study(instances=2)
    with gateway.db.session() as session:
        heard = last_received(session)
    assert list(heard) == ["PANO1"]
    assert clock.now() - heard["PANO1"] < HOUR
