"""The last look at what leaves: only the shape of FHIR R4 does.

``fhir.resources`` is R5 at its top level and R4B below; R4B has the shape of R4 for every resource that we send.
"""

from collections.abc import Mapping

from fhir.resources.R4B.binary import Binary
from fhir.resources.R4B.device import Device
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.documentreference import DocumentReference
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.patient import Patient
from fhir.resources.R4B.provenance import Provenance
from pydantic import BaseModel, ValidationError

from service.domain.errors import Permanent
from service.export.fhir_record import Json

#: Everything that we send.
_SHAPES: Mapping[str, type[BaseModel]] = {
    "Binary": Binary,
    "Device": Device,
    "DiagnosticReport": DiagnosticReport,
    "DocumentReference": DocumentReference,
    "Observation": Observation,
    "Patient": Patient,
    "Provenance": Provenance,
}


def demand_r4(resource: Json) -> Json:
    """The resource itself.

    Raises:
        Permanent: it is of a type that we do not send, or has not the shape of R4 (R5's ``study`` in a report, ...).
    """
    kind = str(resource.get("resourceType"))
    if kind not in _SHAPES:
        message = f"{kind} is nothing that we send to a record"
        raise Permanent(message)
    try:
        _SHAPES[kind].model_validate(resource)
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, problem["loc"])) for problem in error.errors()}))
        message = f"{kind} has not the shape of FHIR R4: {fields}"
        raise Permanent(message) from None
    return resource
