"""The same gateway on PostgreSQL, Redis and S3: only URLs differ."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import psycopg
import pytest

from tests.builders import as_bytes, uid_of, xray
from tests.gateway import gateway
from workers.training.phantom import panoramic_phantom


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    """An empty PostgreSQL database of its own."""
    plain = postgres_url.replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("CREATE DATABASE gateway")
        yield postgres_url.rsplit("/", 1)[0] + "/gateway"
        connection.execute("DROP DATABASE gateway WITH (FORCE)")


@pytest.fixture
def bucket(object_store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty bucket; the gateway's processes find the store by the environment, as boto3 does."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="gateway")
    return "s3://gateway/clinic"


@pytest.mark.timeout(600)
def test_a_study_goes_the_same_path(tmp_path: Path, database: str, redis_url: str, bucket: str) -> None:
    """A panoramic comes out as SR, SEG and report, with the record in PostgreSQL, bells in Redis, files in S3."""
    settings = (
        f'url = "{bucket}"\n[database]\nurl = "{database}"\n[broker]\nurl = "{redis_url}"\n'
        f"[analysis]\nallow_research_models = true\n"
        f'[[destination]]\nname = "folder"\nurl = "{(tmp_path / "delivered").as_uri()}"\n'
    )
    path = tmp_path / "image.dcm"
    path.write_bytes(as_bytes(xray(panoramic_phantom(43, rows=376, columns=720).pixels, seed="shared")))
    with gateway(tmp_path / "gateway", settings) as running:
        running.send([path])
        running.wait_for(1, ("delivered",))
        study = running.study(uid_of("shared", "study"))
    assert study["study"]["teeth_found"] > 0
    files = [each.name.split("-")[0] for each in (tmp_path / "delivered").rglob("*") if each.is_file()]
    assert set(files) == {"report", "seg", "sr"}
    assert files.count("report") == 1
    assert not list((tmp_path / "gateway" / "data").rglob("*.dcm"))
