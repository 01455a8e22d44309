"""Which results go to which destination."""

from pathlib import Path

import pytest

from service.bootstrap import ALWAYS_WRITTEN, build
from service.domain.errors import ConfigurationError
from service.domain.result import DICOM_RESULTS
from service.export import VIEWERS
from service.results import WRITERS
from service.settings import Settings

PACS = "dicom://ORTHANC@127.0.0.1:4242"


def settings(folder: Path, **destination: object) -> Settings:
    """Settings with one destination."""
    return Settings.model_validate(
        {
            "database": {"url": f"sqlite:///{folder / 'x.db'}"},
            "broker": {"url": "redis://127.0.0.1:1/0"},
            "storage": {"url": folder.as_uri()},
            "destination": [{"name": "a", **destination}],
        }
    )


@pytest.mark.parametrize(
    ("destination", "results"),
    [
        ({"url": PACS}, ("sr", "seg-plane", "secondary-capture")),
        ({"url": PACS, "viewer": "ohif"}, ("sr-text", "seg-plane", "secondary-capture")),
        ({"url": PACS, "viewer": "weasis"}, ("sr", "seg", "presentation-state", "key-objects")),
        ({"url": PACS, "viewer": "legacy"}, ("secondary-capture", "pdf")),
        ({"url": PACS, "viewer": "legacy", "results": ["sr"]}, ("sr",)),
        ({"url": "file:///x"}, ("sr", "seg", "report")),
        ({"url": "file:///x", "results": list(DICOM_RESULTS)}, DICOM_RESULTS),
        ({"url": "fhir+http://h/fhir"}, ("report",)),
        ({"url": "stow+https://h/dicom-web"}, ("sr", "seg-plane", "secondary-capture")),
        ({"url": "stow+https://h/dicom-web", "viewer": "ohif"}, ("sr-text", "seg-plane", "secondary-capture")),
    ],
)
def test_results_of_a_destination(tmp_path: Path, destination: dict[str, object], results: tuple[str, ...]) -> None:
    """Named results win over the viewer, and the viewer over the kind of destination; all of them are written."""
    services = build(settings(tmp_path, **destination))
    assert services.destination("a")[1] == results
    assert services.wanted_results() == ALWAYS_WRITTEN | set(results)


@pytest.mark.parametrize(
    ("destination", "kind"),
    [
        ({"url": "fhir+http://h/fhir", "viewer": "ohif"}, "sr-text"),
        ({"url": "fhir+http://h/fhir", "results": ["pdf"]}, "pdf"),
        ({"url": PACS, "results": ["report"]}, "report"),
    ],
)
def test_what_a_destination_cannot_take_is_told_at_once(
    tmp_path: Path, destination: dict[str, object], kind: str
) -> None:
    """A record takes no pictures and a PACS no FHIR: said at the start, with what it takes."""
    with pytest.raises(ConfigurationError, match=rf"'a' cannot take .*{kind}.*; it takes "):
        build(settings(tmp_path, **destination))


def test_every_viewer_gets_what_can_be_written() -> None:
    """The results of every kind of viewer are DICOM and have a writer, and no reader gets the same masks twice."""
    for results in VIEWERS.values():
        assert set(results) <= set(DICOM_RESULTS) <= set(WRITERS)
        assert sum(kind.startswith("seg") for kind in results) <= 1


def test_a_destination_is_opened_once_for_a_process(tmp_path: Path) -> None:
    """All deliveries of a process share one object: its login, once fetched, serves them all."""
    services = build(settings(tmp_path, url="stow+https://h/dicom-web"))
    assert services.destination("a")[0] is services.destination("a")[0]
