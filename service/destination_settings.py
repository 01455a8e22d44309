"""The settings of a destination: where a peer is, what it gets, and how we come in there."""

from collections.abc import Iterator
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

ResultKind = Literal[
    "sr",
    "sr-text",
    "sr-comprehensive",
    "seg",
    "seg-plane",
    "seg-labelmap",
    "presentation-state",
    "secondary-capture",
    "pdf",
    "key-objects",
    "rejection",
    "report",
    "oru",
]
Viewer = Literal["any", "ohif", "weasis", "legacy"]
Auth = Literal["none", "basic", "bearer", "smart"]
Form = Literal["auto", "transaction", "single", "document"]
#: auth -> the keys that it needs, and those that it can use.
_LOGINS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "none": ((), ()),
    "basic": (("username", "password_file"), ()),
    "bearer": (("token_file",), ()),
    "smart": (("client_id", "key_file"), ("next_key_file", "token_url", "scope")),
}
_LOGIN_KEYS = sorted({key for keys in _LOGINS.values() for key in (*keys[0], *keys[1])})
_OF_FHIR = {"form", "patient_systems", "order_systems", "create_patient", "dicomweb_url"}


class Section(BaseModel):
    """A table of the settings: unknown keys are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DestinationSettings(Section):
    """A peer that receives results."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="name shown in pages and logs")
    url: str = Field(
        description="dicom://AET@host:port, stow+http(s)://host/base, fhir+http(s)://host/base, mllp(s)://host:port or "
        "file:///folder"
    )
    results: tuple[ResultKind, ...] = Field(
        (),
        description="sr, sr-text, sr-comprehensive, seg, seg-plane, seg-labelmap, presentation-state, "
        "secondary-capture, pdf, key-objects, rejection, report, oru; empty: what suits the viewer, or else the kind "
        "of destination",
    )
    viewer: Viewer = Field("any", description="any, ohif, weasis or legacy: who reads there, which chooses the results")
    commitment: bool = Field(
        default=False,
        description="dicom:// only: ask for storage commitment, wait for it, and send again what the PACS lost; it "
        "must know our AE title, address and port",
    )
    ca_file: str = Field("", description="PEM file of the authorities that sign its certificate; empty: this machine's")
    cert_file: str = Field("", description="our certificate (PEM, with its chain), where the peer asks for one")
    cert_key_file: str = Field("", description="its private key (PEM, without a passphrase)")
    auth: Auth = Field(
        "none", description="none, basic, bearer or smart (SMART Backend Services): how we log in by HTTP"
    )
    username: str = Field("", description="for basic")
    password_file: str = Field("", description="for basic: file that holds the password alone")
    token_file: str = Field("", description="for bearer: file that holds the token alone")
    client_id: str = Field("", description="for smart: who we are, as the record registered us")
    key_file: str = Field("", description="for smart: private key (PEM), EC P-384 or RSA of 2048 bits and more")
    next_key_file: str = Field("", description="for smart: the key to come, published already and not used yet")
    token_url: str = Field(
        "", description="for smart: token endpoint; empty: what [base]/.well-known/smart-configuration says"
    )
    scope: str = Field("", description="for smart: what we ask for; empty: what a FHIR delivery needs")
    form: Form = Field(
        "auto",
        description="FHIR only: transaction, single (one request for each resource), document (DocumentReference with "
        "the PDF), or auto: what the server's CapabilityStatement offers first",
    )
    patient_systems: dict[str, str] = Field(
        {},
        description="FHIR only: issuer of the PatientID, as DICOM writes it, to the record's identifier system: "
        '`{ "HOSP" = "urn:oid:1.2.3", "*" = "urn:oid:4.5" }`; `*` is any other',
    )
    order_systems: dict[str, str] = Field({}, description="FHIR only: the same for the issuer of the accession number")
    create_patient: bool = Field(
        default=False, description="FHIR only: make a patient from the DICOM header where none matches"
    )
    dicomweb_url: str = Field(
        "", description="FHIR only: where readers of the record reach the images by DICOMweb; written as an Endpoint"
    )

    @model_validator(mode="after")
    def _keys_that_belong_together(self) -> Self:
        """Keys that would be ignored are errors: somebody believes that they work."""
        problem = next(self._problems(), None)
        if problem is not None:
            message = f"destination {self.name!r}: {problem}"
            raise ValueError(message)
        return self

    def _problems(self) -> Iterator[str]:
        scheme = urlsplit(self.url).scheme
        if self.auth != "none" and "+http" not in scheme:
            yield f"auth is for HTTP, not for {scheme}://"
        given = {key for key in _LOGIN_KEYS if getattr(self, key)}
        needed, possible = _LOGINS[self.auth]
        if missing := [key for key in needed if key not in given]:
            yield f'auth = "{self.auth}" needs {" and ".join(missing)}'
        if useless := sorted(given - set(needed) - set(possible)):
            yield f'{", ".join(useless)} without use: auth is "{self.auth}"'
        if self.auth == "basic" and ":" in self.username:
            yield "a username with a colon cannot log in by basic (RFC 7617)"
        if self.auth == "smart" and not scheme.startswith("fhir") and not self.scope:
            yield 'auth = "smart" needs scope where the peer is no FHIR server'
        if bool(self.cert_file) != bool(self.cert_key_file):
            yield "cert_file and cert_key_file belong together"
        if (self.ca_file or self.cert_file) and not scheme.endswith("s") and not self.token_url.startswith("https:"):
            yield f"ca_file and cert_file are for TLS, which {scheme}:// does not use"
        if self.commitment and not scheme.startswith("dicom"):
            yield f"commitment is for dicom://, not for {scheme}://"
        yield from self._fhir_problems(scheme)

    def _fhir_problems(self, scheme: str) -> Iterator[str]:
        if not scheme.startswith("fhir") and (useless := sorted(_OF_FHIR & self.model_fields_set)):
            yield f"{', '.join(useless)} without use: the url is no fhir+http(s)://"
        if self.dicomweb_url and not self.dicomweb_url.startswith(("http://", "https://")):
            yield "write dicomweb_url as http(s)://host/path"
