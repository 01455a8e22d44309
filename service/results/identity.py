"""UIDs of results, derived from what they are about: doing a stage twice makes the same objects."""

import json
import uuid

from service.domain.finding import Algorithm, Finding

#: Fixed for ever: another namespace would give every result that is already in a PACS a second UID.
NAMESPACE = uuid.UUID("5d6b7e4c-3f0a-5b1e-9c52-8a1f0d3e7b24")


def derived_uid(*parts: str) -> str:
    """A UID below 2.25 (PS3.5 B.2) that depends on the parts only; lists that differ never give the same."""
    return f"2.25.{uuid.uuid5(NAMESPACE, json.dumps(parts)).int}"


def device_uid(algorithm: Algorithm) -> str:
    """Device UID of one build of a model: a retrained one gets another (IHE AIR)."""
    return derived_uid("device", *_parts(algorithm))


def result_uid(study_uid: str, algorithm: Algorithm, kind: str, source_uid: str) -> str:
    """SOP Instance UID of a result of one kind ("sr", "seg", ...) made from one image.

    The revision of the study takes no part: a late image must not make the results of the earlier ones appear twice.
    """
    return derived_uid("result", study_uid, *_parts(algorithm), kind, source_uid)


def series_uid(study_uid: str, algorithm: Algorithm, kind: str, source_uid: str) -> str:
    """Series Instance UID of that result: every result object has a series of its own."""
    return derived_uid("series", study_uid, *_parts(algorithm), kind, source_uid)


def tracking_uid(study_uid: str, algorithm: Algorithm, source_uid: str, finding: Finding, number: int = 1) -> str:
    """Tracking UID: stands for the finding, the same in SR and SEG and in every later revision.

    Args:
        number: of the finding among those with the same label in the same analysis.
    """
    return derived_uid("finding", study_uid, *_parts(algorithm), source_uid, tracking_label(finding, number))


def tracking_label(finding: Finding, number: int = 1) -> str:
    """Tracking Identifier: names the finding within its analysis, for example "FDI36" or "fracture/2"."""
    label = finding.label or finding.kind
    return label if number == 1 else f"{label}/{number}"


def _parts(algorithm: Algorithm) -> tuple[str, str, str, str]:
    return algorithm.manufacturer, algorithm.name, algorithm.version, algorithm.weights_sha256
