"""The review of a study through the API, and the line about it in JSON and on the page."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.domain.finding import Analysis
from service.domain.job import Stage, State
from tests.builders import analysis_of, xray
from tests.unit.web.rows import Site, done, serving, site

PATH = "/api/studies/2.25.1/review"
ANNA = {"name": "Muster^Anna^^Dr.", "identifier": "L-7", "organization": "Praxis am Tor"}
ANALYSIS = analysis_of(xray(SOPInstanceUID="2.25.1.0"), (36, 37, 46), flags={46: ("number-uncertain",)})


def reported(gateway: Site, *analyses: Analysis, names: tuple[str, ...] = ()) -> int:
    """A study that the models have reported; its job."""
    job = gateway.job(gateway.study(), State.DELIVERED)
    for analysis in analyses or (ANALYSIS,):
        gateway.analysis(job, analysis)
    if names:
        gateway.artifact(job, "reported", "", json.dumps(names).encode(), "application/json")
    gateway.step(job, Stage.REPORT, **done())
    return job


def ask(client: httpx.Client, version: str = "1.0", key: str = "k1", **more: Any) -> httpx.Response:  # noqa: ANN401 - JSON
    """A request of Anna."""
    body = {"key": key, "version": version, "reviewer": ANNA, **more}
    return client.post(PATH, json={name: value for name, value in body.items() if value is not None})


def ids(client: httpx.Client) -> dict[str, str]:
    """Label -> id of each finding."""
    return {each["label"]: each["id"] for each in client.get(PATH).json()["findings"]}


def test_what_is_to_be_reviewed(gateway: Site, client: httpx.Client) -> None:
    """Every finding with a stable id, what the AI said of it, its state, and the version to be named."""
    reported(gateway)
    answer = client.get(PATH)
    state = answer.json()
    assert (state["version"], answer.headers["etag"]) == ("1.0", '"1.0"')
    assert (state["standing"], state["report"], state["revision"]) == ("not reviewed", "preliminary", 1)
    finding = state["findings"][0]
    assert finding["id"].startswith("2.25.")
    assert (finding["label"], finding["status"], finding["human"], finding["by"]) == ("FDI36", "pending", None, "")
    assert finding["ai"] | {"box": None} == {
        "kind": "tooth", "words": "tooth", "tooth": 36, "site": "", "certainty": 0.97, "box": None
    }  # fmt: skip
    assert client.get("/api/studies/2.25.9/review").status_code == 404
    assert client.get("/api/studies/x/review").status_code == 404


def test_a_whole_review(gateway: Site, client: httpx.Client) -> None:
    """Accept, change, reject, add, then sign: the findings say what became of them, the history who did what."""
    job = reported(gateway)
    known = ids(client)
    image = ANALYSIS.sop_instance_uid
    actions = [
        {"do": "accept", "finding": known["FDI46"]},
        {"do": "change", "finding": known["FDI37"], "tooth": 38, "note": "third molar"},
        {"do": "reject", "finding": known["FDI36"]},
        {"do": "add", "image": image, "kind": "caries", "tooth": 46, "box": [10, 10, 30, 40]},
    ]
    answer = ask(client, actions=actions)
    assert answer.status_code == 201, answer.text
    state = answer.json()
    assert (state["version"], state["standing"]) == ("1.1", "in review")
    said = {
        each["id"]: (each["status"], each["label"], (each["human"] or {}).get("tooth")) for each in state["findings"]
    }
    assert said[known["FDI46"]] == ("accepted", "FDI46", None)
    assert said[known["FDI37"]] == ("changed", "FDI38", 38)
    assert said[known["FDI36"]] == ("rejected", "FDI36", None)
    added = next(each for each in state["findings"] if each["ai"] is None)
    assert (added["status"], added["human"]["box"], added["by"]) == ("added", [10, 10, 30, 40], "Dr. Anna Muster")
    assert state["history"][0]["actions"][1]["note"] == "third molar"
    signed = ask(client, "1.1", "k2", conclusion="sign").json()
    assert (signed["standing"], signed["report"], signed["signed_by"]) == ("signed", "final", "Dr. Anna Muster")
    assert [entry["conclusion"] for entry in signed["history"]] == ["open", "sign"]
    study = client.get("/api/studies/2.25.1").json()
    assert study["study"]["reviewed"].startswith("signed by Dr. Anna Muster on 20")
    assert [(each["revision"], each["state"]) for each in study["jobs"]] == [(2, "analyzed"), (1, "delivered")]
    assert study["jobs"][1]["id"] == job
    page = client.get("/studies/2.25.1").text
    assert "Signed by Dr. Anna Muster on" in page
    assert "not verified by a dentist" not in page
    assert set(re.findall(r'data-tooth="(\d+)"', page)) == {"38", "46"}
    assert "rejected by the reviewer: tooth 36." in page
    assert 'aria-label="Tooth 38, changed by the reviewer"' in page
    assert re.search(r"<td>caries</td>\s*<td[^>]*>added by the reviewer</td>", page)
    assert "what stands after the review" in page
    assert "<dt>Other findings</dt><dd>caries</dd>" in page
    assert "<dt>Teeth found</dt><dd>2</dd>" in page
    assert '<span class="sub">signed by Dr. Anna Muster on 20' in client.get("/").text


def test_before_anybody_reviewed(gateway: Site, client: httpx.Client) -> None:
    """The JSON and the page say that nobody has."""
    reported(gateway)
    assert client.get("/api/studies").json()["studies"][0]["reviewed"] == "not reviewed"
    page = client.get("/studies/2.25.1").text
    assert "<dd>not reviewed</dd>" in page
    assert "not verified by a dentist" in page


def test_who_was_second_is_told_the_version(gateway: Site, client: httpx.Client) -> None:
    """409 by field, 412 by If-Match, both with the version that stands; 428 where none was named."""
    reported(gateway)
    reject = [{"do": "reject", "finding": ids(client)["FDI36"]}]
    assert ask(client, actions=reject).status_code == 201
    late = ask(client, key="k2", actions=reject)
    assert (late.status_code, late.json()["version"], late.headers["etag"]) == (409, "1.1", '"1.1"')
    body = {"key": "k3", "reviewer": ANNA, "conclusion": "sign"}
    assert client.post(PATH, json=body, headers={"If-Match": '"1.0"'}).status_code == 412
    assert client.post(PATH, json=body).status_code == 428
    assert client.post(PATH, json=body, headers={"If-Match": '"1.1"'}).status_code == 201


def test_the_same_request_again_is_the_same(gateway: Site, client: httpx.Client) -> None:
    """A repeated request answers 200 and does nothing, also after others came; its key is good for nothing else."""
    reported(gateway)
    reject = [{"do": "reject", "finding": ids(client)["FDI36"]}]
    assert ask(client, actions=reject).status_code == 201
    assert ask(client, "1.1", "k2", conclusion="sign").status_code == 201
    again = ask(client, actions=reject)
    assert (again.status_code, len(again.json()["history"])) == (200, 2)
    other = ask(client, "1.2", actions=[{"do": "accept", "finding": ids(client)["FDI46"]}])
    assert (other.status_code, "another request" in other.json()["error"]) == (400, True)


def test_signing_twice_and_after_a_withdrawal(gateway: Site, client: httpx.Client) -> None:
    """What is signed is not signed again without a change; a withdrawal needs a reason and ends the review."""
    reported(gateway)
    assert ask(client, conclusion="sign").status_code == 201
    assert ask(client, "1.1", "k2", conclusion="sign").status_code == 409
    assert ask(client, "1.1", "k3", conclusion="withdraw").status_code == 400
    gone = ask(client, "1.1", "k4", conclusion="withdraw", reason="wrong patient").json()
    assert (gone["standing"], gone["report"]) == ("withdrawn", "entered-in-error")
    assert ask(client, "1.2", "k5", conclusion="sign").status_code == 409
    assert client.get("/api/studies/2.25.1").json()["study"]["reviewed"].startswith("withdrawn by Dr. Anna Muster")
    page, listed = client.get("/studies/2.25.1").text, client.get("/").text
    assert re.search(r"Withdrawn by Dr. Anna Muster on [\d-]+: wrong patient\.</strong>", page)
    assert "<dt>Teeth found</dt>" not in page
    assert 'data-label="AI found">withdrawn</td>' in listed
    assert '<span class="sub">withdrawn by Dr. Anna Muster' in listed


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"reviewer": {"name": " "}}, 422),
        ({"reviewer": {"name": "A\\B"}}, 422),
        ({"reviewer": {"name": "A\nB"}}, 422),
        ({"reviewer": {"name": "^Anna"}}, 422),
        ({"reviewer": {"name": "a^b^c^d^e^f"}}, 422),
        ({"reviewer": None}, 422),
        ({"key": "with space"}, 422),
        ({"conclusion": "approve"}, 422),
        ({"surprise": 1}, 422),
        ({"actions": [{"do": "reject"}] * 501}, 422),
        ({"actions": [{"do": "add", "box": [1, 2, 3]}]}, 422),
        ({"actions": [{"do": "reject", "finding": "2.25.4"}]}, 400),
        ({"actions": [{"do": "add", "image": "2.25.1.0", "kind": "x" * 128}]}, 400),
        ({"actions": []}, 400),
    ],
)
def test_bad_requests_are_told_what_is_wrong(
    gateway: Site, client: httpx.Client, more: dict[str, Any], status: int
) -> None:
    """422 for a wrong form, 400 for nonsense, with words; nothing is recorded."""
    reported(gateway)
    answer = ask(client, **more)
    assert (answer.status_code, bool(answer.json()["error"])) == (status, True)
    assert client.get(PATH).json()["version"] == "1.0"


def test_only_what_was_reported_can_be_reviewed(gateway: Site, client: httpx.Client) -> None:
    """Findings of a model that the site does not allow, and so never left, are not signed unseen."""
    reported(gateway, names=("another_model",))
    assert client.get(PATH).json()["findings"] == []
    assert "no result" in ask(client, conclusion="sign").json()["error"]


def test_newer_findings_say_what_to_do(gateway: Site, client: httpx.Client) -> None:
    """A delivery that is held for a review tells a person so, on the page and in the list."""
    job = reported(gateway)
    message = "the report that a person signed stays; the newer AI findings wait for review"
    gateway.step(job, Stage.DELIVER, "ehr", held=True, message=message)
    assert "a person must review the newer findings and sign" in client.get("/studies/2.25.1").text
    status = client.get("/api/studies").json()["studies"][0]["status"]
    assert status["short"] == "held: newer findings wait for review"


def test_nothing_there_yet(gateway: Site, client: httpx.Client) -> None:
    """A study that is being analyzed has an empty review."""
    gateway.job(gateway.study(), State.RECEIVED)
    assert client.get(PATH).json()["version"] == "0.0"
    assert ask(client, "0.0", conclusion="sign").status_code == 400


def test_who_signs_is_who_the_proxy_says(tmp_path: Path) -> None:
    """With web.user_header nobody signs in another's name, and a name that no report can hold is refused."""
    made = site(tmp_path, web={"user_header": "X-Remote-User"})
    reported(made)
    with serving(made.app()) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        assert ask(client, conclusion="sign").status_code == 403
        client.headers["X-Remote-User"] = "^nobody"
        assert ask(client, conclusion="sign").status_code == 403
        client.headers["X-Remote-User"] = "Jürgen Beispiel"  # as UTF-8
        signed = ask(client, conclusion="sign")
        assert (signed.status_code, signed.json()["signed_by"]) == (201, "Jürgen Beispiel")
        assert [each["by"] for each in signed.json()["history"]] == ["Jürgen Beispiel"]
        assert "Muster" not in signed.text
        assert "L-7" not in signed.text
    made.db.close()
