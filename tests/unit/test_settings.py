"""Settings: file, environment, and one line for whatever is wrong."""

import tempfile
from pathlib import Path

import pytest

from service import clock
from service.bootstrap import data_folder
from service.db import outbox
from service.domain.errors import ConfigurationError
from service.settings import Settings, load_settings

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
        (
            '[[destination]]\nname="a"\nurl="file:///x"\n[[destination]]\nname="a"\nurl="file:///y"',
            {},
            "called a; give",
        ),
        ('[[destination]]\nname="a"\nurl="file:///x"\nresults=["xml"]', {}, r"destination\.0\.results"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, text: str, environment: dict[str, str], expected: str) -> None:
    """A wrong or unknown setting is refused in one line that names it."""
    with pytest.raises(ConfigurationError, match=expected) as caught:
        load_settings(written(tmp_path, text), environment=environment)
    assert "\n" not in str(caught.value)


STOW, FHIR, PACS = "stow+https://h/dicom-web", "fhir+https://h/fhir", "dicom://P@h:104"
KEY = 'client_id = "c"\nkey_file = "k.pem"'


@pytest.mark.parametrize(
    ("url", "keys", "expected"),
    [
        (PACS, 'auth = "bearer"\ntoken_file = "t"', "auth is for HTTP, not for dicom://"),
        (STOW, 'auth = "basic"\nusername = "u"', 'auth = "basic" needs password_file'),
        (STOW, 'auth = "basic"\nusername = "a:b"\npassword_file = "p"', "username with a colon"),
        (STOW, 'auth = "bearer"', 'auth = "bearer" needs token_file'),
        (STOW, 'auth = "bearer"\ntoken_file = "t"\nusername = "u"', 'username without use: auth is "bearer"'),
        (FHIR, 'token_file = "t"', 'token_file without use: auth is "none"'),
        (FHIR, 'auth = "smart"', 'auth = "smart" needs client_id and key_file'),
        (FHIR, f'auth = "smart"\n{KEY}\npassword_file = "p"', 'password_file without use: auth is "smart"'),
        (STOW, f'auth = "smart"\n{KEY}', "needs scope where the peer is no FHIR server"),
        (FHIR, 'auth = "oauth"', r"destination\.0\.auth"),
        (STOW, 'cert_file = "c"', "cert_file and cert_key_file belong together"),
        (STOW, 'cert_key_file = "c"', "cert_file and cert_key_file belong together"),
        ("fhir+http://h/fhir", 'ca_file = "c"', r"are for TLS, which fhir\+http:// does not use"),
        (PACS, 'ca_file = "c"', "are for TLS, which dicom:// does not use"),
        (STOW, "create_patient = true", "create_patient without use: the url is no fhir"),
        (PACS, 'form = "single"', "form without use: the url is no fhir"),
        (STOW, "commitment = true", r"commitment is for dicom://, not for stow\+https://"),
    ],
)
def test_keys_that_would_be_ignored_are_errors(tmp_path: Path, url: str, keys: str, expected: str) -> None:
    """Whoever sets a key believes that it works: what does not fit together is told."""
    text = f'[[destination]]\nname = "peer"\nurl = "{url}"\n{keys}\n'
    with pytest.raises(ConfigurationError, match=expected) as caught:
        load_settings(written(tmp_path, text), environment={})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "keys"),
    [
        (STOW, 'auth = "basic"\nusername = "u"\npassword_file = "p"\nca_file = "c"'),
        (STOW, f'auth = "smart"\nscope = "s"\n{KEY}\ncert_file = "c"\ncert_key_file = "k"'),
        (FHIR, f'auth = "smart"\n{KEY}\nnext_key_file = "n"\ntoken_url = "https://h/token"'),
        ("fhir+http://h/fhir", f'auth = "smart"\n{KEY}\ntoken_url = "https://h/token"\nca_file = "c"'),
        ("mllps://h", 'ca_file = "c"\ncert_file = "c"\ncert_key_file = "k"'),
        (PACS, "commitment = true"),
    ],
)
def test_keys_that_fit_together(tmp_path: Path, url: str, keys: str) -> None:
    """Each login with all of its keys is accepted; whether the files are there is asked when the services are made."""
    text = f'[[destination]]\nname = "peer"\nurl = "{url}"\n{keys}\n'
    assert load_settings(written(tmp_path, text), environment={}).destination[0].url == url


def test_an_archive_that_reports_on_commitment_must_be_let_in(tmp_path: Path) -> None:
    """Where only known senders may call, one that is asked for commitment must be known, for it calls us to report."""
    asked = f'[[destination]]\nname = "pacs"\nurl = "{PACS}"\ncommitment = true\n'
    closed = "[listener]\naccept_any_calling_ae = false\n"
    with pytest.raises(ConfigurationError, match=r"\[\[source\]\] entry: add ae_title = 'P'"):
        load_settings(written(tmp_path, closed + asked), environment={})
    known = '[[source]]\nae_title = "P"\n'
    assert load_settings(written(tmp_path, closed + known + asked), environment={}).destination[0].commitment


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


@pytest.mark.parametrize(
    ("storage", "results"),
    [
        ("file:///var/lib/dentgate", "file:///var/lib/dentgate/results"),
        ("file:///var/lib/dentgate", "file:///var/lib/dentgate/"),
        ("file:///srv/results/dentgate", "file:///srv/results"),
        ("file:///var/lib/dentgate", "file:///var/lib/other/../dent%67ate/export"),
    ],
)
def test_results_lie_apart_from_what_dentgate_keeps(tmp_path: Path, storage: str, results: str) -> None:
    """Whoever empties the folder of the results must not delete the images, nor the other way round."""

    def text(url: str) -> str:
        return f'[storage]\nurl = "{storage}"\n[[destination]]\nname = "files"\nurl = "{url}"\n'

    with pytest.raises(ConfigurationError, match=r"destination 'files' writes to .*storage\.url.*apart"):
        load_settings(written(tmp_path, text(results)), environment={})
    assert load_settings(written(tmp_path, text("file:///srv/dentgate-results")), environment={}).destination
    with pytest.raises(ConfigurationError, match="apart"):
        load_settings(written(tmp_path, text((tmp_path / "data/out").as_uri())), tmp_path / "data", environment={})


def test_deliveries_last_for_a_long_weekend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble that an administrator mends on Monday leaves no dead letter, however the dice of the back-off fall."""
    monkeypatch.setattr(clock, "jitter", lambda: 0.0)
    attempts = Settings().analysis.max_attempts
    assert sum(outbox.backoff_seconds(attempt) for attempt in range(1, attempts)) >= 72 * 3600


def test_names_behind_a_proxy(tmp_path: Path) -> None:
    """Public names come from file or environment, in small letters; a URL is told what to write instead."""
    path = written(tmp_path, '[web]\npublic_hosts = ["Dentgate.Example.org:8443"]\n')
    assert load_settings(path, environment={}).web.public_hosts == ("dentgate.example.org:8443",)
    environment = {"DENTGATE_WEB__PUBLIC_HOSTS": "a.example.org, b.example.org"}
    assert load_settings(path, environment=environment).web.public_hosts == ("a.example.org", "b.example.org")
    for wrong in ("https://a.example.org", "a.example.org/pages", "*"):
        with pytest.raises(ConfigurationError, match=r"web\.public_hosts: .*no name of a host"):
            load_settings(path, environment={"DENTGATE_WEB__PUBLIC_HOSTS": wrong})
    with pytest.raises(ConfigurationError, match=r"web\.user_header"):
        load_settings(path, environment={"DENTGATE_WEB__USER_HEADER": "X_Remote User"})
