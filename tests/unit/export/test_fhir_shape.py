"""Only the shape of FHIR R4 leaves, and no code can take the models of R5 by mistake."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import service
import workers
from service.domain.errors import Permanent
from service.export.fhir_shape import demand_r4

REPORT: dict[str, Any] = {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "x"}}


def wrong_imports(source: str) -> Iterator[str]:
    """Everything in a module that reaches the models outside ``fhir.resources.R4B``, by import or by name."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if node.value.startswith("fhir.") else []
        for name in names:
            parts = name.split(".")
            if parts[0] == "fhir" and parts[1:3] != ["resources", "R4B"]:
                yield name


def test_no_module_reaches_the_models_of_r5() -> None:
    """The top level of fhir.resources is R5; service and workers take R4B only."""
    modules = [path for package in (service, workers) for path in Path(next(iter(package.__path__))).rglob("*.py")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in modules}
    assert {name: wrong for name, text in texts.items() if (wrong := list(wrong_imports(text)))} == {}
    assert "fhir.resources.R4B" in texts["fhir_shape.py"]


@pytest.mark.parametrize(
    "source",
    [
        "import fhir.resources",
        "import fhir.resources.diagnosticreport as models",
        "from fhir import resources",
        "from fhir.resources import get_fhir_model_class",
        "from fhir.resources.observation import Observation",
        "from fhir.resources.STU3.observation import Observation",
        "importlib.import_module('fhir.resources.observation')",
        "def late():\n    from fhir.resources.bundle import Bundle",
    ],
)
def test_guard_sees_every_way_to_r5(source: str) -> None:
    """The guard is not passed by another way to write the import."""
    assert list(wrong_imports(source))


@pytest.mark.parametrize(
    "source", ["from fhir.resources.R4B.bundle import Bundle", "import fhir.resources.R4B", "x = 'fhir is fine'"]
)
def test_guard_lets_r4b_pass(source: str) -> None:
    """The guard does not cry over what is right."""
    assert not list(wrong_imports(source))


@pytest.mark.parametrize(
    "wrong",
    [
        REPORT | {"study": [{"display": "x"}]},  # R5 for imagingStudy
        REPORT | {"note": [{"text": "x"}]},  # R5 only
        REPORT | {"composition": {"display": "x"}},  # R5 only
        {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "bodyStructure": {"display": "x"}},
        {"resourceType": "Device", "name": [{"value": "x"}]},  # R5 for deviceName
        {"resourceType": "DocumentReference", "status": "current", "modality": [{"text": "x"}]},
        {"resourceType": "Provenance", "target": [{"display": "x"}], "patient": {"display": "x"}},
        {"resourceType": "Patient", "sex": "female"},
        {"resourceType": "Medication"},
        {"status": "final"},
    ],
)
def test_wrong_shape_is_refused(wrong: dict[str, Any]) -> None:
    """R5's elements and resources that we do not send end here, with the field named."""
    with pytest.raises(Permanent, match=r"has not the shape of FHIR R4: \w+|nothing that we send"):
        demand_r4(wrong)


def test_right_shape_passes() -> None:
    """What is right is handed on as it is."""
    assert demand_r4(REPORT) is REPORT
