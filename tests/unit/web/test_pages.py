"""The pages a person sees, without a browser."""

import re
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from service import clock
from service.domain.finding import Finding, HeatMap, Region
from service.domain.job import Stage, State
from service.web.templating import teeth
from tests.builders import analysis_of, xray
from tests.unit.web.rows import Site, dead, done


def analyzed(gateway: Site, uid: str = "2.25.1") -> int:
    """A delivered study with one image, three teeth, one of them of uncertain number."""
    job = gateway.job(gateway.study(uid), State.DELIVERED)
    header = xray(SOPInstanceUID=f"{uid}.0")
    gateway.analysis(
        job, analysis_of(header, (36, 37, 46), flags={37: ("number-uncertain",)}, notes=("orientation assumed",))
    )
    gateway.step(job, Stage.ANALYZE, **done(3.25))
    gateway.step(job, Stage.DELIVER, "pacs", **done(0.5, "stored 2 objects"))
    return job


def test_empty_list_says_how_to_send(client: httpx.Client) -> None:
    """Without studies the page names AE title, host and port, the command, and the upload."""
    page = client.get("/").text
    assert "storescu -aec DENTGATE 127.0.0.1 11112 image.dcm" in page
    assert 'href="/upload"' in page


def test_list_shows_studies(gateway: Site, client: httpx.Client) -> None:
    """A line of the list holds patient, date, description, sender, images, state and teeth."""
    analyzed(gateway)
    page = client.get("/").text
    told = (
        "Probe, Dental",
        "P1",
        "2025-01-15",
        "Panoramic",
        "PANO1",
        "delivered",
        'data-label="AI found">3 teeth</td>',
    )
    for text in told:
        assert text in page


def test_list_has_pages(gateway: Site, client: httpx.Client) -> None:
    """Fifty studies stand on a page, the next ones behind a link."""
    for number in range(51):
        gateway.study(f"2.25.{number + 1}", received_at=clock.now() + timedelta(seconds=number))
    first, second = client.get("/").text, client.get("/?page=2").text
    assert first.count('scope="row"') == 50
    assert 'href="/?page=2"' in first
    assert second.count('scope="row"') == 1
    assert "2.25.1" in second


def test_study_page(gateway: Site, client: httpx.Client) -> None:
    """The study page shows outlined teeth, the AI banner, the notes, the model, the destinations and the times."""
    analyzed(gateway)
    page = client.get("/studies/2.25.1").text
    assert page.count('class="outline"') == 3
    assert "AI result - not verified by a dentist. Research model, not for diagnosis." in page
    assert "Tooth 37, number uncertain, certainty 97 %" in page
    for text in ("orientation assumed", "tooth-numbering 1.0.0", "stored 2 objects", "3.25 s"):
        assert text in page
    assert page.count('role="cell"') == 32
    assert page.count("cell-no") == 30


def test_declined_study_says_why(gateway: Site, client: httpx.Client) -> None:
    """A declined study says why in plain words and shows no AI banner."""
    gateway.job(gateway.study(), State.DECLINED, reason="teeth_panoramic: it is a photograph")
    page = client.get("/studies/2.25.1").text
    assert "The images are kept, but no result was made: it is a photograph." in page
    assert "not analyzed: it is a photograph" in page
    assert "teeth_panoramic" not in page + client.get("/").text
    assert "AI result" not in page


def test_study_that_is_being_received(gateway: Site, client: httpx.Client) -> None:
    """A study without a job has a page that says what is awaited."""
    gateway.study(open=True)
    assert "Waiting for the last image" in client.get("/studies/2.25.1").text


def test_an_intraoral_film_says_nothing_of_the_teeth_beside_it(gateway: Site, client: httpx.Client) -> None:
    """A bitewing shows a part of the teeth: none of the others is struck through as not found."""
    job = gateway.job(gateway.study(modality="IO"), State.DELIVERED)
    flags = {36: ("side-contradicts-header",), 37: ("side-contradicts-header", "number-uncertain")}
    gateway.analysis(job, analysis_of(xray(SOPInstanceUID="2.25.1.0"), (36, 37), flags=flags))
    page = client.get("/studies/2.25.1").text
    assert page.count('class="cell cell-unseen') == 30 + 1  # and the legend
    assert "cell-no" not in page
    assert "not on this film, or not found" in page
    assert '<span class="note">the file names the other side</span>' in page


