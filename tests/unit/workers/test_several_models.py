"""Several models on one image, refusals by the pixels, and research models that are allowed by name."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from service.domain.errors import Declined
from service.domain.finding import Algorithm
from service.storage import get
from tests.bench import PANORAMIC, Bench, allowing
from tests.builders import IO, as_bytes, xray
from workers.models import LoadedModel, Verdict
from workers.pixels import Image
from workers.regions import Detection


@dataclass
class Drawn:
    """A model for tests: what it says is given; it remembers what it was given."""

    name: str
    kind: str
    accepts: bool = True
    declines: str = ""
    version: str = "1"
    sees: bool = True
    boxes: tuple[tuple[int, int, int, int], ...] = ((10, 10, 60, 80),)
    seen_before: tuple[Detection, ...] = ()
    runs: int = 0

    @property
    def looks_for(self) -> tuple[str, ...]:
        """One kind."""
        return (self.kind,)

    def __post_init__(self) -> None:
        """Its algorithm is itself."""
        self.algorithm = Algorithm(self.name, self.version, "cd" * 32, "Test", research=True)

    def judge(self, header: Dataset) -> Verdict:
        """As told."""
        return Verdict(self.accepts, f"{self.name} {'takes' if self.accepts else 'refuses'} {header.Modality}")

    def load(self, _device: str) -> LoadedModel:
        """It needs no weights."""
        return self

    def analyze(self, _image: Image, before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """Its boxes, or a refusal."""
        self.seen_before = tuple(before)
        self.runs += 1
        if self.declines:
            raise Declined(self.declines)
        return tuple(Detection(self.kind, 36 + n, 0.9, box) for n, box in enumerate(self.boxes)) if self.sees else ()


def drawn(bench: Callable[..., Bench], *models: Drawn, settings: str = "") -> Bench:
    """A bench with these models."""
    made = bench(settings)
    made.context = replace(made.context, models=lambda: models, load=lambda model: model.load("cpu"))
    return made


def stored(made: Bench, kind: str) -> list[Any]:
    """Artifacts of a kind as JSON, in the order in which they were made."""
    return [json.loads(get(made.services.storage, each.storage_key)) for each in made.artifacts(kind)]


def test_every_model_that_fits_runs_and_knows_what_came_before(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """Models run in their order; each gets what those before it saw; every verdict is kept with its reason."""
    models = (Drawn("first", "tooth"), Drawn("other", "fracture", accepts=False), Drawn("second", "filling"))
    made = drawn(bench, *models)
    made.receive(as_bytes(xray(PANORAMIC)))
    made.work()
    assert made.job().state == "delivered"
    assert [each["algorithm"]["name"] for each in stored(made, "analysis")] == ["first", "second"]
    assert models[0].seen_before == ()
    assert [detection.kind for detection in models[2].seen_before] == ["tooth"]
    (choices,) = stored(made, "choices")
    assert [(choice["model"], choice["accepted"]) for choice in choices] == [
        ("first", True),
        ("other", False),
        ("second", True),
    ]
    assert choices[1]["reason"] == "other refuses PX"
    assert made.job().reason == ""
    names = sorted(path.name.split("-")[0] for path in (tmp_path / "out").rglob("*.*"))
    assert names.count("sr") == 2
    assert names.count("report") == 1  # both models read one image: one report


def test_a_model_that_declines_is_a_result_that_says_so(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """Declined by the pixels: the reason stands in the analysis, the choices, the job and what is delivered."""
    made = drawn(bench, Drawn("first", "tooth", declines="the arch is cut off"), Drawn("second", "filling"))
    made.receive(as_bytes(xray(PANORAMIC)))
    made.work()
    assert made.job().state == "delivered"
    assert "first: the arch is cut off" in made.job().reason
    refused, read = stored(made, "analysis")
    assert (refused["refused"], refused["findings"], read["refused"]) == ("the arch is cut off", [], "")
    assert stored(made, "choices")[0][-1] == {"model": "first", "accepted": False, "reason": "the arch is cut off"}
    (report,) = (path for path in (tmp_path / "out").rglob("report-*"))
    assert "Not read for tooth numbering: the arch is cut off; tooth 36: filling" in report.read_text()


def test_conditions_of_teeth_need_teeth(bench: Callable[..., Bench]) -> None:
    """Where no tooth was found, "no filling found" would be a lie: it says that nothing could be judged."""
    made = drawn(bench, Drawn("first", "tooth", declines="blurred"), Drawn("second", "filling", sees=False))
    made.receive(as_bytes(xray(PANORAMIC)))
    made.work()
    assert "no teeth were found" in stored(made, "analysis")[1]["refused"]


def test_no_teeth_found_is_never_a_result(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """A hand sent as a panoramic, and jaws without teeth: the report says that it was not read, and counts no teeth."""
    made = drawn(bench, Drawn("first", "tooth", sees=False), Drawn("second", "filling", sees=False))
    made.receive(as_bytes(xray(PANORAMIC)))
    made.work()
    assert made.job().state == "delivered"
    assert all(each["refused"] for each in stored(made, "analysis"))
    (report,) = (path for path in (tmp_path / "out").rglob("report-*"))
    assert "Not read for tooth numbering: no teeth are seen in it" in report.read_text()
    assert "no teeth found" not in report.read_text().casefold()


def test_a_panoramic_by_description_is_asked_for_its_arch_too(bench: Callable[..., Bench]) -> None:
    """Devices send panoramics as DX: what is cut off is refused there as well; of an intra-oral film it is usual."""
    boxes = ((0, 10, 30, 80), (0, 100, 30, 180), (10, 0, 60, 80))
    made = drawn(bench, Drawn("first", "tooth", boxes=boxes))
    made.receive(as_bytes(xray(PANORAMIC, modality="DX", seed="pan", SeriesDescription="Panoramic")))
    made.work()
    assert "cut off" in stored(made, "analysis")[0]["refused"]
    made.receive(as_bytes(xray(PANORAMIC, modality="IO", sop_class=IO, seed="film")))
    made.work()
    assert stored(made, "analysis")[1]["refused"] == ""


def test_a_panoramic_that_cuts_off_the_arch_is_not_read(bench: Callable[..., Bench]) -> None:
    """Three teeth at the edge: the numbering is refused with that reason; one: a note for the reader."""
    cut = Drawn("first", "tooth", boxes=((0, 10, 30, 80), (0, 100, 30, 180), (10, 0, 60, 80)))
    made = drawn(bench, cut)
    made.receive(as_bytes(xray(PANORAMIC)))
    made.work()
    assert "cut off" in stored(made, "analysis")[0]["refused"]
    cut.boxes = cut.boxes[:1]
    made.receive(as_bytes(xray(PANORAMIC, seed="next")))
    made.work()
    assert any("edge of the image" in note for note in stored(made, "analysis")[1]["notes"])


def test_what_is_cut_off_is_not_said_to_be_missing(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """A panoramic with a tooth at its edge: the report counts the teeth and names no gaps; a whole one names them."""
    reports = []
    for seed, box in (("cut", (0, 10, 30, 80)), ("whole", (10, 10, 30, 80))):
        made = drawn(bench, Drawn("first", "tooth", boxes=(box,)), settings=allowing(tmp_path / seed))
        made.receive(as_bytes(xray(PANORAMIC, seed=seed)))
        made.work()
        (report,) = (path for path in (tmp_path / seed).rglob("report-*"))
        reports.append(report.read_text())
    cut, whole = reports
    assert "1 tooth found; " in cut
    assert "not found" not in cut
    assert "arch may be cut off" in cut
    assert "not found: 18, " in whole or "not found: 11, " in whole


def test_the_gate_keeps_what_nothing_can_be_seen_in_from_the_models(bench: Callable[..., Bench]) -> None:
    """A black image reaches no model; the result says that it was not read and why, in one analysis."""
    model = Drawn("first", "tooth")
    made = drawn(bench, model)
    made.receive(as_bytes(xray(np.zeros_like(PANORAMIC), WindowCenter=None, WindowWidth=None)))
    made.work()
    assert model.runs == 0
    assert made.job().state == "delivered"
    (analysis,) = stored(made, "analysis")
    assert (analysis["algorithm"]["name"], analysis["looks_for"]) == ("image_gate", ["tooth"])
    assert analysis["refused"]
    assert len(made.artifacts("sr")) == len(made.artifacts("report")) == 1
    assert not made.artifacts("seg")


def test_a_new_model_leaves_the_results_of_the_others_as_they_are(bench: Callable[..., Bench]) -> None:
    """A late image after a second model was added: only that model's analysis of the first image is new."""
    first, second = Drawn("first", "tooth"), Drawn("second", "filling")
    made = drawn(bench, first)
    ds = xray(PANORAMIC, seed="a")
    made.receive(as_bytes(ds))
    made.work()
    made.context = replace(made.context, models=lambda: (first, second))
    made.receive(as_bytes(xray(PANORAMIC, seed="b", StudyInstanceUID=ds.StudyInstanceUID)))
    made.work()
    analyses = made.artifacts("analysis")
    assert [each.name.rpartition("/")[2] for each in analyses] == ["first", "first", "second", "first", "second"]
    assert analyses[0].storage_key == analyses[1].storage_key
    assert second.seen_before  # although the first model's analysis was kept
    before, after = ({each.name: each.sha256 for each in made.artifacts("sr") if each.job_id == job} for job in (1, 2))
    assert before.items() <= after.items()
    assert len(after) == 4


