"""Back-pressure of uploads: too much waits, too many at once, no room; and what the watching machines are told."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.db import backlog
from service.db.tables import Study
from service.web.guard import BodyLimit, CrowdLimit
from tests.unit.listener.raw_scu import image, part10
from tests.unit.web.rows import Site, serving, site


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, httpx.Client]]:
    """A gateway in which one study may wait."""
    monkeypatch.setattr(backlog, "_REMEMBERED_SECONDS", 0.0)
    made = site(tmp_path, listener={"max_waiting_studies": 1})
    with serving(made.app()) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        yield made, client
    made.db.close()


def upload(client: httpx.Client, seed: int, study: int, address: str = "/api/studies") -> httpx.Response:
    """One image."""
    return client.post(address, files={"files": ("x.dcm", part10(image(seed, study)))})


def figure(client: httpx.Client, name: str) -> str:
    """The value of a metric."""
    lines = client.get("/metrics").text.splitlines()
    return next(line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} "))


def test_a_study_too_many_is_429_with_the_time_to_wait(busy: tuple[Site, httpx.Client]) -> None:
    """The study that is being received may be finished; metrics say that new ones are refused."""
    _, client = busy
    assert upload(client, 1, 1).status_code == 201
    assert figure(client, 'dentgate_refusing{reason="queue"}') == "1"
    refused = upload(client, 1, 2)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
    assert "max_waiting_studies" in refused.json()["error"]
    page = upload(client, 1, 2, "/upload")
    assert (page.status_code, page.headers["retry-after"]) == (429, "30")
    assert upload(client, 2, 1).status_code == 201
    assert figure(client, "dentgate_studies_waiting") == "1"


def test_room_for_a_new_study_is_used_without_a_restart(busy: tuple[Site, httpx.Client]) -> None:
    """Once the limit is no longer reached."""
    made, client = busy
    study = made.study("2.25.1", open=True)
    assert upload(client, 1, 2).status_code == 429
    with made.db.begin() as session:
        session.get_one(Study, study).open = False
    assert upload(client, 1, 2).status_code == 201
    assert figure(client, 'dentgate_refusing{reason="queue"}') == "1"


def test_no_room_is_told_by_the_metrics(tmp_path: Path) -> None:
    """The reserve of the storage is larger than any disk."""
    made = site(tmp_path, storage={"reserve_mb": 1 << 40})
    with serving(made.app()) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        assert figure(client, 'dentgate_refusing{reason="storage"}') == "1"
        assert figure(client, 'dentgate_refusing{reason="queue"}') == "0"
    made.db.close()


def test_uploads_beyond_the_crowd_are_429(tmp_path: Path) -> None:
    """While eight are on their way the ninth is told to come again; pages are served; afterwards there is room."""
    made = site(tmp_path)
    body = part10(image())
    go, on_their_way = threading.Event(), threading.Semaphore(0)

    def slow() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="x.dcm"\r\n\r\n' + body[:100]
        on_their_way.release()
        go.wait(20)
        yield body[100:] + b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    statuses: list[int] = []
    with serving(made.app()) as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as client:

        def send() -> None:
            answer = httpx.post(f"{url}/api/studies", content=slow(), headers=headers, trust_env=False, timeout=30)
            statuses.append(answer.status_code)

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert all(on_their_way.acquire(timeout=10) for _ in threads)
        threading.Event().wait(0.3)  # until the server has read their heads
        answer = upload(client, 1, 1)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
        assert client.get("/healthz").status_code == 200
        go.set()
        for thread in threads:
            thread.join()
        assert statuses == [201] * 8
        assert upload(client, 1, 1).status_code == 201
    made.db.close()


def test_an_upload_that_stalls_is_given_up(tmp_path: Path) -> None:
    """A body that never comes holds its place for the patience of the server only; a slow answer is waited for."""
    made = site(tmp_path)
    head = b"POST /api/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    head += b"Content-Length: 5000\r\n\r\n--x\r\n"
    with serving(BodyLimit(made.app(), 1 << 20, patience=0.3)) as url:  # type: ignore[arg-type]
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as connection:
            connection.sendall(head)
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            assert upload(client, 1, 1).status_code == 201
    made.db.close()


def test_other_requests_are_not_counted(tmp_path: Path) -> None:
    """With no place for uploads at all, pages and the API still answer."""
    made = site(tmp_path)
    with (
        serving(CrowdLimit(made.app(), most=0)) as url,  # type: ignore[arg-type]
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        assert client.get("/api/studies").status_code == 200
        assert upload(client, 1, 1).status_code == 429
    made.db.close()
