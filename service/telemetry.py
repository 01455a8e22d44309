"""Logs: one line for each event, with the identity of the work and without patient data.

The one place that knows what is PHI: callers log UIDs, names of destinations, counts and seconds only. Libraries that
log data sets or messages (pynetdicom, httpx, sqlalchemy) are held at WARNING or not heard at all.
"""

import logging
import sys

_QUIET = (
    "httpx",
    "httpcore",
    "sqlalchemy",
    "celery",
    "alembic",
    "kombu",
)
#: They quote values of data sets and messages; what matters of it reaches us as exceptions.
_UNHEARD = ("pynetdicom", "pydicom", "highdicom", "py.warnings")


def configure_logging(process: str, level: int = logging.INFO) -> None:
    """Send logs of this process to standard error as ``time level process logger message``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s %(levelname)-7s {process} %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    )
    logging.captureWarnings(capture=True)  # a warning may quote a value, so it must not reach standard error by itself
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _UNHEARD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
