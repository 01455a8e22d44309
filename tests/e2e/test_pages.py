"""The pages in a real browser: what a technician and a dentist do, on phantom images, with nothing from elsewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright
from skimage.measure import approximate_polygon, find_contours

from service import clock
from service.domain.finding import Analysis, Finding, Region
from service.domain.job import Stage, State
from tests.builders import ALGORITHM, runs_of
from tests.unit.web.rows import Site, dead, done, encoded, serving, site
from workers.training.phantom import Phantom, panoramic_phantom

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
UID = "2.25.1"
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """A small panoramic phantom with all its teeth but two."""
    return panoramic_phantom(7, rows=752, columns=1440, missing=(18, 35))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests here."""
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), headless=True, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Site]:
    """An empty gateway with two destinations."""
    destinations = [
        {"name": "pacs", "url": "dicom://ORTHANC@127.0.0.1:4242"},
        {"name": "ehr", "url": "fhir+http://127.0.0.1:8103/fhir/R4"},
    ]
    made = site(tmp_path, destination=destinations)
    yield made
    made.db.close()


@pytest.fixture
def page(gateway: Site, browser: Browser) -> Iterator[Page]:
    """A page of the gateway.

    A script error, a console message (but that of a refused upload) or a request to elsewhere fails the test.
    """
    trouble: list[str] = []
    with serving(gateway.app()) as url:
        context = browser.new_context(base_url=url, viewport={"width": 1360, "height": 900}, locale="de-DE")
        opened = context.new_page()
        opened.on("pageerror", lambda error: trouble.append(str(error)))
        opened.on("console", lambda message: trouble.append(message.text) if "400" not in message.text else None)
        opened.on("request", lambda request: None if request.url.startswith(url) else trouble.append(request.url))
        yield opened
        context.close()
    assert trouble == []


def analysis_of_phantom(phantom: Phantom, sop_instance_uid: str, uncertain: tuple[int, ...] = (14, 37)) -> Analysis:
    """What a perfect model would find in a phantom, with some numbers called uncertain."""
    findings = []
    for fdi in (int(value) for value in np.unique(phantom.labels) if value):
        unsure = fdi in uncertain
        flags = ("number-uncertain",) if unsure else ()
        findings.append(Finding("tooth", fdi, 0.61 if unsure else 0.97, _region(phantom.labels == fdi), flags))
    rows, columns = phantom.labels.shape
    notes = ("orientation assumed",)
    return Analysis(ALGORITHM, sop_instance_uid, rows, columns, clock.now(), tuple(findings), notes)


def _region(mask: NDArray[np.bool_]) -> Region:
    y, x = np.nonzero(mask)
    x0, y0, x1, y1 = int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1
    inside = mask[y0:y1, x0:x1]
    contour = max(find_contours(np.pad(inside, 1).astype(float), 0.5), key=len)
    outline = tuple((float(c) - 0.5 + x0, float(r) - 0.5 + y0) for r, c in approximate_polygon(contour, 1.0)[:-1])
    return Region((x0, y0, x1, y1), runs_of(inside), outline)


