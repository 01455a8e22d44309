"""Out of memory as an error class of its own: a smaller batch first, then the CPU, then later, then a person.

A batch that does not fit must not look like a broken image, and must not go round and round.
"""

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import OutOfMemory

_LOG = logging.getLogger(__name__)
#: words of torch, OpenVINO and C++ for it; they raise a RuntimeError
_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "allocate memory",
    "bad_alloc",
    "bad allocation",
)

Batch = NDArray[np.float32]


class Engine(Protocol):
    """Runs a batch."""

    engine: str

    def __call__(self, batch: Batch) -> Batch:
        """See ``workers.inference.Runner``."""
        ...


class Frugal:
    """A runner that halves a batch that does not fit, and takes ``otherwise`` for an image that does not fit alone."""

    def __init__(self, runner: Engine, otherwise: Callable[[Batch], Batch] | None = None) -> None:
        """``otherwise``: slower and with other memory, for example on the CPU; None where there is nothing else."""
        self.engine = runner.engine
        self._runner, self._otherwise = runner, otherwise

    def __call__(self, batch: Batch) -> Batch:
        """Run one batch. Raises OutOfMemory if not even one image fits anywhere."""
        try:
            return self._runner(batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if len(batch) > 1:
            _LOG.warning("out of memory with %d images at once; trying %d", len(batch), (len(batch) + 1) // 2)
            middle = (len(batch) + 1) // 2
            return np.concatenate([self(batch[:middle]), self(batch[middle:])])
        return self._elsewhere(batch)

    def _elsewhere(self, batch: Batch) -> Batch:
        if self._otherwise is not None:
            _LOG.warning("out of memory with a single image; it runs on the CPU")
            try:
                return self._otherwise(batch)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
        message = f"out of memory: an input of {batch.shape[2]} x {batch.shape[3]} does not fit, on the CPU neither"
        raise OutOfMemory(message) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says so, in the words of Python, torch, CUDA or OpenVINO."""
    if isinstance(error, MemoryError | OutOfMemory):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
