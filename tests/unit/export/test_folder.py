"""Results in a folder."""

from pathlib import Path

import pytest

from service.domain.errors import ConfigurationError, Permanent, Transient
from service.domain.result import Delivery, Result
from service.export.folder import Folder
from tests.builders import destination_of

SR = Result("sr", "1.2.3.4", "application/dicom", b"sr")
REPORT = Result("report", "1.2.3/dental-findings/teeth", "application/fhir+json", b"{}")


def deliver(folder: Path, *results: Result, study: str = "1.2.3") -> str:
    """Deliver revision 1 of a study."""
    return Folder(destination_of(folder.as_uri()), "DENTGATE").deliver(Delivery(study, 1, results, 1))


def test_names_tell_study_revision_and_kind(tmp_path: Path) -> None:
    """Files lie below study and revision and are named by kind; the folder is made, percent signs are read."""
    folder = tmp_path / "a share"
    deliver(folder, SR, REPORT)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert [name.partition("-")[0] for name in names] == ["1.2.3/rev1/report", "1.2.3/rev1/sr"]
    assert [Path(name).suffix for name in names] == [".json", ".dcm"]


def test_same_file_is_left_alone(tmp_path: Path) -> None:
    """Delivering the same bytes again does not touch the file."""
    deliver(tmp_path, SR)
    (path,) = tmp_path.rglob("*.dcm")
    before = path.stat().st_mtime_ns, path.stat().st_ino
    deliver(tmp_path, SR)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_torn_file_is_replaced(tmp_path: Path) -> None:
    """A file that is there with other bytes (cut off by a power failure) is replaced by the whole one."""
    deliver(tmp_path, SR)
    (path,) = tmp_path.rglob("*.dcm")
    path.write_bytes(b"s")
    deliver(tmp_path, SR)
    assert path.read_bytes() == b"sr"


@pytest.mark.parametrize("uid", ["", ".", "..", "../../etc", "1..2", "1.2/3", "1.2.3\n", "1.2\\3"])
def test_uid_that_looks_like_a_path_is_refused(tmp_path: Path, uid: str) -> None:
    """No study UID leads out of the folder; nothing is written for such a study."""
    with pytest.raises(Permanent, match="digits and dots"):
        deliver(tmp_path, SR, study=uid)
    assert list(tmp_path.iterdir()) == []


def test_unusable_folder_is_transient(tmp_path: Path) -> None:
    """A share that is not there now may come back: Transient, with the cause; so says the check."""
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(Transient, match="cannot write below"):
        deliver(blocked, SR)
    with pytest.raises(Transient, match="cannot write below"):
        Folder(destination_of(blocked.as_uri()), "DENTGATE").check()


def test_failed_write_leaves_no_part(tmp_path: Path) -> None:
    """Where a name is taken by a folder, the write fails without leaving its temporary file."""
    deliver(tmp_path, SR)
    (path,) = tmp_path.rglob("*.dcm")
    path.unlink()
    path.mkdir()
    with pytest.raises(Transient):
        deliver(tmp_path, SR)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_check_leaves_nothing(tmp_path: Path) -> None:
    """The check writes and removes."""
    assert "writable" in Folder(destination_of(tmp_path.as_uri()), "DENTGATE").check()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["file://host/folder", "file:folder", "file://"])
def test_url_must_name_a_local_folder(url: str) -> None:
    """Another host or a relative folder is a wrong setting."""
    with pytest.raises(ConfigurationError, match="file:///folder"):
        Folder(destination_of(url), "DENTGATE")
