"""Python imports this at its start where it lies on PYTHONPATH: the clock of Dentgate then goes wrong as a file says.

libfaketime cannot do it: Python's sleep fails under it, or hangs after a jump. ``service.clock`` is the only
door to the time of day in Dentgate (ruff guards it), so nothing is missed; the servers beside it keep the true time.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path

from service import clock

_WATCH = Path(os.environ["DENTGATE_TEST_WATCH"])  # noqa: TID251 - whose clock goes wrong is no setting of ours
_now = clock.now


def _shifted() -> datetime:
    return _now() + timedelta(seconds=float(_WATCH.read_text(encoding="ascii") or 0))


clock.now = _shifted
