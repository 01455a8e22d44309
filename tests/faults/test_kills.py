"""``kill -9`` of any process at any moment under load: what got Success comes out once, in PACS and record."""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests import servers
from tests.faults import site
from tests.faults.assault import Assault, Traffic
from tests.faults.collector import Collector, collecting
from tests.faults.modality import Modality
from tests.gateway import Gateway, gateway

SHORT_KILLS = 4
RESULTS = ("sr", "seg")  # without the drawn picture, whose millions of pixels would set the pace


def settle(running: Gateway, studies: Sequence[str], seconds: float) -> dict[str, int]:
    """Wait until every study is delivered; dead letters are tried again as a person would, and counted.

    Returns:
        Study UID of each study that had become a dead letter -> how often it was tried again.
    """
    deadline = time.monotonic() + seconds
    pressed: dict[str, int] = {}
    left: dict[str, str] = {}
    while time.monotonic() < deadline:
        try:
            left = {each["study_instance_uid"]: str(each["state"]) for each in running.studies()}
        except httpx.HTTPError:
            time.sleep(0.5)
            continue
        missing = set(studies) - set(left)
        assert not missing, f"acknowledged and not in the record: {missing}"
        left = {uid: state for uid, state in left.items() if state != "delivered"}
        if not left:
            return pressed
        for uid in left:
            if "dead" in _conditions(running, uid):
                pressed[uid] = pressed.get(uid, 0) + 1
                assert site.dentgate(running, "jobs", "retry", uid).returncode == 0
        time.sleep(1.0)
    why = {uid: running.study(uid)["jobs"][:1] for uid in list(left)[:3]}
    return pytest.fail(f"{len(left)} studies are not delivered: {json.dumps(why)[:3000]}")


def _conditions(running: Gateway, study: str) -> set[str]:
    jobs = running.study(study)["jobs"]
    return {step["condition"] for job in jobs for step in (*job["stages"], *job["deliveries"])}


def judge(running: Gateway, modality: Modality, pacs: Collector, ehr: str) -> dict[str, Any]:
    """Nothing is missing, nothing doubled, everything accounted for; figures for the table."""
    studies = list(modality.acknowledged)
    assert not pacs.wrong(studies, len(RESULTS))
    assert not site.wrong_in_record(ehr, studies)
    account = site.accounted_for(running)
    assert "0 held, 0 dead letters, 0 on their way" in account
    first = {each.study_uid: each.at for each in reversed(pacs.got)}
    waits = [first[study] - at for study, at in modality.acknowledged.items()]
    with sqlite3.connect(running.folder / "data" / "dentgate.db") as record:
        again = record.execute("SELECT count(*) FROM outbox WHERE attempts > 1 OR lost + orphaned > 0").fetchone()[0]
    return {
        "stages that were hit at work": again,
        "studies": len(studies),
        "sent again by the modality": modality.again,
        "objects sent again to the PACS": len(pacs.got) - len(studies) * len(RESULTS),
        "longest way to the PACS, s": round(max(waits), 1),
        "median, s": round(float(np.median(waits)), 1),
    }


def assault(folder: Path, ehr: str, seed: int, kills: int, pause: float) -> dict[str, Any]:
    """The whole run."""
    rng = np.random.default_rng(seed)
    site.admit(ehr, "FAULT-1")
    with collecting() as pacs:
        places = (
            site.destination("pacs", f"dicom://COLLECTOR@127.0.0.1:{pacs.port}", *RESULTS),
            site.destination("ehr", f"fhir+{ehr}"),
        )
        with gateway(folder, site.settings(folder, *places), quiet_seconds=0.3) as running:
            modality = Modality(running.dicom_port)
            traffic = Traffic(modality, np.random.default_rng(seed + 1), f"kill-{seed}", pause=0.7)
            attack = Assault(running, rng)
            traffic.start()
            attack.run(kills, pause)
            traffic.stop()
            began = time.monotonic()
            pressed = settle(running, list(modality.acknowledged), seconds=300 + 10 * len(modality.acknowledged))
            figures = judge(running, modality, pacs, ehr)
    figures["last recovery, s"] = round(time.monotonic() - began, 1)
    return {
        "seed": seed,
        "killed": dict(attack.killed),
        "kills": attack.killed.total(),
        "dead letters tried again by hand": pressed,
        "longest restart, s": round(max(attack.restart_seconds, default=0), 1),
        **figures,
    }


@pytest.mark.timeout(300)
def test_a_few_kills(tmp_path: Path, seed: int, tell: Callable[[object], None]) -> None:
    """Some kills of random processes under load: 0 lost, 0 doubled, all accounted for."""
    with servers.fhir_server(tmp_path / "fhir.log") as ehr:
        figures = assault(tmp_path, ehr, seed, SHORT_KILLS, pause=2.5)
    tell(figures)
    assert figures["kills"] == SHORT_KILLS


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_kills(tmp_path: Path, seed: int, tell: Callable[[object], None], request: pytest.FixtureRequest) -> None:
    """200 kills: 0 lost, 0 doubled in PACS and record, every study reconciled."""
    kills = int(request.config.getoption("kills", 200))
    with servers.fhir_server(tmp_path / "fhir.log") as ehr:
        figures = assault(tmp_path, ehr, seed, kills, pause=5.0)
    tell(figures)
    assert figures["kills"] == kills
