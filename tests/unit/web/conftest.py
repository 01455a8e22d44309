"""An empty gateway and a client of its web application."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.unit.web.rows import Site, serving, site


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Site]:
    """An empty gateway with two destinations."""
    destinations = [
        {"name": "pacs", "url": "dicom://ORTHANC@127.0.0.1:4242"},
        {"name": "ehr", "url": "fhir+http://127.0.0.1:8103/fhir/R4"},
    ]
    made = site(tmp_path, destination=destinations, web={"max_upload_mb": 1})
    yield made
    made.db.close()


@pytest.fixture
def client(gateway: Site) -> Iterator[httpx.Client]:
    """A client of a real server on a free loopback port; it does not follow redirects."""
    with serving(gateway.app()) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as made:
        yield made
