"""What the record does with words that no database can keep: it keeps the rest of them."""

from service import clock
from service.db import outbox, overview
from service.db.engine import Database
from service.db.studies import close_quiet_studies, record_instances
from service.domain.job import Stage
from service.domain.study import ReceivedInstance

HOSTILE = "the peer says \0\ud800 and \x1b[31m"


def test_a_peers_words_end_a_delivery_whatever_they_are(db: Database) -> None:
    """A NUL or half a surrogate pair in an answer must not make the row fail for ever."""
    received = {
        "study_instance_uid": "1.2.3",
        "series_instance_uid": "1.2.3.1",
        "sop_instance_uid": "1.2.3.1.1",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "storage_key": "instances/aa/aa.dcm",
        "sha256": "a" * 64,
        "calling_ae": "PANO1",
        "description": HOSTILE,
    }
    record_instances(db, [ReceivedInstance(size=10, **received)])
    assert close_quiet_studies(db, quiet_seconds=0.0) == 1
    (due,) = outbox.ring_due(db, Stage.ANALYZE)
    taken = outbox.claim(db, due.outbox_id, 60)
    assert taken is not None
    outbox.bury(db, taken, HOSTILE)
    with db.session() as session:
        study = overview.find_study(session, "1.2.3", clock.now())
    assert study is not None
    assert study.jobs[0].stages[0].message == "the peer says  ? and \x1b[31m"


def test_a_question_for_such_a_study_finds_none(db: Database) -> None:
    """An address with a NUL in it is an address of nothing, not an error of the database."""
    with db.session() as session:
        assert overview.find_study(session, "1.2.3\0", clock.now()) is None
        assert overview.find_study(session, "\ud800", clock.now()) is None
