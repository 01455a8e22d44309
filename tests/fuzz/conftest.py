"""Options of the fuzz suite: another seed, other counts. A run prints its seed, a finding says how to see it again."""

from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried.

    Attributes:
        inputs: without a network.
        connections: to a real listener.
        requests: to a real web process.
    """

    seed: int
    inputs: int
    connections: int
    requests: int


SHORT, LONG = Effort(20261121, 6000, 600, 120), Effort(20261121, 220_000, 20_000, 3000)


def pytest_addoption(parser: pytest.Parser) -> None:
    """They count when this folder is named on the command line; elsewhere the defaults hold."""
    group = parser.getgroup("fuzz")
    for name in ("seed", "inputs", "connections", "requests"):
        group.addoption(f"--fuzz-{name}", type=int, default=None, help=f"of the fuzz suite, in place of its own {name}")


@pytest.fixture
def effort(request: pytest.FixtureRequest) -> Effort:
    """What this test is to try: little in ``make test``, much where it is marked as long."""
    chosen = LONG if request.node.get_closest_marker("long") else SHORT
    told = {name: request.config.getoption(f"--fuzz-{name}", default=None) for name in Effort.__slots__}
    return Effort(**{name: getattr(chosen, name) if value is None else value for name, value in told.items()})
