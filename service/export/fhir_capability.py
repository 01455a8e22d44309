"""In which form a FHIR server takes a report: chosen from its CapabilityStatement unless the settings say it."""

from dataclasses import dataclass
from enum import StrEnum

from service.domain.errors import Permanent
from service.export.fhir_record import MISSHAPEN, Json, Record

NO_FHIR = "the server's answer is JSON without the shape of FHIR R4; is the base of the destination url right?"
_REPORT, _DOCUMENT = "DiagnosticReport", "DocumentReference"


class Form(StrEnum):
    """How a report is sent."""

    TRANSACTION = "transaction"  #: all resources at once, all or none
    SINGLE = "single"  #: one request for each resource, in an order in which references lead backwards
    DOCUMENT = "document"  #: a DocumentReference with the PDF


@dataclass(frozen=True, slots=True)
class Capability:
    """What a server says it can.

    Attributes:
        version: of FHIR, as the server writes it.
        transaction: it offers the interaction.
        creates: types of resource that it creates; None where it lists no types at all.
        chooses_ids: types that it creates under an id of our choosing.
    """

    version: str
    transaction: bool
    creates: frozenset[str] | None
    chooses_ids: frozenset[str]

    def takes(self, kind: str) -> bool:
        """Whether a resource of this type can be created; a server that lists nothing is asked."""
        return self.creates is None or kind in self.creates


def capability_of(record: Record) -> Capability:
    """What the server's CapabilityStatement says.

    Raises:
        Permanent: there is none, or it is not of FHIR R4 (4.0 or 4.3).
    """
    statement = record.request("GET", "/metadata")
    if statement.get("resourceType") != "CapabilityStatement":
        message = "the address answers, but not with a CapabilityStatement; is it the base of a FHIR server?"
        raise Permanent(message)
    version = str(statement.get("fhirVersion"))
    if not version.startswith("4."):
        message = f"the server speaks FHIR {version}, reports are FHIR 4; write its base for R4 into the url"
        raise Permanent(message)
    try:
        return _read(statement, version)
    except MISSHAPEN as error:
        raise Permanent(NO_FHIR) from error


def _read(statement: Json, version: str) -> Capability:
    rests = [rest for rest in statement.get("rest", []) if rest.get("mode") != "client"]
    codes = {each.get("code") for rest in rests for each in rest.get("interaction", [])}
    resources = [resource for rest in rests for resource in rest.get("resource", [])]
    creates = frozenset(
        str(resource.get("type"))
        for resource in resources
        if "create" in {each.get("code") for each in resource.get("interaction", [])}
    )
    chooses = frozenset(str(resource.get("type")) for resource in resources if resource.get("updateCreate") is True)
    return Capability(version, "transaction" in codes, creates if resources else None, chooses)


def choose(capability: Capability, wanted: str) -> tuple[Form, str]:
    """The form, and why.

    Args:
        capability: what the server says.
        wanted: ``auto``, or the form that the settings name.

    Raises:
        Permanent: the server takes neither reports nor documents.
    """
    if wanted != "auto":
        return Form(wanted), "the settings say so"
    if capability.takes(_REPORT):
        if capability.transaction:
            return Form.TRANSACTION, "the server offers transactions"
        return Form.SINGLE, "the server offers no transactions"
    if capability.takes(_DOCUMENT):
        return Form.DOCUMENT, f"the server creates no {_REPORT}"
    message = (
        f"the server says that it creates neither {_REPORT} nor {_DOCUMENT}; give our client the right to, send by "
        'mllp:// instead, or set form = "transaction", "single" or "document" to try all the same'
    )
    raise Permanent(message)