def test_a_tooth_with_a_finding_is_not_struck_through(gateway: Site, client: httpx.Client) -> None:
    """What the numbering did not outline and another model found something of is neither found nor not found."""
    job = gateway.job(gateway.study(), State.DELIVERED)
    image = xray(SOPInstanceUID="2.25.1.0")
    gateway.analysis(job, analysis_of(image, (36,)))
    crown = replace(analysis_of(image, ()), findings=(Finding("crown", 15, 0.84, flags=("number-uncertain",)),))
    crown = replace(crown, looks_for=("crown",), algorithm=replace(crown.algorithm, name="tooth_conditions"))
    gateway.artifact(job, "analysis", "2.25.1.0/tooth_conditions", crown.to_json(), "application/json")
    page = client.get("/studies/2.25.1").text
    assert 'aria-label="15 not outlined, but crown 84 %"' in page
    assert re.search(r'data-fdi="15"[^>]*>15</span>\?</span>', page)
    assert page.count('class="cell cell-no') == 30 + 1


def test_nothing_is_called_certain(gateway: Site, client: httpx.Client) -> None:
    """A certainty that would be rounded to 100 % is "over 99 %"; a region of a heat map is no outline."""
    job = gateway.job(gateway.study(), State.DELIVERED)
    heat = HeatMap(1, 2, (0, 255))
    found = Finding("fracture", None, 0.998, Region((10, 10, 90, 90)), heat=heat)
    analysis = replace(analysis_of(xray(SOPInstanceUID="2.25.1.0"), ()), findings=(found,), looks_for=("fracture",))
    gateway.analysis(job, analysis)
    page = client.get("/studies/2.25.1").text
    assert '<td class="number">over 99 %</td>' in page
    assert "100 %" not in page
    assert ">fracture: the model looked here</text>" in page


def test_results_of_several_models_are_told_apart(gateway: Site, client: httpx.Client) -> None:
    """Two reports of one image are called after their series; every kind of result has words."""
    job = analyzed(gateway)
    for number, title in enumerate(("tooth numbering", "tooth conditions")):
        description = f"AI: {title} (unverified), series 1 image 1".encode()
        head = b"\x08\x00\x3e\x10LO" + len(description).to_bytes(2, "little") + description
        gateway.artifact(job, "sr", f"2.25.9{number}", head)
    gateway.artifact(job, "rejection", "2.25.99", b"", "application/dicom")
    gateway.artifact(job, "oru", "m", b"MSH|", "application/hl7-v2")
    labels = re.findall(r"download>([^<]+)</a>", client.get("/studies/2.25.1").text)
    assert labels == [
        "Structured report (DICOM SR): tooth numbering",
        "Structured report (DICOM SR): tooth conditions",
        "Note on results that no longer count (DICOM KOS)",
        "Report (HL7 v2)",
    ]


def test_an_image_that_was_not_read_is_said_once(gateway: Site, client: httpx.Client) -> None:
    """The banner says that nothing was read; it does not go on to say that not all was."""
    job = gateway.job(gateway.study(), State.DELIVERED, reason="image_gate: the image is too dark")
    refused = replace(analysis_of(xray(SOPInstanceUID="2.25.1.0"), ()), refused="the image is too dark")
    gateway.analysis(job, refused)
    page = client.get("/studies/2.25.1").text
    assert "No image of this study could be read by the AI" in page
    assert "Not all images were analyzed" not in page


def test_a_name_in_one_script_is_shown(gateway: Site, client: httpx.Client) -> None:
    """A patient who is named in ideographs only is not called nameless."""
    gateway.study(patient_name="=山田^太郎=やまだ^たろう")
    for path in ("/", "/studies/2.25.1"):
        page = client.get(path).text
        assert "山田, 太郎" in page
        assert "No name" not in page


def test_conflict_is_flagged(gateway: Site, client: httpx.Client) -> None:
    """An object under a taken UID is flagged on the study page."""
    gateway.study(conflict=True)
    assert "other bytes under a UID that was taken" in client.get("/studies/2.25.1").text


def test_late_image_keeps_the_older_result(gateway: Site, client: httpx.Client) -> None:
    """While a new revision is analyzed the older result is still shown, with a word about it."""
    analyzed(gateway)
    with gateway.db.session() as session:
        study_id = session.connection().exec_driver_sql("SELECT id FROM study").scalar_one()
    gateway.step(gateway.job(study_id, revision=2), Stage.ANALYZE)
    page = client.get("/studies/2.25.1").text
    assert "Revision 2 has begun" in page
    assert page.count('class="outline"') == 3
    assert "Earlier revisions" in page


def test_lost_analysis_file_does_not_break_the_page(gateway: Site, client: httpx.Client) -> None:
    """A page whose analysis file has vanished still shows everything else."""
    analyzed(gateway)
    for path in (gateway.storage.root / "results").rglob("*"):
        if path.is_file():
            path.unlink()
    answer = client.get("/studies/2.25.1")
    assert answer.status_code == 200
    assert "stored 2 objects" in answer.text


