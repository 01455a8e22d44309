"""Servers that tests share, see ``tests/servers.py``; and how several processes share the tests."""

from collections.abc import Iterator

import pytest

from tests import servers


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """From both ends of the list of files, where there is more than one process (``make test``)."""
    from tests.two_ends import TwoEnds  # noqa: PLC0415 - without ``-n`` the tests need no xdist

    config.option.loadscopereorder = False
    return TwoEnds(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tools that read the whole project come last, where the second process begins: they can take minutes."""
    items.sort(key=lambda item: item.path.name == "test_house.py")


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


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """Address of an S3 server on loopback (moto's, over real HTTP)."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed, so there is no S3 server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()
