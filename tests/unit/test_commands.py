"""The commands: what an operator types, and the one line that answers."""

import argparse
import fcntl
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import clock, commands
from service.__main__ import main
from service.db.engine import Database
from service.db.tables import Study
from service.settings import load_settings
from tests.certificates import Authority
from tests.gateway import ROOT, free_port
from tests.http_peers import reply, serving


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Commands set up logging for their process; afterwards it is as before."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)


def settings_file(folder: Path, text: str = "") -> Path:
    """A settings file with a broker that nobody serves."""
    path = folder / "dentgate.toml"
    path.write_text(f'[broker]\nurl = "redis://127.0.0.1:{free_port()}/0"\n{text}')
    return path


def run(folder: Path, *arguments: str, text: str = "") -> int:
    """A command on a data folder of its own."""
    return main([*arguments, "--config", str(settings_file(folder, text)), "--data", str(folder / "data")])


def ask_site(folder: Path, text: str = "") -> int:
    """`check` without its last part: that every model is loaded takes as long as all of these tests."""
    settings = load_settings(settings_file(folder, text), folder / "data")
    return commands.check(settings, argparse.Namespace(), threading.Event())


def test_migrate_then_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` asks for `migrate` in one line; that makes the record, `jobs` lists it, and says what is not there."""
    assert run(tmp_path, "jobs") == 2
    assert "dentgate migrate" in capsys.readouterr().err
    assert ask_site(tmp_path) == 1
    asked = capsys.readouterr().out
    assert "FAIL  database: the database is not up to date" in asked
    assert all(line.startswith(("ok    ", "FAIL  ")) for line in asked.splitlines())
    assert run(tmp_path, "migrate") == 0
    assert "revision 00" in capsys.readouterr().out
    assert run(tmp_path, "jobs", "list") == 0
    assert "no jobs" in capsys.readouterr().out
    assert run(tmp_path, "jobs", "retry", "1.2.3") == 1
    assert "no study 1.2.3" in capsys.readouterr().err


def test_a_wrong_setting_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown key ends the command with 2 and one line that names it."""
    assert run(tmp_path, "migrate", text="[listener]\nprot = 1\n") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "listener.prot" in lines[0]


@pytest.mark.parametrize("section", ["listener", "web"])
def test_a_port_in_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], section: str) -> None:
    """`up` names the port that is taken and the setting to change, before it starts anything."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = "web" if section == "listener" else "listener"
        text = f"[{section}]\nport = {port}\n[{other}]\nport = {free_port()}\n"
        assert run(tmp_path, "up", text=text) == 2
    assert f"127.0.0.1:{port}" in (answer := capsys.readouterr().err)
    assert f"{section}.port" in answer


@pytest.mark.timeout(400)
def test_check_names_what_does_not_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` asks everything, one line each, models too; it ends with 1 when a destination or the broker is dead."""
    assert run(tmp_path, "migrate") == 0
    text = (
        f'[[destination]]\nname = "pacs"\nurl = "dicom://PACS@127.0.0.1:{free_port()}"\n'
        f'[[destination]]\nname = "ehr"\nurl = "fhir+http://127.0.0.1:{free_port()}/fhir"\n'
        f'[[destination]]\nname = "files"\nurl = "{(tmp_path / "out").as_uri()}"\n'
    )
    assert run(tmp_path, "check", text=text) == 1
    answer = capsys.readouterr().out
    for line in ("ok    database", "ok    storage", "FAIL  broker", "FAIL  destination pacs", "FAIL  destination ehr"):
        assert line in answer
    assert "ok    destination files" in answer
    assert "ok    teeth_panoramic" in answer


def test_check_tells_how_long_certificates_are_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` tells the days of the peer's certificate and of ours, and where a secret travels without TLS."""
    assert run(tmp_path, "migrate") == 0
    authority = Authority(tmp_path / "authority")
    ours, theirs = authority.issue("ours", days=200.5), authority.issue("theirs", days=7.5)
    secret = tmp_path / "token"
    secret.write_text("s3cret")
    with (
        serving(lambda _: reply([]), authority.server_context(theirs, asks_client=True)) as safe,
        serving(lambda _: reply([])) as plain,
    ):
        text = (
            f'[[destination]]\nname = "safe"\nurl = "stow+{safe}/"\nca_file = "{authority.certificate}"\n'
            f'cert_file = "{ours.certificate}"\ncert_key_file = "{ours.key}"\n'
            f'[[destination]]\nname = "plain"\nurl = "stow+{plain}/"\nauth = "bearer"\ntoken_file = "{secret}"\n'
        )
        assert ask_site(tmp_path, text) == 1  # there is no broker
    answer = capsys.readouterr().out
    lives = "its certificate expires in 7 days, renew it; our certificate expires in 200 days"
    assert f"ok    destination safe: {safe} answers searches; {lives}" in answer
    assert f"ok    destination plain: {plain} answers searches; its secret travels without TLS: use https" in answer
    assert "s3cret" not in answer


