"""While an answer is awaited, pynetdicom's reactor takes no message."""

import threading
import time

from service.export.reactor_gate import ReactorGate


def test_a_reactor_on_its_way_out_of_a_pause_takes_nothing() -> None:
    """However slowly it wakes: between ``clear`` and ``set`` it is never seen to look for messages."""
    gate = ReactorGate()
    stop, awaiting, stolen = threading.Event(), threading.Event(), []

    def reactor() -> None:
        while not stop.is_set():
            gate.wait()
            time.sleep(0.01)  # a busy machine
            if awaiting.is_set():
                stolen.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=reactor, daemon=True)
    thread.start()
    for _ in range(20):
        gate.clear()
        awaiting.set()
        time.sleep(0.02)  # the answer is on its way
        awaiting.clear()
        gate.set()
    stop.set()
    gate.set()
    thread.join(5)
    assert not stolen


def test_a_reactor_that_is_gone_holds_nobody_up_for_long() -> None:
    """An association that ended has no reactor any more."""
    began = time.monotonic()
    ReactorGate().clear()
    assert time.monotonic() - began < 5
