"""A small site for faults: a drawn model in the folder of bundles, destinations, short times."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.gateway import ROOT, Gateway
from tests.unit.workers.models.foreign_bundle import BRIGHT, bright_network, make_bundle

#: read only by this model: none that ships takes a skull
MAPPING: dict[str, Any] = {
    "modality": ["DX"],
    "body_part": ["SKULL"],
    "size": [32, 32],
    "channels": {"1": {"finding": "fracture", "site": "hand"}},
}
KINDS = 3  # SR, SEG, secondary capture: what a PACS gets of one image


def drawn_model(folder: Path) -> Path:
    """A folder of bundles with one in it; made with MONAI's own tools."""
    bundles = folder / "bundles"
    if not bundles.exists():
        bundles.mkdir(parents=True)
        make_bundle(bundles / "drawn", bright_network(), BRIGHT, MAPPING)
    return bundles


def destination(name: str, url: str, *results: str) -> str:
    """A destination as TOML; without ``results`` it gets what suits it."""
    kinds = f"results = {list(results)}\n" if results else ""
    return f'[[destination]]\nname = "{name}"\nurl = "{url}"\n{kinds}'


def settings(folder: Path, *destinations: str, more: str = "") -> str:
    """TOML: the drawn model, short leases, research allowed.

    Args:
        folder: for the bundle.
        destinations: made by ``destination``.
        more: of section [analysis].
    """
    bundles = drawn_model(folder)
    analysis = f'[analysis]\nallow_research_models = true\nlease_seconds = 5\nbundles = "{bundles}"\n{more}'
    return analysis + "".join(destinations)


def admit(ehr: str, *patients: str) -> None:
    """Patients that a record knows."""
    for patient in patients:
        body = {"resourceType": "Patient", "identifier": [{"value": patient}], "name": [{"text": "Probe"}]}
        httpx.post(f"{ehr}/Patient", json=body, timeout=30).raise_for_status()


def reports(ehr: str) -> dict[str, list[dict[str, Any]]]:
    """All reports in a record by the study that their business identifier names."""
    found: dict[str, list[dict[str, Any]]] = {}
    for resource in _all(ehr, "DiagnosticReport"):
        study = next(i["value"] for i in resource["identifier"] if i.get("value", "").count("2.25."))
        uid = next(part for part in study.replace("/", ":").split(":") if part.startswith("2.25."))
        found.setdefault(uid, []).append(resource)
    return found


def wrong_in_record(ehr: str, studies: list[str]) -> list[str]:
    """What is missing or doubled in a record: one report for each study, and no observation that no report names."""
    by_study = reports(ehr)
    complaints = [
        f"{study}: {len(by_study.get(study, []))} reports" for study in studies if len(by_study.get(study, [])) != 1
    ]
    named = [part["reference"] for each in by_study.values() for report in each for part in report.get("result", [])]
    standing = (each for each in _all(ehr, "Observation") if each["status"] != "entered-in-error")  # of an amended one
    kept = [f"Observation/{each['id']}" for each in standing]
    odd = sorted(set(named) ^ set(kept))
    if odd or len(named) != len(set(named)):
        complaints.append(f"{len(kept)} observations, reports name {len(named)}: {odd[:5]}")
    return complaints


def _all(ehr: str, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        query = {"_count": "200", "_offset": str(len(found))}
        bundle = httpx.get(f"{ehr}/{kind}", params=query, timeout=60).raise_for_status().json()
        page = [entry["resource"] for entry in bundle.get("entry", [])]
        found += page
        if len(page) < 200:
            return found


def dentgate(running: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the gateway's own, on its settings and data."""
    command = [sys.executable, "-m", "service", *arguments, "--config", str(running.config)]
    command += ["--data", str(running.folder / "data")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def accounted_for(running: Gateway) -> str:
    """What the account of the day says; fails if anything is adrift or a file is damaged."""
    done = dentgate(running, "reconcile", "--files")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
