"""Servers that tests share; see ``tests/servers.py``."""

from collections.abc import Iterator

import pytest

from tests import servers


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.OrthancServer]:
    """One PACS for the whole run; tests keep apart by their study UIDs."""
    with servers.orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="session")
def fhir_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of one FHIR record for the whole run; tests keep apart by PatientID and study UID."""
    with servers.fhir_server(tmp_path_factory.mktemp("fhir") / "fhir.log") as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """SQLAlchemy URL of one PostgreSQL for the whole run; a test that writes makes a database of its own in it."""
    with servers.postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of one Redis for the whole run; tests keep apart by their keys."""
    with servers.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url
