"""The API, health, readiness and metrics."""

import httpx

from service.domain.job import Stage, State
from service.web.app import ReadinessItem
from tests.builders import analysis_of, xray
from tests.unit.web.rows import Site, dead, done


def test_list(gateway: Site, client: httpx.Client) -> None:
    """The list names every study with its state, page by page."""
    gateway.study("2.25.1")
    gateway.study("2.25.2")
    page = client.get("/api/studies?limit=1&offset=1").json()
    assert (page["total"], page["limit"], page["offset"]) == (2, 1, 1)
    assert [study["study_instance_uid"] for study in page["studies"]] == ["2.25.1"]
    assert client.get("/api/studies?limit=0").status_code == 422


def test_detail(gateway: Site, client: httpx.Client) -> None:
    """A study's answer holds jobs, stages with seconds, deliveries, artifacts, findings in short and instances."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.analysis(job, analysis_of(xray(SOPInstanceUID="2.25.1.0"), (36, 46), flags={46: ("number-uncertain",)}))
    gateway.step(job, Stage.ANALYZE, **done(3.0))
    gateway.step(job, Stage.DELIVER, "pacs", **dead("rejected"))
    body = client.get("/api/studies/2.25.1").json()
    assert body["study"]["status"] == {
        "tone": "attention",
        "text": "needs attention: pacs: rejected",
        "short": "needs attention: pacs",
    }
    assert (body["study"]["state"], body["study"]["teeth_found"]) == ("reported", 2)
    assert [step["seconds"] for step in body["jobs"][0]["stages"]] == [3.0]
    assert [(step["destination"], step["condition"]) for step in body["jobs"][0]["deliveries"]] == [("pacs", "dead")]
    assert {artifact["kind"] for artifact in body["jobs"][0]["artifacts"]} == {"preview", "analysis"}
    assert (body["findings"][0]["teeth"], body["findings"][0]["uncertain"]) == ([36, 46], [46])
    assert [instance["conflict"] for instance in body["instances"]] == [False]


def test_artifact(gateway: Site, client: httpx.Client) -> None:
    """A result is downloaded byte by byte, under its own study only."""
    artifact = gateway.artifact(gateway.job(gateway.study()), "sr", "2.25.9", b"the report")
    gateway.study("2.25.2")
    answer = client.get(f"/api/studies/2.25.1/artifacts/{artifact}")
    assert (answer.content, answer.headers["content-type"]) == (b"the report", "application/dicom")
    assert answer.headers["content-disposition"] == f'attachment; filename="sr-{artifact}.dcm"'
    assert client.get(f"/api/studies/2.25.2/artifacts/{artifact}").status_code == 404
    assert client.get("/api/studies/2.25.1/artifacts/999").status_code == 404
    assert client.get("/api/studies/2.25.1/artifacts/99999999999999999999").status_code == 422


def test_retry(gateway: Site, client: httpx.Client) -> None:
    """Retry answers how many rows are due again: all that failed, then none."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.step(job, Stage.DELIVER, "pacs", **dead("x"))
    gateway.step(job, Stage.DELIVER, "ehr", held=True)
    assert client.post(f"/api/jobs/{job}/retry").json() == {"retried": 2}
    assert client.post(f"/api/jobs/{job}/retry").json() == {"retried": 0}
    assert client.post("/api/jobs/999/retry").status_code == 404


def test_ready_names_what_fails(gateway: Site, client: httpx.Client) -> None:
    """Readiness is 200 while all parts work, and 503 with the name of what does not."""
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    gateway.checks.append(ReadinessItem("broker", ok=False, detail="connection refused"))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["failing"]) == (503, ["broker"])


def test_metrics(gateway: Site, client: httpx.Client) -> None:
    """The metrics are Prometheus text with true figures and no patient data."""
    gateway.step(gateway.job(gateway.study(open=True)), Stage.ANALYZE)
    text = client.get("/metrics").text
    lines = text.splitlines()
    assert 'dentgate_jobs{state="received"} 1' in lines
    assert 'dentgate_outbox_rows{condition="due"} 1' in lines
    assert "dentgate_studies_open 1" in lines
    assert any(line.startswith("dentgate_storage_free_bytes ") for line in lines)
    assert 'dentgate_deliveries{destination="pacs",condition="dead"} 0' in lines
    assert "2.25" not in text
    assert "Probe" not in text


def test_metrics_name_the_destination(gateway: Site, client: httpx.Client) -> None:
    """What a destination does not have yet is counted under its name, by what happens to it."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.step(job, Stage.DELIVER, "pacs", attempts=2, message="refused")
    gateway.step(job, Stage.DELIVER, "ehr", held=True)
    lines = client.get("/metrics").text.splitlines()
    assert 'dentgate_deliveries{destination="pacs",condition="retrying"} 1' in lines
    assert 'dentgate_deliveries{destination="ehr",condition="held"} 1' in lines
    assert 'dentgate_outbox_rows{condition="retrying"} 1' in lines
    assert 'dentgate_outbox_rows{condition="held"} 1' in lines
