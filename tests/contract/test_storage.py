"""Every storage keeps its promises: named only when durable, nothing half written, full means refused."""

import subprocess
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from service import clock
from service.domain.errors import ConfigurationError, OutOfResources
from service.storage import Storage, get, open_storage, put
from service.storage.folder import FolderStorage
from service.storage.s3 import S3Storage
from service.storage.spool import STALE_SECONDS
from tests.builders import uid_of


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """An empty storage of every kind."""
    if request.param == "file":
        return open_storage((tmp_path / "kept").as_uri(), reserve_mb=0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("object_store"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    opened = open_storage(f"s3://dentgate-{uid_of(request.node.name)[-9:]}/prefix", reserve_mb=0)
    assert isinstance(opened, S3Storage)
    opened.client.create_bucket(Bucket=opened.bucket)
    return opened


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[FolderStorage]:
    """A storage of one megabyte."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield FolderStorage(folder, reserve_bytes=0)
    subprocess.run(["umount", str(folder)], check=True)


def unnamed(storage: Storage) -> list[Path]:
    """Files that have no name yet."""
    assert isinstance(storage, FolderStorage | S3Storage)
    return list((storage.spool if isinstance(storage, S3Storage) else storage.root / "incoming").iterdir())


def test_what_is_put_can_be_got(storage: Storage) -> None:
    """Bytes come back equal, and putting them again is harmless."""
    first = put(storage, "results/ab/abc", b"content")
    assert put(storage, "results/ab/abc", b"content") == first
    assert get(storage, "results/ab/abc") == b"content"
    assert first.size == 7


def test_nothing_has_a_name_before_commit(storage: Storage) -> None:
    """A file that is being written, or was discarded, does not exist."""
    incoming = storage.create()
    incoming.write(b"half")
    with pytest.raises(FileNotFoundError):
        storage.open("instances/x")
    incoming.discard()
    with pytest.raises(FileNotFoundError):
        storage.open("instances/x")


def test_the_digest_covers_what_is_asked(storage: Storage) -> None:
    """Bytes written with hashed=False are stored but not part of the digest."""
    plain, framed = storage.create(), storage.create()
    plain.write(b"data")
    framed.write(b"header", hashed=False)
    framed.write(b"data")
    assert plain.digest() == framed.digest()
    with framed.reader() as file:
        assert file.read() == b"headerdata"
    assert framed.commit("instances/framed").size == 10
    plain.discard()


def test_what_lies_in_a_folder_is_listed(storage: Storage) -> None:
    """Every named file below it, with size and time; nothing of other folders, nothing unnamed; more than a page."""
    assert list(storage.files("instances")) == [], "there is no such folder yet"
    before = clock.now() - timedelta(seconds=2)  # an object store counts whole seconds
    keys = [
        f"instances/{number % 7:02}/{number}.dcm" for number in range(1003 if isinstance(storage, S3Storage) else 9)
    ]
    for key in keys:
        put(storage, key, b"content")
    put(storage, "instances-of-others/x", b"x")
    unnamed = storage.create()
    found = list(storage.files("instances"))
    unnamed.discard()
    assert sorted(file.key for file in found) == sorted(keys)
    assert {file.size for file in found} == {7}
    assert all(before < file.written_at < clock.now() + timedelta(seconds=2) for file in found)


def test_what_is_there_exists(storage: Storage) -> None:
    """A key exists from its commit to its removal."""
    assert not storage.exists("instances/ab/x")
    put(storage, "instances/ab/x", b"x")
    assert storage.exists("instances/ab/x")
    storage.remove("instances/ab/x", clock.now() + timedelta(seconds=2))
    assert not storage.exists("instances/ab/x")
    assert list(storage.files("instances")) == []


def test_what_was_written_again_stays(storage: Storage) -> None:
    """Who decided on a removal knows a file as it was then; one that came since is not removed with it."""
    decided = clock.now() - timedelta(seconds=2)  # an object store counts whole seconds
    put(storage, "instances/ab/x", b"x")
    storage.remove("instances/ab/x", decided)
    assert storage.exists("instances/ab/x")
    storage.remove("instances/ab/never", decided)


def test_a_check_leaves_nothing(storage: Storage) -> None:
    """The site check writes, and removes what it wrote, under its name and before it had one."""
    storage.check()
    assert list(storage.files("check")) == []
    assert unnamed(storage) == []


def test_what_a_crashed_writer_left_is_swept(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is older than an hour: what is younger may be on its way in."""
    storage.create().write(b"half")
    assert (storage.sweep(), len(unnamed(storage))) == (0, 1)
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(seconds=STALE_SECONDS + 60))
    assert (storage.sweep(), len(unnamed(storage))) == (1, 0)


def test_a_bucket_that_is_not_there_is_named(storage: Storage) -> None:
    """A wrong bucket is a wrong setting, and what was to be stored is refused, not lost."""
    if not isinstance(storage, S3Storage):
        pytest.skip("folders have no buckets")
    storage.bucket = "elsewhere"
    with pytest.raises(ConfigurationError, match="elsewhere"):
        storage.check()
    with pytest.raises(OutOfResources, match="send again"):
        put(storage, "results/x", b"x")


def test_the_reserve_is_kept(tmp_path: Path) -> None:
    """With less than the reserve free, a new file is refused before a byte is taken."""
    storage = FolderStorage(tmp_path, reserve_bytes=1 << 60)
    with pytest.raises(OutOfResources, match="free some space"):
        storage.create()
    assert put(storage, "results/small", b"x").size == 1, "results of what was accepted still find room"


def test_a_full_disk_is_out_of_resources(tiny: FolderStorage) -> None:
    """No space left is told as such, leaves nothing behind, and heals when space is freed."""
    incoming = tiny.create()
    with pytest.raises(OutOfResources):
        incoming.write(bytes(2 << 20))
    incoming.discard()
    assert put(tiny, "results/small", b"x").size == 1
    assert list((tiny.root / "incoming").iterdir()) == []


def test_an_unknown_scheme_is_named(tmp_path: Path) -> None:
    """A storage URL with another scheme is a wrong setting."""
    with pytest.raises(ConfigurationError, match="unknown scheme"):
        open_storage("ftp://host/folder", reserve_mb=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"storage\.url"):
        open_storage((tmp_path / "file" / "below").as_uri(), reserve_mb=0)
