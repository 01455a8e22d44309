"""The embedded broker starts, carries bells, and leaves nothing behind."""

import os
from pathlib import Path

import pytest
import redis

from service.broker import Broker, EmbeddedBroker
from service.domain.errors import Transient
from service.domain.job import Stage
from tests.patience import until


def test_the_embedded_broker_carries_a_bell(tmp_path: Path) -> None:
    """A bell for a stage lies in the queue of that stage; after stopping the socket is gone."""
    embedded = EmbeddedBroker(tmp_path / "run")
    embedded.start()
    try:
        broker = Broker(embedded.url)
        broker.check()
        assert broker.waiting(Stage.REPORT) == 0
        broker.ring(Stage.REPORT, 7)
        assert broker.waiting(Stage.REPORT) == 1
        with redis.Redis(unix_socket_path=str(tmp_path / "run" / "broker.sock")) as client:
            assert client.llen("report") == 1
    finally:
        embedded.stop()
    assert not (tmp_path / "run" / "broker.sock").exists()


def test_a_successor_ends_what_a_killed_group_left(tmp_path: Path) -> None:
    """Starting again on the same folder asks the old server to go and takes its place."""
    old, new = EmbeddedBroker(tmp_path), EmbeddedBroker(tmp_path)
    old.start()
    with redis.Redis(unix_socket_path=str(tmp_path / "broker.sock")) as client:
        pid = client.info("server")["process_id"]
    new.start()
    try:
        until(lambda: os.waitpid(pid, os.WNOHANG) == (pid, 0), "it did not go, or not in order")
        Broker(new.url).check()
    finally:
        old.stop()
        new.stop()


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    """A folder too deep for a socket address still gets a broker."""
    embedded = EmbeddedBroker(tmp_path / ("deep" * 30))
    embedded.start()
    Broker(embedded.url).check()
    embedded.stop()


def test_a_dead_broker_is_transient(tmp_path: Path) -> None:
    """Ringing without a broker says so; the outbox row is still there."""
    broker = Broker(f"redis+socket://{tmp_path / 'nobody.sock'}")
    with pytest.raises(Transient, match="broker does not answer"):
        broker.ring(Stage.ANALYZE, 1)
    with pytest.raises(Transient, match="broker does not answer"):
        broker.check()
    with pytest.raises(Transient, match="broker does not answer"):
        broker.waiting(Stage.ANALYZE)
