"""The real FHIR record, as the tests of reports share it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.fhir_peer import Record


@pytest.fixture
def record(fhir_server: str, request: pytest.FixtureRequest) -> Iterator[Record]:
    """The record, with a patient named after the test."""
    with httpx.Client(trust_env=False, base_url=fhir_server, timeout=30) as client:
        yield Record(client, fhir_server, request.node.name)
