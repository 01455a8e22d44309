"""Settings: file, environment, and one line for whatever is wrong."""

import tempfile
from pathlib import Path

import pytest

from service.bootstrap import data_folder
from service.domain.errors import ConfigurationError
from service.settings import load_settings

FILE = """
[listener]
port = 11113
[[source]]
ae_title = "PANO1"
hosts = ["10.0.0.7"]
[[destination]]
name = "pacs"
url = "dicom://ORTHANC@127.0.0.1:4242"
results = ["sr", "seg"]
"""


def written(folder: Path, text: str) -> Path:
    """A settings file."""
    path = folder / "dentgate.toml"
    path.write_text(text)
    return path


def test_file_and_environment(tmp_path: Path) -> None:
    """The environment wins over the file, the file over the defaults."""
    path = written(tmp_path, FILE)
    settings = load_settings(path, environment={"DENTGATE_LISTENER__QUIET_SECONDS": "1.5", "OTHER": "x"})
    assert settings.listener.port == 11113
    assert settings.listener.quiet_seconds == 1.5
    assert settings.destination[0].results == ("sr", "seg")
    assert settings.source[0].hosts == ("10.0.0.7",)
    assert settings.web.port == 8080


def test_the_data_folder_fills_storage_and_database(tmp_path: Path) -> None:
    """--data names one folder for everything, also where the file names another, but it replaces no PostgreSQL."""
    path = written(tmp_path, '[storage]\nurl = "file:///elsewhere"\n[database]\nurl = "sqlite:///other.db"\n')
    settings = load_settings(path, tmp_path, environment={})
    assert settings.storage.url == tmp_path.as_uri()
    assert settings.database.url == f"sqlite:///{tmp_path / 'dentgate.db'}"
    shared = "postgresql+psycopg://host/dentgate"
    settings = load_settings(path, tmp_path, environment={"DENTGATE_DATABASE__URL": shared})
    assert settings.database.url == shared


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("[listener]\nprot = 1", {}, r"listener\.prot: unknown key"),
        ("[listner]\nport = 1", {}, r"listner: unknown key"),
        ("[listener]\nport = 99999", {}, r"listener\.port: .*65535"),
        ('[listener]\nae_title = "MORE THAN SIXTEEN"', {}, r"listener\.ae_title: .*16"),
        ("[listener\n", {}, "are not TOML"),
        ("", {"DENTGATE_LISTENER__PROT": "1"}, r"listener\.prot: unknown key"),
        ("", {"DENTGATE_NOWHERE__KEY": "1"}, r"nowhere: unknown key"),
        ("", {"DENTGATE_DESTINATION__URL": "x"}, "dentgate.toml only"),
        ('[analysis]\ndevice = "tpu"', {}, r"analysis\.device"),
        ('[[destination]]\nname="a"\nurl="file:///x"\n[[destination]]\nname="a"\nurl="file:///y"', {}, "same name"),
        ('[[destination]]\nname="a"\nurl="file:///x"\nresults=["xml"]', {}, r"destination\.0\.results"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, text: str, environment: dict[str, str], expected: str) -> None:
    """A wrong or unknown setting is refused in one line that names it."""
    with pytest.raises(ConfigurationError, match=expected) as caught:
        load_settings(written(tmp_path, text), environment=environment)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A settings file that was asked for must be there."""
    with pytest.raises(ConfigurationError, match=r"nothing\.toml"):
        load_settings(tmp_path / "nothing.toml", environment={})


def test_the_folder_for_lock_and_socket(tmp_path: Path) -> None:
    """It is the one of the command line, else the storage; with storage elsewhere a steady one for temporary files."""
    on_disk = load_settings(written(tmp_path, '[storage]\nurl = "file:///srv/a%20b"\n'), environment={})
    assert data_folder(on_disk, None) == Path("/srv/a b")
    assert data_folder(on_disk, tmp_path) == tmp_path.resolve()
    elsewhere = load_settings(written(tmp_path, '[storage]\nurl = "s3://bucket/a"\n'), environment={})
    assert data_folder(elsewhere, None) == data_folder(elsewhere, None)
    assert data_folder(elsewhere, None).is_relative_to(tempfile.gettempdir())
