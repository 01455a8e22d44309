"""The task "photos" of ``dentgate train`` and ``evaluate``."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.models.oral_photo import OralPhoto
from workers.training import metrics
from workers.training.bundles import note_figures, write_card
from workers.training.classifier_report import classifier_page
from workers.training.images.members import member_curves
from workers.training.leakage import Member, find_leakage
from workers.training.metrics import Summary
from workers.training.outcome import Outcome
from workers.training.photos.measure import HEALTHY, Colours, Readings, among_findings, calibrate, outcome_of, read
from workers.training.photos.members import bundle_of, member_folders, train_members
from workers.training.photos.pictures import read_photographs, samples_of
from workers.training.photos.stress import blank, other_camera
from workers.training.readers import Collection
from workers.training.report import Block, Prose, Table, write_report
from workers.training.task import Evaluation, Training

_TRAIN, _VAL = "train", "val"
_NOTED = ("headline", "images", "groups", "classes", "macro", "among_findings", "served", "calibration_error")
_SHOWN = ("auc", "average_precision", "precision", "recall", "specificity", "f1")
CAVEATS = (
    "Labels say where a photograph was filed; a finding that is visible but was not filed counts as absent.",
    (
        "Where healthy photographs come from another source, a network may tell them by its style alone: the findings "
        "among themselves are the harder and fairer figure."
    ),
    "Certainties and thresholds were fitted on the validation photographs; precision and recall flatter a little.",
    "Other clinics, cameras and skin colours were not tested unless these photographs hold them.",
)


class Photos:
    """Caries, gingivitis, calculus, ulcers, discoloured and missing teeth on photographs of mouths."""

    name = "photos"
    purpose = "findings on colour photographs of mouths, several for each"

    def train(self, order: Training) -> Path:
        """Train the networks, fit certainties and limits on the validation part, write bundle and report."""
        collection = read_photographs(order.data)
        train, validation = collection.part(_TRAIN), collection.part(_VAL)
        parts = train_members(order, collection, samples_of(train), samples_of(validation))
        bundle = bundle_of(parts, order.out)
        calibrate(validation, bundle)
        curves = member_curves(member_folders(order))
        figures = _measure(OralPhoto(bundle), collection, _VAL, order.out, curves=curves)
        note_figures(bundle, {key: figures[key] for key in _NOTED})
        write_card(bundle)
        return bundle

    def evaluate(self, order: Evaluation) -> dict[str, Any]:
        """Measure a bundle by the code that serves; ``stress``: as another camera would have taken the photographs."""
        collection = read_photographs(order.data)
        return _measure(OralPhoto(order.bundle), collection, order.split, order.out, stress=order.stress)


def _measure(
    photo: OralPhoto,
    collection: Collection,
    split: str,
    out: Path,
    *,
    stress: bool = False,
    curves: Sequence[Block] = (),
) -> dict[str, Any]:
    model, part = photo.load("auto"), collection.part(split)
    started = time.perf_counter()
    readings = read(model, part.records, _other_camera if stress else None)
    seconds = (time.perf_counter() - started) / len(part.records)
    outcome = outcome_of(model, part, readings)
    among = metrics.summarize(among_findings(outcome))
    served = _served(outcome, readings)
    shapes = metrics.summarize(outcome_of(model, part, read(model, part.records, lambda colour, _: blank(colour))))
    facts = {
        "data": f"{collection.folder.name}, split {split}{', as by another camera' if stress else ''}",
        "weights": model.algorithm.weights_sha256[:16],
        "seconds a photograph": f"{seconds:.3f}",
        "findings among themselves": f"macro AUC {among.macro['auc']}, {among.images} images of {among.groups} groups",
        "by shape and mean colour alone": f"macro AUC {shapes.macro['auc']}",
        "refused": f"{served['refused']} of {len(part.records)}",
    }
    page = classifier_page(
        "Findings on photographs of mouths",
        outcome,
        facts,
        leakage=find_leakage([Member(r.file, r.split, r.group) for r in collection.records]),
        caveats=CAVEATS,
        more=[
            _table("The findings among themselves, without healthy photographs", among),
            _prose(served),
            *curves,
        ],
    )
    page.figures.update(
        {"among_findings": among.to_json(), "shape_and_colour_alone": shapes.macro["auc"].value, "served": served}
    )
    write_report(out, page)
    return {"headline": page.headline, **facts, **page.figures}


def _other_camera(colour: Colours, number: int) -> Colours:
    return other_camera(colour, np.random.default_rng(number))


def _served(outcome: Outcome, readings: Readings) -> dict[str, Any]:
    """What a user gets: how many are refused, and of the healthy ones how many come without any finding."""
    read_on = np.array([not reason for reason in readings.refusals])
    kinds = [k for k, name in enumerate(outcome.classes) if name != HEALTHY]
    said = outcome.said()[:, kinds].any(1)
    ill = (outcome.truth[:, kinds] == 1).any(1)
    healthy = ~ill & read_on
    return {
        "refused": int((~read_on).sum()),
        "reasons": sorted({reason for reason in readings.refusals if reason}),
        "healthy_read": int(healthy.sum()),
        "healthy_without_finding": int((healthy & ~said).sum()),
        "with_finding_read": int((ill & read_on).sum()),
        "with_finding_any_said": int((ill & read_on & said).sum()),
    }


def _prose(served: dict[str, Any]) -> Prose:
    text = (
        f"Refused: {served['refused']} ({', '.join(served['reasons']) or 'none'}). Of {served['healthy_read']} without "
        f"a filed finding that were read, {served['healthy_without_finding']} come without any; of "
        f"{served['with_finding_read']} with one, {served['with_finding_any_said']} come with at least one."
    )
    return Prose("What a user gets at the thresholds", [text])


def _table(title: str, summary: Summary) -> Table:
    rows = [
        [
            c.name,
            f"{c.positives} / {c.images}",
            f"{c.positive_groups} / {c.groups}",
            *(str(c.figures[k]) for k in _SHOWN),
        ]
        for c in summary.classes
    ]
    rows.append(["mean of the classes", "", "", *(str(summary.macro[key]) for key in _SHOWN)])
    columns = ["finding", "images", "groups", *(key.replace("_", " ") for key in _SHOWN)]
    return Table(title, columns, rows, "In brackets: the 95 % interval over groups.")
