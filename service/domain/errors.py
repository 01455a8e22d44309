"""One tree of errors, sorted by what the caller must do.

DentgateError
├── ConfigurationError   the operator changes a setting, a file or a port; the process ends with one line
├── Refused              the sender is told why; nothing was accepted
│   ├── NotUnderstood    the bytes are not what they claim to be (PS3.4 B.2.3: Cxxx)
│   ├── NotMatching      the data set contradicts the message that carries it (PS3.4 B.2.3: A9xx)
│   ├── Outdated         somebody else was first: read again, then decide anew (HTTP 409)
│   └── OutOfResources   no room now, try again later (PS3.4 B.2.3: A7xx)
│       └── Busy         there is room, but too much waits already
├── Declined             the study is kept, no analysis is made, the reason is recorded
├── Transient            try again later with back-off
│   ├── Unavailable      the peer itself: it gives no answer, or asks everybody to come later
│   └── Waiting          nothing failed, a peer's answer is awaited
├── OutOfMemory          tried with less already; a few times more, then dead letter
├── Permanent            do not try again: dead letter with the peer's own words
└── Held                 a person must decide before it goes on
"""


class DentgateError(Exception):
    """Base of all errors that Dentgate raises on purpose. Messages never carry patient data."""


class ConfigurationError(DentgateError):
    """A setting, file or port is wrong; the message names the cause and the mend in one line."""


class Refused(DentgateError):  # noqa: N818 - named by what happened to the object, as the standard does
    """Nothing was accepted; the message says why."""


class NotUnderstood(Refused):
    """The bytes are not a valid object (C-STORE status C000, HTTP 400)."""


class NotMatching(Refused):
    """The data set does not match the SOP class or instance of the message (C-STORE status A900, HTTP 400)."""


class Outdated(Refused):
    """What the sender saw is not what stands now; the message says what does."""


class OutOfResources(Refused):
    """There is no room for the object now (C-STORE status A700, HTTP 507)."""


class Busy(OutOfResources):
    """Too much waits to be done already (C-STORE status A702, HTTP 429)."""


class Declined(DentgateError):  # noqa: N818 - a decision, not a fault
    """No model accepts the study; it is kept and the reason is shown."""


class Transient(DentgateError):  # noqa: N818 - the adjective says what the caller must do
    """Try again later.

    Args:
        message: what happened, in the peer's own words where there are some.
        retry_after: seconds the peer asked to wait, None if it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """Keep the peer's wish beside the message."""
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(Transient):
    """The peer gives no answer, or none but that everybody should come later: what else is for it need not try."""


class Waiting(Transient):
    """Nothing failed; a peer that was asked answers in its own time. Not counted against the most attempts."""


class OutOfMemory(DentgateError):  # noqa: N818 - as everybody calls it
    """Neither a smaller batch nor another device helped; neighbours may leave more room later."""


class Permanent(DentgateError):  # noqa: N818
    """Trying again gives the same answer: dead letter."""


class Held(DentgateError):  # noqa: N818
    """A person must decide, for example because no or several patients match."""
