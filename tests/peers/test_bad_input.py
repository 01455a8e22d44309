"""Images as they should not be: each ends in valid results or in a stated refusal, never in an error nobody foresaw."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture
from pydicom.dataset import Dataset

from service.bootstrap import build
from service.db import outbox
from service.db.migrate import migrate
from service.db.studies import close_quiet_studies, record_instances, touch_studies
from service.domain.errors import Refused
from service.listener.intake import Intake
from service.listener.scp import Listener
from service.settings import ListenerSettings
from service.storage import get
from tests.bad_images import CASES, GREY
from tests.bench import Bench, OneTooth, Unserved, settings
from tests.builders import as_bytes, uid_of, xray
from tests.validators import assert_valid, run
from workers.app import Context

RESULTS = ("sr", "sr-text", "seg", "seg-plane", "secondary-capture", "presentation-state", "pdf", "key-objects")
VALIDATED = ("sr", "seg", "secondary-capture", "presentation-state")  # with regions "sr-text" is "sr" itself
#: Cases, by their first word, in which only pixels and how they are shown differ: their results are as valid as others.
PIXELS = {"bits", "signed", "overlay", "padding", "zero", "negative", "words", "thousand", "icon"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The stages, with a model that sees a tooth in everything, and a folder for every kind of result."""
    folder = tmp_path_factory.mktemp("bad-input")
    wanted = json.dumps([*RESULTS, "report", "oru"])
    chosen = settings(
        folder, f'[[destination]]\nname = "out"\nurl = "{(folder / "out").as_uri()}"\nresults = {wanted}\n'
    )
    services = replace(build(chosen), broker=Unserved(chosen.broker.url))
    migrate(services.db)
    yield Bench(Context(services, lambda _: OneTooth(), outbox.holder_name(), lambda: (OneTooth(),)), folder)
    services.db.close()


def files_of(made: Bench, seed: str) -> dict[str, Path]:
    """The results of an image by their kind."""
    return {path.name.rpartition("-")[0]: path for path in (made.folder / "out" / uid_of(seed, "study")).rglob("*.*")}


def judge(made: Bench, seed: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """What came of a study is as it should be, and every object is valid."""
    job = made.job()
    rows = [row.message for row in made.rows() if row.job_id == job.id]
    assert not [message for message in rows if "unexpected" in message]
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    if reason:
        assert job.state == "declined"
        assert reason in job.reason
        return
    assert job.state == "delivered", rows
    files = files_of(made, seed)
    assert set(files) >= {*RESULTS, "report", "oru"} - {"presentation-state"}  # not of colours
    if seed.split("-", maxsplit=1)[0] not in PIXELS:
        for path in (files[kind] for kind in VALIDATED if kind in files):
            assert_valid(path)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # it says what is wrong with what we make wrong
@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A result whose objects are valid, or a refusal with its reason; no dead letter, no exception in a log."""
    make, reason = CASES[name]
    if reason.startswith("refused"):
        with pytest.raises(Refused, match=reason.removeprefix("refused: ")):
            bench.receive(make(name))
        return
    bench.receive(make(name))
    bench.work()
    judge(bench, name, reason, caplog)


SENT = ("nothing", "japanese", "charset-unknown", "odd-birth-date", "for-processing", "two-frames", "overlay")


@pytest.fixture
def listener(bench: Bench) -> Iterator[Listener]:
    """Our own listener on the record of the bench."""
    db = bench.services.db
    intake = Intake(
        bench.services.storage, partial(record_instances, db), partial(touch_studies, db), max_object_bytes=1 << 26
    )
    made = Listener(ListenerSettings.model_validate({"port": 0}), (), intake)
    made.start()
    yield made
    made.stop(0)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # as above
@pytest.mark.parametrize("name", SENT)
def test_bad_input_by_c_store(
    name: str, bench: Bench, listener: Listener, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same as dcmtk's storescu sends it."""
    make, reason = CASES[name]
    seed = f"sent {name}"
    path = tmp_path / "image.dcm"
    path.write_bytes(make(seed))
    sent = run("storescu", "-R", "-aec", "DENTGATE", "127.0.0.1", str(listener.port), path)
    assert sent.returncode == 0, sent.stdout
    close_quiet_studies(bench.services.db, 0.0)
    bench.work()
    judge(bench, seed, reason, caplog)


def shown(made: Bench, name: str, kind: str) -> Dataset:
    """A result of a case that was received again."""
    seed = f"shown {name}"
    if not files_of(made, seed):
        made.receive(CASES[name][0](seed))
        made.work()
    return pydicom.dcmread(files_of(made, seed)[kind])


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("latin-1", "Müller^Jörg"),
        ("japanese", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("half-width", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("chinese", "王^小東"),
    ],
)
def test_names_are_the_same_in_the_results(name: str, written: str, bench: Bench) -> None:
    """A name in any character set is the same name in UTF-8."""
    for kind in ("sr", "seg", "secondary-capture", "pdf"):
        result = shown(bench, name, kind)
        assert result.SpecificCharacterSet == "ISO_IR 192"
        assert str(result.PatientName) == written


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # as above
def test_what_names_patient_and_order_is_never_cut(bench: Bench) -> None:
    """A Patient ID and an Accession Number that are too long are those of the image all the same."""
    raw = as_bytes(xray(GREY, seed="identity", PatientID="P" * 64, AccessionNumber="A" * 16))
    head = b"\x08\x00\x50\x00SH"
    bench.receive(raw.replace(head + b"\x10\x00" + b"A" * 16, head + b"\x14\x00" + b"A" * 20))
    bench.work()
    result = pydicom.dcmread(files_of(bench, "identity")["sr"])
    assert (result.AccessionNumber, result.PatientID) == ("A" * 20, "P" * 64)


def test_pixels_of_odd_images_are_those_of_the_plain_one(bench: Bench) -> None:
    """Palette, planes, signed values, overlays and other depths show what the plain image shows."""
    names = ("burned-in", "signed", "rgb", "rgb-planes", "palette", "overlay", "bits-10", "bits-16")
    bench.receive(*(CASES[name][0](f"shown {name}") for name in names))
    bench.work()
    keys = {each.name: each.storage_key for each in bench.artifacts("preview")}
    pictures = []
    for name in names:
        raw = get(bench.services.storage, keys[uid_of(f"shown {name}", "instance")])
        pictures.append(np.asarray(Picture.open(io.BytesIO(raw)).convert("L")).astype(int))
    for name, picture in zip(names, pictures, strict=True):
        assert np.abs(picture - pictures[0]).mean() < 3, name
