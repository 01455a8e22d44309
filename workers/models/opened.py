"""Networks that several models of a process need, opened once: warm weights and buffers are most of its memory."""

import functools
import threading
from weakref import WeakValueDictionary

from workers.inference import Runner, open_network
from workers.models.bundle import Bundle

_Key = tuple[str, str, tuple[int, int, int], str]
_OPENING = threading.Lock()  # of two who ask at once the second gets what the first opened


def open_once(bundle: Bundle, shape: tuple[int, int, int], device: str) -> Runner:
    """The network of a bundle, as ``open_network`` opens it, or the one that somebody still uses.

    It is the same if weights, layers, input and device are, wherever its bundle lies.
    """
    key = (bundle.algorithm.weights_sha256, repr(bundle.network), shape, device)
    with _OPENING:
        runner = _in_use().get(key)
        if runner is None:
            runner = _in_use()[key] = open_network(bundle.network, shape, device)
    return runner


@functools.cache
def _in_use() -> "WeakValueDictionary[_Key, Runner]":
    return WeakValueDictionary()