def test_other_tooth_weights_make_the_conditions_new_too(bench: Callable[..., Bench]) -> None:
    """A late image after the tooth model changed: conditions that stood on its old numbers are judged anew."""
    teeth, fillings = Drawn("first", "tooth"), Drawn("second", "filling")
    made = drawn(bench, teeth, fillings)
    ds = xray(PANORAMIC, seed="a")
    made.receive(as_bytes(ds))
    made.work()
    teeth.algorithm = replace(teeth.algorithm, version="2")
    made.receive(as_bytes(xray(PANORAMIC, seed="b", StudyInstanceUID=ds.StudyInstanceUID)))
    made.work()
    of_first_image = [each for each in made.artifacts("analysis") if each.name.startswith(f"{ds.SOPInstanceUID}/")]
    assert [each.name.rpartition("/")[2] for each in of_first_image] == ["first", "second", "first", "second"]
    assert of_first_image[0].storage_key != of_first_image[2].storage_key
    assert of_first_image[1].storage_key != of_first_image[3].storage_key


def test_research_models_are_allowed_by_name(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """A model that the list does not name stays in the pages: nothing of it is in what leaves."""
    made = drawn(
        bench,
        Drawn("first", "tooth"),
        Drawn("second", "filling"),
        settings=allowing(tmp_path / "out", allow='["first"]'),
    )
    made.receive(as_bytes(xray(PANORAMIC)))
    made.work()
    assert made.job().state == "delivered"
    assert len(stored(made, "analysis")) == 2
    files = [path for path in (tmp_path / "out").rglob("*.*") if path.is_file()]
    assert sorted(path.name.split("-")[0] for path in files) == ["report", "sr"]
    assert not any(b"second" in path.read_bytes() for path in files)


def test_no_allowed_model_holds_everything(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """A list that names none of the models of a study holds its delivery; the message names one."""
    made = drawn(bench, Drawn("first", "tooth"), settings=allowing(tmp_path / "out", allow='["another"]'))
    made.receive(as_bytes(xray(PANORAMIC)))
    made.work()
    assert made.rows()[-1].held
    assert "research model first" in made.rows()[-1].message
    assert made.artifacts("sr")
