"""What must change in a record so that it says what our report says: steps, in which references lead backwards."""

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.codes import OBSERVATION_SYSTEM
from service.domain.errors import Held, Permanent
from service.export.fhir_record import Json, Record, identifier_of, name_of
from service.export.fhir_versions import UNREAD, WITHDRAWN, status_of

_ORDER = ("Device", "Binary", "Observation", "DiagnosticReport", "Provenance")
_OBSERVATION = re.compile(r"Observation/[A-Za-z0-9.-]{1,64}")
#: What a withdrawn report keeps of ours: that, why and when it was withdrawn; all else stays as it was read.
_OF_WITHDRAWAL = ("identifier", "status", "text", "conclusion", "issued")


@dataclass(frozen=True, slots=True)
class Step:
    """One resource to be written.

    Attributes:
        url: the fullUrl under which the others refer to it.
        resource: as it is to be, references still to our own urls.
        old: as it is in the record; None: it is created.
        ours: false for a resource of the record of which only the status changes.
    """

    url: str
    resource: Json
    old: Json | None = None
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps, and what our urls stand for where the record has it already.

    Attributes:
        references: fullUrl -> what a Reference to it says.
        patient: reference of the record's patient; empty: subjects stay as they are.
    """

    steps: tuple[Step, ...]
    references: Mapping[str, Json]
    patient: str

    def of_kind(self, kind: str) -> list[Step]:
        """The steps of one type of resource."""
        return [step for step in self.steps if step.resource["resourceType"] == kind]

    def standing(self) -> dict[str, Json]:
        """What all urls stand for that the record has something for."""
        old = {step.url: {"reference": name_of(step.old)} for step in self.steps if step.old is not None}
        return dict(self.references) | old


def plan_of(
    record: Record, entries: Sequence[Json], there: Json | None, patient: str, known: Mapping[str, str]
) -> Plan:
    """What stands is replaced, what is new is created, what went is entered-in-error.

    Args:
        record: asked for the observations.
        entries: of our transaction.
        there: the report in the record, None if it has none.
        patient: reference of the record's patient.
        known: fullUrl -> reference of what need not be sent.

    Raises:
        Held: the report there is another patient's, or a person has made a finding theirs.
    """
    if there is not None and not is_about(there, patient):
        message = "the report in the record belongs to another patient than the study now says"
        raise Held(message)
    ours = [entry for entry in entries if entry["fullUrl"] not in known]
    report = next(entry["resource"] for entry in entries if entry["resource"]["resourceType"] == "DiagnosticReport")
    keys = [_key(entry["resource"]) for entry in ours if entry["resource"]["resourceType"] == "Observation"]
    found = record.by_value("Observation", OBSERVATION_SYSTEM, keys) if keys else {}
    standing = {key: old for key, old in found.items() if is_about(old, patient)}
    referred = _referred(record, there)
    kept = {name_of(old) for old in standing.values()}
    gone = [_read(record, name) for name in referred if name not in kept]
    if report["status"] in UNREAD:
        _respect(standing.values(), gone, referred)
    steps = []
    for entry in copy.deepcopy(ours):
        resource, old = entry["resource"], None
        if resource["resourceType"] == "DiagnosticReport":
            old = there
        elif resource["resourceType"] == "Observation":
            old = standing.get(_key(resource))
        elif resource["resourceType"] == "Provenance" and there is not None:
            _call_update(resource)
        steps.append(Step(entry["fullUrl"], resource, old))
    steps += [_withdrawn(old) for old in gone if status_of(old) != WITHDRAWN]
    references = {url: {"reference": reference} for url, reference in known.items()}
    return Plan(_ordered(steps), references, patient)


def withdrawal_of(record: Record, entries: Sequence[Json], there: Json) -> Plan:
    """The report and its observations as they are in the record, entered-in-error; nothing of them is rewritten."""
    report = next(entry for entry in entries if entry["resource"]["resourceType"] == "DiagnosticReport")
    said = {key: report["resource"][key] for key in _OF_WITHDRAWAL if key in report["resource"]}
    observations = [_read(record, name) for name in _referred(record, there)]
    steps = [Step(report["fullUrl"], there | said, there, ours=False)]
    steps += [_withdrawn(old) for old in observations if status_of(old) != WITHDRAWN]
    targets = [{"reference": name_of(resource)} for resource in (there, *observations)]
    for entry in without(entries, ("Device", "Binary", "Observation")):
        if entry["resource"]["resourceType"] == "Provenance":
            steps.append(Step(entry["fullUrl"], entry["resource"] | {"target": targets}))
    return Plan(_ordered(steps), {}, "")


def without(entries: Sequence[Json], kinds: Iterable[str]) -> list[Json]:
    """The entries without those of types that a server does not take; what refers to them says it by itself."""
    kinds = set(kinds)
    left = {entry["fullUrl"]: entry["resource"] for entry in entries if entry["resource"]["resourceType"] in kinds}
    made = []
    for entry in copy.deepcopy([entry for entry in entries if entry["fullUrl"] not in left]):
        resource = entry["resource"]
        for key in ("result", "target"):
            if key in resource:
                resource[key] = [each for each in resource[key] if each.get("reference") not in left]
                if not resource[key]:
                    del resource[key]
        for attachment in resource.get("presentedForm", []):
            if attachment.get("url") in left:
                attachment["data"] = left[attachment.pop("url")]["data"]
        made.append(entry | {"resource": rewritten(resource, {url: _named(each) for url, each in left.items()}, "")})
    return made


def rewritten(node: Any, references: Mapping[str, Json], patient: str, base: str = "") -> Any:  # noqa: ANN401 - any JSON
    """The same JSON with the record's patient as subject and known references in place of our own."""
    if isinstance(node, list):
        return [rewritten(item, references, patient, base) for item in node]
    if not isinstance(node, dict):
        return node
    made: Json = {}
    for key, value in node.items():
        if key == "subject" and patient:
            made[key] = {"reference": patient}
        elif key == "reference" and isinstance(value, str) and value in references:
            made |= references[value]
        elif key == "url" and base and isinstance(value, str) and "reference" in references.get(value, {}):
            made[key] = f"{base}/{references[value]['reference']}"
        else:
            made[key] = rewritten(value, references, patient, base)
    return made


