"""Which version of a report stands."""

from typing import Any

import pytest

from service.domain.codes import REVISION_SYSTEM
from service.domain.errors import Held
from service.export.fhir_versions import standing, status_of

NEWER, THERE = "is there already in a newer revision", "is there already"


def report(said: str) -> dict[str, Any]:
    """A report from "STATUS REVISION [SECONDS]"."""
    status, revision, second = (*said.split(), "0")[:3]
    identifier = [{"system": REVISION_SYSTEM, "value": revision}]
    issued = f"2025-01-15T10:30:0{second}Z"
    return {"resourceType": "DiagnosticReport", "status": status, "identifier": identifier, "issued": issued}


@pytest.mark.parametrize(
    ("there", "ours", "said"),
    [
        ("preliminary 1/a", "preliminary 1/a", THERE),
        ("preliminary 1/a", "preliminary 2/a", ""),
        ("preliminary 2/a", "preliminary 1/a", NEWER),
        ("preliminary 1/a 5", "preliminary 1/b 4", NEWER),
        ("preliminary 1/a 4", "preliminary 1/b 5", ""),
        ("registered odd", "preliminary 1/a", ""),
        ("final 1/a", "preliminary 1/a", THERE),
        ("final 1/a/review/1", "preliminary 1/a", f"{THERE}, final"),
        ("final 2/a/review/1", "preliminary 1/a", f"{THERE}, final"),
        ("preliminary 9/a", "final 1/a/review/1", ""),
        ("final 1/a/review/1", "amended 1/a/review/2", ""),
        ("final 2/a/review/1", "corrected 1/a/review/10", ""),
        ("amended 1/a/review/10", "final 1/a/review/9", f"{THERE}, amended"),
        ("amended 1/a/review/10", "final 2/a/review/9", f"{THERE}, amended"),
        ("final 1/a/review/1", "entered-in-error 1/a/review/2", ""),
        ("final 1/a", "entered-in-error 1/a/review/2", ""),
        ("preliminary 7/a", "entered-in-error 1/a/review/2", ""),
        ("entered-in-error 1/a/review/2", "entered-in-error 2/a/review/2", f"{THERE}, entered-in-error"),
        ("entered-in-error 1/a/review/2", "preliminary 1/a", f"{THERE}, entered-in-error"),
    ],
)
def test_what_stands(there: str, ours: str, said: str) -> None:
    """The newer one, a signature before any finding of the AI, a later signature before an earlier one."""
    assert standing(report(there), report(ours)) == said


@pytest.mark.parametrize(
    ("there", "ours"),
    [
        ("final 1/a/review/1", "preliminary 2/a"),
        ("final 1/a", "preliminary 2/a"),
        ("cancelled 1/a", "preliminary 2/a"),
        ("final 1/a", "final 1/a/review/1"),
        ("entered-in-error 1/a/review/2", "preliminary 2/a"),
        ("entered-in-error 1/a/review/2", "final 1/a/review/3"),
    ],
)
def test_what_a_person_must_decide(there: str, ours: str) -> None:
    """Newer findings after a signature, a signature in the record itself, anything after a withdrawal."""
    with pytest.raises(Held, match="must decide"):
        standing(report(there), report(ours))


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"status": "current", "docStatus": "preliminary"}, "preliminary"),
        ({"status": "current", "docStatus": "amended"}, "amended"),
        ({"status": "entered-in-error", "docStatus": "final"}, "entered-in-error"),
        ({"status": "current"}, "final"),
    ],
)
def test_status_of_a_document(document: dict[str, str], status: str) -> None:
    """A document's standing is its docStatus; one that does not say it is somebody's word."""
    assert status_of({"resourceType": "DocumentReference", **document}) == status
