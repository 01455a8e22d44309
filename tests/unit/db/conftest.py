"""A record with what the tests put into it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.web.rows import Site, site


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Site]:
    """An empty gateway."""
    made = site(tmp_path)
    yield made
    made.db.close()