def is_about(resource: Json, patient: str) -> bool:
    """Whether a resource of the record is that patient's; its reference may be absolute."""
    reference = str(resource.get("subject", {}).get("reference", ""))
    return reference == patient or reference.endswith(f"/{patient}")


def says_the_same(there: Json, ours: Json) -> bool:
    """Whether the record's resource says all that ours says; what the server added does not matter."""
    return all(there.get(key) == value for key, value in ours.items() if key not in {"id", "meta"})


def _named(resource: Json) -> Json:
    """A logical reference (R4, 2.3.0.2) to what the record does not hold."""
    if resource["resourceType"] != "Device":
        return {"display": resource["resourceType"]}
    name = " ".join([resource["deviceName"][0]["name"], resource["version"][0]["value"]])
    return {"type": "Device", "identifier": resource["identifier"][0], "display": name}


def _key(resource: Json) -> str:
    return identifier_of(resource, OBSERVATION_SYSTEM)


def _referred(record: Record, there: Json | None) -> list[str]:
    """Names of the observations that the report there refers to."""
    said = [] if there is None else there.get("result", [])
    references = [str(result.get("reference", "")).removeprefix(f"{record.base}/") for result in said]
    return [reference for reference in references if _OBSERVATION.fullmatch(reference)]


def _read(record: Record, name: str) -> Json:
    observation = record.read(name)
    if observation.get("resourceType") != "Observation":
        message = f"the record answers something else than {name}"
        raise Permanent(message)
    return observation


def _respect(standing: Iterable[Json], gone: Iterable[Json], referred: Sequence[str]) -> None:
    """Raises Held where the AI would write over what a person has made theirs."""
    left = [old for old in gone if status_of(old) != WITHDRAWN]
    # one that is entered in error and not referred to went in a version between, by our own doing
    back = [old for old in standing if status_of(old) != WITHDRAWN or name_of(old) in referred]
    for status in map(status_of, (*back, *left)):
        if status not in UNREAD:
            message = f"a finding in the record is {status}; a dentist must decide on the newer AI result"
            raise Held(message)


def _call_update(provenance: Json) -> None:
    coding = provenance.get("activity", {}).get("coding", [{}])[0]
    if coding.get("code") == "CREATE":
        coding |= {"code": "UPDATE", "display": "revise"}


def _withdrawn(old: Json) -> Step:
    return Step(name_of(old), old | {"status": WITHDRAWN}, old, ours=False)


def _ordered(steps: Sequence[Step]) -> tuple[Step, ...]:
    return tuple(sorted(steps, key=lambda step: _ORDER.index(step.resource["resourceType"])))
