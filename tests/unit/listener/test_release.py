"""A sender that sends each study in one association says by its release that it is complete."""

import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.receiving import Receiving, receiving
from tests.unit.listener.raw_scu import DX, EXPLICIT, SR, RawScu, image

SETTINGS = """quiet_seconds = 60.0
[[source]]
ae_title = "PANO1"
complete_on_release = true
[[source]]
ae_title = "PANO2"
"""
STUDY, NEXT = "1.2.3.1", "1.2.3.2"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Receiving]:
    """One that nothing but a release closes studies of."""
    with receiving(tmp_path, SETTINGS, ticking=False) as running:
        yield running


def sender(site: Receiving, calling_ae: str = "PANO1") -> RawScu:
    """An association."""
    return RawScu(site.listener.port, calling=calling_ae)


def ended(site: Receiving) -> None:
    """Wait until no association is left."""
    for _ in range(500):
        if not site.listener._open():  # noqa: SLF001 - the threads have ended
            return
        threading.Event().wait(0.01)
    pytest.fail("an association does not end")


def test_a_release_completes_what_was_brought(site: Receiving) -> None:
    """Every study of the association, of a sender that the settings say it of; an echo alone completes nothing."""
    for ae, closed in (("PANO1", 1), ("PANO2", None)):
        study = 1 if closed else 2
        with sender(site, ae) as scu:
            for number in (1, 2):
                scu.send_image(image(number, study))
            scu.send_image(image(1, study + 2))
            assert site.revisions()[f"1.2.3.{study}"] == [None, None]
            scu.release()
        ended(site)
        assert site.revisions()[f"1.2.3.{study}"] == [closed, closed]
        assert site.revisions()[f"1.2.3.{study + 2}"] == [closed]
    with sender(site) as scu:
        scu.release()
    ended(site)
    assert site.revisions()[NEXT] == [None, None]


def test_an_end_without_release_completes_nothing(site: Receiving) -> None:
    """Cut, or aborted: the sender comes again with the rest."""
    for end in (b"", b"\7\0\0\0\0\4\0\0\0\0"):
        with sender(site) as scu:
            scu.send_image(image(1 if end else 2))
            scu.send(end)
        ended(site)
    assert site.revisions() == {STUDY: [None, None]}


def test_what_was_refused_may_come_again(site: Receiving) -> None:
    """An association in which anything was refused completes nothing."""
    with RawScu(site.listener.port, [(DX, [EXPLICIT]), (SR, [EXPLICIT])], calling="PANO1") as scu:
        assert scu.send_image(image(1)).status == 0
        assert scu.send_image(image(2, StudyInstanceUID=None)).status != 0
        scu.release()
    ended(site)
    assert site.revisions() == {STUDY: [None]}


def test_a_study_that_another_is_still_sending_stays_open(site: Receiving) -> None:
    """The last of its senders completes it, with the images of all."""
    with sender(site) as first, sender(site, "PANO2") as second:
        first.send_image(image(1))
        second.send_image(image(2))
        first.send_image(image(1, study=2))
        first.release()
        while len(site.listener._open()) > 1:  # noqa: SLF001 - the first has ended
            threading.Event().wait(0.01)
        assert site.revisions() == {STUDY: [None, None], NEXT: [1]}
        second.release()
    ended(site)
    assert site.revisions()[STUDY] == [None, None]
    with sender(site) as third:
        third.send_image(image(3))
        third.release()
    ended(site)
    assert site.revisions()[STUDY] == [1, 1, 1]


def test_trouble_when_closing_is_not_the_senders(site: Receiving, caplog: pytest.LogCaptureFixture) -> None:
    """The release is answered, the next association is served, the log says it, and silence closes the study."""

    def fail(_: Collection[str]) -> None:
        message = "no database"
        raise OSError(message)

    site.listener._complete = fail  # noqa: SLF001 - a database that is away
    with sender(site) as scu:
        scu.send_image(image())
        assert scu.release() == 6
    ended(site)
    assert "studies not closed at the release: OSError" in caplog.text
    assert site.revisions() == {STUDY: [None]}
    with sender(site) as scu:
        assert scu.send_image(image(2)).status == 0
