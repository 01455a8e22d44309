"""A real web process under fire: every answer is an answer, nothing is a 500, and pages are served all the while."""

import contextlib
import importlib.util
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable

from tests.fuzz import requests
from tests.fuzz.conftest import Effort
from tests.fuzz.dice import Dice
from tests.fuzz.process import Running, running

GROWTH_MB, PATIENCE, AT_ONCE = 300.0, 20.0, 6
FOUND_FULL = {507, 429}


def statuses(web: Running, effort: Effort) -> dict[int, int]:
    """How often each status came; 0 is a connection that was closed without a word."""

    def one(number: int) -> tuple[int, float]:
        dice = Dice(effort.seed, number, 88)
        raw = requests.junk(dice) if dice.chance(5) else requests.upload(dice)
        began = time.perf_counter()
        status = ask(web.port, raw)
        assert status < 500 or status in FOUND_FULL, f"seed {effort.seed}, request {number}: {status}"
        return status, time.perf_counter() - began

    with ThreadPoolExecutor(AT_ONCE) as pool:  # most of the time is that of requests without an end
        answers = list(pool.map(one, range(effort.requests)))
    counts, slowest = Counter(status for status, _ in answers), max(seconds for _, seconds in answers)
    print(f"\nweb: seed {effort.seed}, {effort.requests} requests, slowest {slowest:.2f} s, {dict(counts)}")  # noqa: T201 - figures
    return counts


def ask(port: int, raw: bytes) -> int:
    """The status of the first answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=1.5) as connection:
        answer = b""
        try:
            connection.sendall(raw)
            while len(answer) < 64 and (part := _some(connection)):
                answer += part
        except (BrokenPipeError, ConnectionResetError):
            pass
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def _some(connection: socket.socket) -> bytes:
    """What comes next; a server that waits for more than there is gets the end of it instead."""
    try:
        return connection.recv(65536)
    except TimeoutError:
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(PATIENCE)
        return connection.recv(65536)


def under_fire(folder: Path, effort: Effort) -> None:
    """The test of this file."""
    with running(folder, ["web"], "web", "max_upload_mb = 4\n") as web:
        before, stop, failed = web.rss_mb, threading.Event(), list[str]()

        def watch() -> None:
            while not stop.wait(0.1):
                try:
                    httpx.get(
                        f"http://127.0.0.1:{web.port}/healthz", timeout=PATIENCE, trust_env=False
                    ).raise_for_status()
                except httpx.HTTPError as error:
                    failed.append(type(error).__name__)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            counts = statuses(web, effort)
        finally:
            stop.set()
            watcher.join()
        assert web.process.poll() is None
        assert not failed
        assert counts.get(201, 0) > effort.requests // 100, "nothing was sound enough to get in"
        assert web.rss_mb - before < GROWTH_MB
        assert not web.complaints()
        assert not list((web.data / "incoming").iterdir())


@pytest.mark.timeout(200)
def test_uploads_under_fire(tmp_path: Path, effort: Effort) -> None:
    """Broken heads, forms and files."""
    under_fire(tmp_path, effort)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_uploads_under_fire_for_long(tmp_path: Path, effort: Effort) -> None:
    """The same, thousands of times."""
    under_fire(tmp_path, effort)


@pytest.mark.timeout(300)
@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed")
def test_the_api_answers_any_request_that_its_description_allows_or_forbids(tmp_path: Path, effort: Effort) -> None:
    """From the OpenAPI document of the running process: no answer is a 500, none is undocumented nonsense."""
    api(tmp_path, effort.seed, 6)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed")
def test_the_api_answers_any_request_for_long(tmp_path: Path, effort: Effort) -> None:
    """The same, hundreds of times for each operation."""
    api(tmp_path, effort.seed, 300)


def api(folder: Path, seed_number: int, examples: int) -> None:
    """Every operation of the API with requests made from its description, sound and unsound ones."""
    import schemathesis  # noqa: PLC0415 - takes a second

    quick = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with running(folder, ["web"], "web") as web:
        url = f"http://127.0.0.1:{web.port}"
        counts: dict[int, int] = {}

        def ask(case: Any) -> None:  # noqa: ANN401 - schemathesis makes its classes for each API
            answer = case.call(base_url=url, timeout=PATIENCE)
            counts[answer.status_code] = counts.get(answer.status_code, 0) + 1
            fine = answer.status_code < 500 or case.path == "/readyz"  # there is no broker
            assert fine, f"{case.method} {case.path}: {answer.status_code} {answer.text[:300]}"

        described: Any = schemathesis.openapi.from_url(f"{url}/api/openapi.json")
        for found in described.get_all_operations():
            operation = found.ok()
            unsound = any((*operation.path_parameters, *operation.query, *operation.body))
            modes = [schemathesis.GenerationMode.POSITIVE, *[schemathesis.GenerationMode.NEGATIVE] * unsound]
            for mode in modes:
                strategy = operation.as_strategy(generation_mode=mode)
                with contextlib.suppress(Unsatisfiable):  # a path that is any text cannot be wrong
                    seed(seed_number)(quick(given(case=strategy)(ask)))()
        print(f"\napi: seed {seed_number}, {sum(counts.values())} requests, {counts}")  # noqa: T201 - figures
        assert web.process.poll() is None
        assert not web.complaints()