def shown(phantom: Phantom) -> NDArray[np.uint8]:
    """The phantom in 8 bits."""
    return (phantom.pixels // 16).astype(np.uint8)


def analyzed(gateway: Site, phantom: Phantom, state: State = State.DELIVERED) -> int:
    """A study with an analyzed phantom; the job's id."""
    job = gateway.job(gateway.study(UID, patient_name="Phantom^Seven", patient_id="PH-7"), state)
    gateway.analysis(job, analysis_of_phantom(phantom, f"{UID}.0"), shown(phantom))
    gateway.step(job, Stage.ANALYZE, **done(3.2))
    gateway.step(job, Stage.REPORT, **done(0.8))
    return job


def test_list_fills_without_a_reload(gateway: Site, page: Page) -> None:
    """A study that arrives appears in the open list by itself, without the page being loaded anew."""
    page.goto("/")
    expect(page.get_by_text("No study has arrived yet")).to_be_visible()
    page.evaluate("window.untouched = true")
    gateway.study(UID, patient_name="Phantom^Seven")
    expect(page.get_by_role("link", name="Phantom, Seven")).to_be_visible()
    expect(page.get_by_text("15.01.2025")).to_be_visible()  # in the browser's own way of writing dates
    assert page.evaluate("window.untouched")


def test_teeth_answer_to_mouse_and_keyboard(gateway: Site, phantom: Phantom, page: Page) -> None:
    """Pointing at a tooth, or reaching it with the arrow keys, shows its certainty; the chart follows."""
    analyzed(gateway, phantom)
    page.goto(f"/studies/{UID}")
    readout = page.locator(".readout")
    page.locator('.tooth[data-tooth="14"]').hover()
    expect(readout).to_contain_text("Tooth 14: Permanent maxillary right first premolar tooth, certainty 61 %")
    expect(readout).to_contain_text("the number is uncertain")
    expect(page.locator('[data-cell="14"]')).to_have_class("cell cell-uncertain near")
    page.locator(".tooth").first.focus()
    page.keyboard.press("ArrowRight")
    expect(readout).to_contain_text("Tooth 16")
    page.locator('[data-cell="36"]').hover()
    expect(readout).to_contain_text("Tooth 36")


def test_numbers_cover_neither_teeth_nor_each_other(gateway: Site, phantom: Phantom, page: Page) -> None:
    """As drawn by the browser, no number lies on another number or on the tooth it names, and all are inside."""
    analyzed(gateway, phantom)
    page.goto(f"/studies/{UID}")
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('.tooth')].map((tooth) => ['.label rect', '.outline', '.label text']
            .map((part) => tooth.querySelector(part).getBoundingClientRect().toJSON()))"""
    )
    frame = page.locator(".overlay").bounding_box()
    assert frame is not None
    assert len(boxes) == 30
    for index, (label, outline, text) in enumerate(boxes):
        assert not _overlap(label, outline)
        assert not any(_overlap(label, other[0]) for other in boxes[index + 1 :])
        assert label["left"] - 1 <= text["left"] <= text["right"] <= label["right"] + 1
        assert frame["x"] <= label["left"] <= label["right"] <= frame["x"] + frame["width"]


def _overlap(a: dict[str, float], b: dict[str, float]) -> bool:
    slack = 2.0  # strokes
    apart = a["right"] <= b["left"] + slack or b["right"] <= a["left"] + slack
    return not (apart or a["bottom"] <= b["top"] + slack or b["bottom"] <= a["top"] + slack)


def test_switches(gateway: Site, phantom: Phantom, page: Page) -> None:
    """Outlines and numbers can be hidden; the notation of another country is kept for the next page."""
    analyzed(gateway, phantom)
    page.goto(f"/studies/{UID}")
    label = page.locator('.tooth[data-tooth="36"] .label')
    expect(label).to_be_visible()
    page.get_by_label("Numbers").uncheck()
    expect(label).to_be_hidden()
    page.get_by_label("Numbers").check()
    page.get_by_label("Notation").select_option("universal")
    expect(page.locator('.tooth[data-tooth="36"] .name')).to_have_text("19")
    page.reload()
    expect(page.locator('.tooth[data-tooth="36"] .name')).to_have_text("19")
    page.get_by_label("Notation").select_option("palmer")
    expect(page.locator('[data-cell="36"] .name')).to_have_text("┌6")


def test_upload_to_result(gateway: Site, phantom: Phantom, page: Page) -> None:
    """A picture uploaded in the browser leads to its study, where the result appears by itself."""
    page.goto("/upload")
    picture = FilePayload(name="opg.png", mimeType="image/png", buffer=encoded(shown(phantom)))
    page.locator("#files").set_input_files(files=[picture])
    page.get_by_label("Patient ID").fill("PH-7")
    page.get_by_label("Last name").fill("Phantom")
    page.get_by_role("button", name="Upload and analyze").click()
    page.wait_for_url("**/studies/2.25.*")
    expect(page.get_by_text("Waiting for the last image of the study")).to_be_visible()
    _finish(gateway, phantom, page.url.rsplit("/", 1)[1])
    expect(page.locator(".tooth")).to_have_count(30, timeout=10_000)
    expect(
        page.get_by_text("AI result - not verified by a dentist. Research model, not for diagnosis.")
    ).to_be_visible()


def _finish(gateway: Site, phantom: Phantom, uid: str) -> None:
    """What relay and worker do to an uploaded study."""
    with gateway.db.begin() as session:
        connection = session.connection()
        study_id = connection.exec_driver_sql("SELECT id FROM study").scalar_one()
        connection.exec_driver_sql("UPDATE study SET open = 0")
        assert connection.exec_driver_sql("SELECT study_instance_uid FROM study").scalar_one() == uid
        image = connection.exec_driver_sql("SELECT sop_instance_uid FROM instance").scalar_one()
    gateway.analysis(gateway.job(study_id, State.ANALYZED), analysis_of_phantom(phantom, image), shown(phantom))


def test_upload_says_what_was_wrong(page: Page) -> None:
    """A file that is no picture is refused with a sentence in the form, which stays filled in."""
    page.goto("/upload")
    page.locator("#files").set_input_files(files=FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"notes"))
    with page.expect_console_message(lambda message: "400" in message.text):
        page.get_by_role("button", name="Upload and analyze").click()
    expect(page.get_by_role("alert")).to_have_text("notes.txt is not a JPEG, PNG or DICOM file")
    expect(page.get_by_role("button", name="Upload and analyze")).to_be_enabled()


def test_retry(gateway: Site, phantom: Phantom, page: Page) -> None:
    """The button makes a failed delivery due again, and the page says so."""
    job = analyzed(gateway, phantom, State.REPORTED)
    gateway.step(job, Stage.DELIVER, "pacs", **dead("association rejected"))
    page.goto(f"/studies/{UID}")
    expect(page.locator(".heading .status").first).to_have_text("needs attention: pacs")
    expect(page.locator(".words")).to_contain_text("association rejected")
    page.goto("/")
    expect(page.locator(".state")).to_have_text(re.compile(r"^\s*needs attention: pacs\s*$"))
    page.goto(f"/studies/{UID}")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".heading .status").first).to_contain_text("waiting for delivery")


@pytest.mark.parametrize("width", [1360, 900, 400])
def test_long_values_do_not_break_the_list(gateway: Site, page: Page, width: int) -> None:
    """A 64-character patient ID, a long name and a long error neither widen the list nor push the state away."""
    study = gateway.study(UID, patient_id="X" * 64, patient_name="Wolfeschlegelsteinhausenbergerdorff" * 2, open=False)
    gateway.step(gateway.job(study, State.REPORTED), Stage.DELIVER, "p" * 64, **dead("no route to host " * 60))
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("/", f"/studies/{UID}"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    page.goto("/")
    assert page.evaluate(
        "(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)(document.querySelector('.scroll'))"
    )
    state, name = page.locator(".state").bounding_box(), page.locator(".patient").bounding_box()
    assert state is not None
    assert name is not None
    assert state["x"] + state["width"] <= width
    assert name["width"] < 300 or width == 400
    assert (state["y"] >= name["y"] + name["height"]) == (width == 400)  # a card: the state below the name
    assert "no route to host" not in page.locator(".list").inner_text()


@pytest.mark.parametrize(("length", "text"), [(12, "12 B"), (20_480, "20 kB"), (3_400_000, "3.4 MB")])
def test_chosen_file_shows_its_size(page: Page, length: int, text: str) -> None:
    """A small file is shown in kB, never as 0.0 MB; the form stands in the middle of the page."""
    page.goto("/upload")
    chosen = FilePayload(name="a.dcm", mimeType="application/dicom", buffer=b"x" * length)
    page.locator("#files").set_input_files(files=chosen)
    expect(page.locator("#chosen span")).to_have_text(text)
    form = page.locator("#upload").bounding_box()
    assert form is not None
    assert abs(form["x"] * 2 + form["width"] - 1360) < 20


def test_narrow_screen(gateway: Site, phantom: Phantom, page: Page) -> None:
    """On a phone nothing but tables is wider than the screen."""
    analyzed(gateway, phantom)
    page.set_viewport_size({"width": 400, "height": 800})
    for path in ("/", f"/studies/{UID}", "/upload", "/api/docs"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
