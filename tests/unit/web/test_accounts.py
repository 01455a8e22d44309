"""The account of a day and silent senders, as programs see them."""

from datetime import timedelta
from pathlib import Path

import httpx
from sqlalchemy import update

from service import clock
from service.db.tables import Instance
from service.domain.job import Stage
from tests.unit.web.rows import serving, site


def test_the_account_and_the_silence_are_told(tmp_path: Path) -> None:
    """A balanced day, a sender that is quiet for too long, one that never sent, one that need not send."""
    sources = (
        {"ae_title": "PANO1", "silent_hours": 2.0},
        {"ae_title": "PANO2", "silent_hours": 1.0},
        {"ae_title": "PANO3"},
    )
    gateway = site(tmp_path, source=sources)
    gateway.step(gateway.job(gateway.study()), Stage.ANALYZE)
    with gateway.db.begin() as session:
        session.execute(update(Instance).values(received_at=clock.now() - timedelta(hours=3)))
    with serving(gateway.app()) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        body = client.get("/api/reconciliation").raise_for_status().json()
        assert body["balanced"] is True
        assert body["account"]["revisions"] == body["account"]["analyzing"] == 1
        assert [(each["ae_title"], each["silent"]) for each in body["sources"]] == [
            ("PANO1", True),
            ("PANO2", True),
            ("PANO3", False),
        ]
        day = client.get("/api/reconciliation", params={"day": "2020-02-02"}).raise_for_status().json()
        assert day["account"]["revisions"] == 0
        metrics = client.get("/metrics").text
        assert "dentgate_adrift 0" in metrics
        assert 'dentgate_source_silent{source="PANO1"} 1' in metrics
        assert client.get("/api/reconciliation", params={"day": "yesterday"}).status_code == 422
    gateway.db.close()
