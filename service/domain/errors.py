"""One tree of errors, sorted by what the caller must do.

DentgateError
├── ConfigurationError   the operator changes a setting, a file or a port; the process ends with one line
├── Refused              the sender is told why; nothing was accepted
│   ├── NotUnderstood    the bytes are not what they claim to be (PS3.4 B.2.3: Cxxx)
│   ├── NotMatching      the data set contradicts the message that carries it (PS3.4 B.2.3: A9xx)
│   └── OutOfResources   no room now, try again later (PS3.4 B.2.3: A7xx)
├── Declined             the study is kept, no analysis is made, the reason is recorded
├── Transient            try again later with back-off
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


class OutOfResources(Refused):
    """There is no room for the object now (C-STORE status A700, HTTP 507)."""


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


class Permanent(DentgateError):  # noqa: N818
    """Trying again gives the same answer: dead letter."""


class Held(DentgateError):  # noqa: N818
    """A person must decide, for example because no or several patients match."""
