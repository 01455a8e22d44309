"""What stands for a finding wherever it goes: UIDs derived from what they are about, the same each time."""

import json
import uuid

from service.domain.finding import Algorithm, Finding

#: Fixed for ever: another namespace would give every result that is already in a PACS a second UID.
NAMESPACE = uuid.UUID("5d6b7e4c-3f0a-5b1e-9c52-8a1f0d3e7b24")


def derived_uid(*parts: str) -> str:
    """A UID below 2.25 (PS3.5 B.2) that depends on the parts only; lists that differ never give the same."""
    return f"2.25.{uuid.uuid5(NAMESPACE, json.dumps(parts)).int}"


def tracking_uid(study_uid: str, algorithm: Algorithm, source_uid: str, finding: Finding, number: int = 1) -> str:
    """Tracking UID: stands for the finding, the same in SR and SEG, in every later revision and after every review.

    Args:
        number: of the finding among those with the same label in the same analysis.
    """
    if finding.reviewed is not None:
        return finding.reviewed.tracking_uid
    return derived_uid("finding", study_uid, *algorithm_parts(algorithm), source_uid, tracking_label(finding, number))


def tracking_label(finding: Finding, number: int = 1) -> str:
    """Tracking Identifier: names the finding within its analysis, for example "FDI36" or "fracture/2"."""
    if finding.reviewed is not None:
        return finding.reviewed.label
    label = finding.label or finding.kind
    return label if number == 1 else f"{label}/{number}"


def algorithm_parts(algorithm: Algorithm) -> tuple[str, str, str, str]:
    """What tells one build of a model from all others."""
    return algorithm.manufacturer, algorithm.name, algorithm.version, algorithm.weights_sha256