def test_a_broker_for_one_machine_cannot_be_shared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A single process of a larger installation needs a broker that others reach, and says so."""
    path = tmp_path / "dentgate.toml"
    path.write_text("")
    assert main(["relay", "--config", str(path), "--data", str(tmp_path / "data")]) == 2
    assert "redis://" in capsys.readouterr().err


def test_the_listener_never_pays_for_torch() -> None:
    """Importing the command does not import the workers' libraries."""
    code = "import sys, service.__main__; sys.exit(any(m in sys.modules for m in ('torch', 'monai', 'openvino')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ('url = "https://ehr.example/fhir"', "unknown scheme"),
        ('url = "dicom:/ORTHANC@h:4242"', "dicom://AET@host:port"),
        ('url = "dicom://ORTHANC@h:4242"\nresults = ["report"]', "cannot take report"),
        (
            'url = "stow+https://h/"\nauth = "bearer"\ntoken_file = "/nowhere/token"',
            "token_file /nowhere/token: No such",
        ),
    ],
)
def test_a_wrong_destination_ends_up_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: str, expected: str
) -> None:
    """A destination that can never work is told before anything starts, by name."""
    ports = f"[listener]\nport = {free_port()}\n[web]\nport = {free_port()}\n"
    assert run(tmp_path, "up", text=f'{ports}[[destination]]\nname = "pacs"\n{entry}\n') == 2
    answer = capsys.readouterr().err
    assert expected in answer
    assert "'pacs'" in answer


def test_an_unknown_queue_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker for a stage that does not exist says which ones do."""
    assert run(tmp_path, "worker", "--queues", "foo") == 2
    assert "analyze, report, deliver" in capsys.readouterr().err


def test_two_gateways_never_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second `up` on the same data folder ends at once and says why; the first one keeps its broker."""
    folder = tmp_path / "data" / "run"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        text = f"[listener]\nport = {free_port()}\n[web]\nport = {free_port()}\n"
        assert run(tmp_path, "up", text=text) == 2
    assert "another `dentgate up`" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["relay", "migrate", "jobs"])
def test_a_database_that_is_away_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """A process that cannot reach its database says so in the driver's words, without a traceback."""
    text = f'[database]\nurl = "postgresql+psycopg://dentgate@127.0.0.1:{free_port()}/dentgate"\n'
    path = settings_file(tmp_path, text)
    assert main([command, "--config", str(path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "refused" in lines[0]


def test_check_says_when_new_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too many studies wait, or less than the reserve is free: the reason and the mend, also for /readyz."""
    assert run(tmp_path, "migrate") == 0
    db = Database(f"sqlite:///{tmp_path / 'data' / 'dentgate.db'}")
    with db.begin() as session:
        now = clock.now()
        session.add(Study(study_instance_uid="1.2.3", received_at=now, active_at=now, open=True))
    db.close()
    pressed = f"[listener]\nmax_waiting_studies = 1\n[storage]\nreserve_mb = {1 << 40}\n"
    for text, queue, storage in ((pressed, "FAIL ", "FAIL "), ("", "ok   ", "ok   ")):
        assert ask_site(tmp_path, text) == 1  # there is no broker
        lines = capsys.readouterr().out
        assert f"{queue} queue: 1 studies wait" in lines
        assert f"{storage} storage: " in lines
