"""The site's own codes of examinations, from the settings to the report."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.bench import Bench, OneTooth, allowing
from tests.builders import as_bytes, xray


def test_codes_of_the_settings_reach_the_report(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """What stands under [report] codes is the code of the FHIR report that is delivered."""
    own = '[report.codes]\npanoramic = "urn:clinic PANO Panoramic, both jaws"\n'
    made = bench(f"{allowing(tmp_path / 'out')}\n{own}")
    made.context = replace(made.context, models=lambda: (OneTooth(),))
    made.receive(as_bytes(xray()))
    made.work()
    (path,) = (path for path in (tmp_path / "out").rglob("report*") if path.is_file())
    resources = [entry["resource"] for entry in json.loads(path.read_bytes())["entry"]]
    (report,) = (each for each in resources if each["resourceType"] == "DiagnosticReport")
    assert report["code"]["coding"] == [{"system": "urn:clinic", "code": "PANO", "display": "Panoramic, both jaws"}]