def test_retry_button(gateway: Site, client: httpx.Client) -> None:
    """The button makes what failed due again and leads back to the study; pressing it twice changes nothing."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.step(job, Stage.DELIVER, "pacs", **dead("association rejected"))
    page = client.get("/studies/2.25.1").text
    action = re.search(r'action="(/studies/[^"]+/retry)"', page)
    assert action is not None
    for _ in range(2):
        answer = client.post(action.group(1))
        assert (answer.status_code, answer.headers["location"]) == (303, "/studies/2.25.1")
        assert "reported, waiting for delivery" in client.get("/studies/2.25.1").text


def test_list_is_short_where_something_failed(gateway: Site, client: httpx.Client) -> None:
    """The list names the destination, the study page also what it said."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.step(job, Stage.DELIVER, "ehr", **done())
    gateway.step(job, Stage.DELIVER, "pacs", attempts=2, message="connection refused by 127.0.0.1:4242")
    listed, page = client.get("/").text, client.get("/studies/2.25.1").text
    assert "<span>delivered to 1 of 2, trying again: pacs</span>" in listed
    assert "connection refused" not in listed
    assert "<span>delivered to 1 of 2, trying again: pacs</span>" in page
    assert '<td class="words">connection refused by 127.0.0.1:4242</td>' in page


def test_held_says_what_to_do(gateway: Site, client: httpx.Client) -> None:
    """A held delivery is no red alarm, and what must be done stands beside its reason."""
    job = gateway.job(gateway.study(), State.REPORTED)
    message = "research model teeth_panoramic: set analysis.allow_research_models = true to deliver its results"
    gateway.step(job, Stage.DELIVER, "pacs", held=True, message=message)
    listed, page = client.get("/").text, client.get("/studies/2.25.1").text
    assert "<span>held: research model not allowed</span>" in listed
    assert "status-attention" not in listed + page
    to_do = "an administrator must set analysis.allow_research_models = true and restart Dentgate, then press Try again"
    assert f"To do: {to_do}." in page
    assert ">Try again</button>" in page


def test_results_of_several_images_are_told_apart(gateway: Site, client: httpx.Client) -> None:
    """With two images each SR and SEG says which one it belongs to; head and list show the teeth of each."""
    job = gateway.job(gateway.study(instances=2), State.DELIVERED)
    for number, found in enumerate(((36, 46), (11,))):
        gateway.analysis(job, analysis_of(xray(SOPInstanceUID=f"2.25.1.{number}"), found))
    for number in (1, 0):
        gateway.artifact(job, "sr", f"2.25.9{number}", b"\x08\x00UI" + f"2.25.1.{number}".encode() + b"\0")
    gateway.artifact(job, "report", "r", b"{}", "application/fhir+json")
    listed, page = client.get("/").text, client.get("/studies/2.25.1").text
    labels = re.findall(r"download>([^<]+)</a>", page)
    assert labels == [
        "Structured report (DICOM SR), image 2",
        "Structured report (DICOM SR), image 1",
        "Report (FHIR)",
    ]
    assert "2 + 1" in listed
    assert "<dd>2 + 1</dd>" in page
    assert client.get("/api/studies").json()["studies"][0]["teeth_per_image"] == [2, 1]


@pytest.mark.parametrize(
    ("counts", "text"), [((), ""), ((30,), "30"), ((30, 29), "30 + 29"), ((1, 2, 3, 4, 5), "5 images")]
)
def test_teeth_in_words(counts: tuple[int, ...], text: str) -> None:
    """Teeth are counted for each image while there are few of them."""
    assert teeth(counts) == text


def test_what_a_sender_wrote_is_escaped(gateway: Site, client: httpx.Client) -> None:
    """Markup in a header is text on the page, never markup."""
    gateway.study(patient_name="<script>alert(1)</script>", description='"><img src=x>', study_date="<b>")
    for path in ("/", "/studies/2.25.1"):
        page = client.get(path).text
        assert "<script>alert" not in page
        assert "<img src=x>" not in page
        assert "<b>" not in page


@pytest.mark.parametrize("uid", ["1.2.3", "..%2f..%2fetc%2fpasswd", "a", "1" * 65, "1.2%00"])
def test_unknown_study_is_404(client: httpx.Client, uid: str) -> None:
    """What is no study here, or no UID at all, is 404 on pages and API, never a path."""
    assert client.get(f"/studies/{uid}").status_code == 404
    answer = client.get(f"/api/studies/{uid}")
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


def test_docs_work_offline(client: httpx.Client) -> None:
    """The API's description loads nothing from elsewhere."""
    page = client.get("/api/docs").text
    assert "/api/studies/{study_instance_uid}" in page
    assert "http://" not in page
    assert "https://" not in page
    assert client.get("/api/openapi.json").json()["info"]["title"] == "Dentgate"
