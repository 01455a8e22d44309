"""UIDs of results, derived from what they are about: doing a stage twice makes the same objects."""

from service.domain.finding import Algorithm
from service.domain.tracking import NAMESPACE, algorithm_parts, derived_uid, tracking_label, tracking_uid

__all__ = ["NAMESPACE", "derived_uid", "device_uid", "result_uid", "series_uid", "tracking_label", "tracking_uid"]


def device_uid(algorithm: Algorithm) -> str:
    """Device UID of one build of a model: a retrained one gets another (IHE AIR)."""
    return derived_uid("device", *algorithm_parts(algorithm))


def result_uid(study_uid: str, algorithm: Algorithm, kind: str, source_uid: str, edition: str = "") -> str:
    """SOP Instance UID of a result of one kind ("sr", "seg", ...) made from one image.

    The revision of the study takes no part: a late image must not make the results of the earlier ones appear twice.

    Args:
        edition: names the signature that a result stands under; empty = what the algorithm said.
    """
    return derived_uid("result", *_parts(study_uid, algorithm, kind, source_uid, edition))


def series_uid(study_uid: str, algorithm: Algorithm, kind: str, source_uid: str, edition: str = "") -> str:
    """Series Instance UID of that result: every result object has a series of its own."""
    return derived_uid("series", *_parts(study_uid, algorithm, kind, source_uid, edition))


def _parts(study_uid: str, algorithm: Algorithm, kind: str, source_uid: str, edition: str) -> list[str]:
    return [study_uid, *algorithm_parts(algorithm), kind, source_uid, *([edition] if edition else [])]
