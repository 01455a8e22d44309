"""When a study is complete, with senders that sites have: dcmtk's storescu, and Orthanc, which can be asked."""

import argparse
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service import commands
from service.settings import load_settings
from tests import builders
from tests.peers.test_listener_dcmtk import dcmtk
from tests.receiving import receiving
from tests.servers import OrthancServer, free_port

RELEASE = 'quiet_seconds = 60.0\n[[source]]\nae_title = "PANO1"\ncomplete_on_release = true\n'
QUIET_SECONDS = 0.5


def images(folder: Path, seed: str, count: int = 3) -> list[Path]:
    """Files of one study."""
    study, series = builders.uid_of(seed, "study"), builders.uid_of(seed, "series")
    paths = []
    for number in range(count):
        ds = builders.xray(seed=f"{seed}-{number}", StudyInstanceUID=study, SeriesInstanceUID=series)
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(builders.as_bytes(ds))
    return paths


def test_storescu_completes_a_study_by_its_release(tmp_path: Path) -> None:
    """Three files on one association are one revision long before the minute of silence; an abort completes none."""
    study = builders.uid_of("release", "study")
    files = images(tmp_path, "release")
    with receiving(tmp_path, RELEASE) as site:
        words = ["-aet", "PANO1", "127.0.0.1", site.listener.port]
        assert dcmtk("storescu", "--abort", *words, files[0]).returncode == 0
        _pause(1.0)
        assert site.revisions() == {study: [None]}
        assert dcmtk("storescu", *words, *files).returncode == 0
        assert site.wait_for(study, [1, 1, 1]) < 10.0


def test_orthanc_is_asked_for_its_images(orthanc: OrthancServer, tmp_path: Path) -> None:
    """It holds three, sends two, pauses for longer than the quiet time, sends the third: one revision, not two."""
    study = builders.uid_of("asked", "study")
    text = f"quiet_seconds = {QUIET_SECONDS}\n[[source]]\nae_title = '{orthanc.aet}'\nhosts = ['127.0.0.1']\n"
    with (
        httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client,
        receiving(tmp_path, f"{text}query_port = {orthanc.dicom_port}\n") as site,
    ):
        client.put("/modalities/asker", json=["DENTGATE", "127.0.0.1", site.listener.port]).raise_for_status()
        held = [
            client.post("/instances", content=path.read_bytes()).raise_for_status().json()["ID"]
            for path in images(tmp_path, "asked")
        ]
        client.post("/modalities/asker/store", json=held[:2]).raise_for_status()
        words = f"2 of 3 images that ORTHANC has are here; asked again every {QUIET_SECONDS:g} s until"
        _until(lambda: words in site.waits(study))
        _pause(4 * QUIET_SECONDS)
        assert site.revisions() == {study: [None, None]}
        client.post("/modalities/asker/store", json=held[2:]).raise_for_status()
        assert site.wait_for(study, [1, 1, 1]) < 10.0


def test_a_study_that_orthanc_does_not_hold_is_closed_by_silence(orthanc: OrthancServer, tmp_path: Path) -> None:
    """No match is no answer."""
    study = builders.uid_of("unknown", "study")
    text = f"quiet_seconds = {QUIET_SECONDS}\n[[source]]\nae_title = '{orthanc.aet}'\nhosts = ['127.0.0.1']\n"
    with receiving(tmp_path, f"{text}query_port = {orthanc.dicom_port}\n") as site:
        words = ["-aet", orthanc.aet, "127.0.0.1", site.listener.port]
        assert dcmtk("storescu", *words, *images(tmp_path, "unknown", 1)).returncode == 0
        assert site.wait_for(study, [1]) < 10.0


def test_check_asks_each_sender(orthanc: OrthancServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`dentgate check` says whether a sender answers, and names one that does not."""
    file = tmp_path / "dentgate.toml"
    file.write_text(
        "".join(
            f"[[source]]\nae_title = '{ae}'\nhosts = ['127.0.0.1']\nquery_port = {port}\n"
            for ae, port in ((orthanc.aet, orthanc.dicom_port), ("GONE", free_port()))
        )
    )
    settings = load_settings(file, tmp_path / "data", {})
    assert commands.check(settings, argparse.Namespace(), threading.Event()) == 1
    lines = capsys.readouterr().out
    assert f"ok    source ORTHANC: ORTHANC at 127.0.0.1:{orthanc.dicom_port} answers C-ECHO and offers C-FIND" in lines
    assert "FAIL  source GONE: GONE at 127.0.0.1" in lines


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        _pause(0.02)
    pytest.fail("it does not come true")
