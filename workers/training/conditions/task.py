"""The task "conditions": what was done to single teeth of panoramics, and what is wrong with them."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from service.domain.errors import ConfigurationError
from workers.models.conditions import CONDITIONS, LoadedToothConditions, ToothConditions
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.training import metrics
from workers.training.bundles import note_figures, write_card
from workers.training.classifier_report import classifier_page
from workers.training.conditions import fit, measure
from workers.training.conditions.crops import find_teeth, without_surround
from workers.training.conditions.labels import read_films
from workers.training.conditions.measure import MISSED, PROPOSAL, TOOTH, Entry
from workers.training.images.members import member_curves
from workers.training.leakage import Member, find_leakage
from workers.training.readers import MANIFEST, read_rows
from workers.training.report import Block, Prose, Table, write_report
from workers.training.task import Evaluation, Training

_PICTURE = 160  # pixels of a crop in the report
_CAVEATS = (
    "A box states one condition; what else the tooth has is unknown or, where another label would say so, taken as no.",
    "Where not every visible condition is boxed, findings on teeth without a box are not all wrong.",
    "On the films that a bundle's thresholds were fitted on (split val of its training) precision and recall flatter.",
)


class Conditions:
    """Filling, crown, root canal treatment, implant, impaction, destroyed crown; each tooth by itself."""

    name = "conditions"
    purpose = "conditions of single teeth on panoramics, from boxes"

    def train(self, order: Training) -> Path:
        """Train both networks, fit the thresholds, measure; the folder of the bundle. Raises ConfigurationError."""
        if order.backbone or order.frozen:
            message = "task conditions has one network, trained as a whole; leave --backbone and --frozen away"
            raise ConfigurationError(message)
        bundle = fit.train(order)
        figures = _measure(Evaluation(order.data, order.out, "val", bundle), list(_curves(order)))
        note_figures(bundle, _noted(figures))
        write_card(bundle)
        return bundle

    def evaluate(self, order: Evaluation) -> dict[str, Any]:
        """Measure a bundle by the code that serves; ``stress``: without the white around the films."""
        return _measure(order)


def _measure(order: Evaluation, curves: Sequence[Block] = ()) -> dict[str, Any]:
    films = read_films(order.data, order.split)
    if not any(film.boxes for film in films):
        message = f"no film of split {order.split!r} in {order.data / MANIFEST} has a box, so nothing can be measured"
        raise ConfigurationError(message)
    if order.stress:
        films = [without_surround(film) for film in films]
    model = ToothConditions(order.bundle).load("auto")
    started = time.perf_counter()
    cases = find_teeth(films, PanoramicTeeth().load("auto"))
    entries = measure.look(cases, model)
    seconds = (time.perf_counter() - started) / len(films)
    return report(entries, model, order, seconds, curves)


def _curves(order: Training) -> Iterator[Block]:
    """Of both trainings."""
    yield from member_curves(fit.crop_folders(order), "network of the crops")
    yield from member_curves([order.out / fit.OBJECTS], "object network")


def _noted(figures: dict[str, Any]) -> dict[str, Any]:
    """What the metadata and the card of a bundle hold of a report, in short."""
    noted: dict[str, Any] = {"films": figures["films"], "mean AUC": figures["macro"]["auc"]}
    for name, row in figures["served"].items():
        auc = figures["classes"][name]["auc"]["value"]
        noted[name] = f"AUC {auc}, recall {row['recall']}, precision at least {row['precision_at_least']}"
    return noted


def report(
    entries: Sequence[Entry],
    model: LoadedToothConditions,
    order: Evaluation,
    seconds: float,
    curves: Sequence[Block] = (),
) -> dict[str, Any]:
    """Write report.html and report.json; the figures."""
    boxed = [entry for entry in entries if entry.boxed]
    every = [entry for entry in entries if entry.route != PROPOSAL or entry.boxed]
    figures = {
        "boxes": metrics.summarize(measure.outcome(boxed, model)).to_json(),
        "with_unboxed_teeth": metrics.summarize(measure.outcome(every, model)).to_json(),
        "served": measure.served(entries, model),
        "routes": measure.routes(entries),
    }
    facts = {
        "data": f"{order.data.name}, split {order.split}{', surround filled' if order.stress else ''}",
        "weights": model.algorithm.weights_sha256[:16],
        "films": str(len({entry.case.film.name for entry in entries})),
        "seconds a film": f"{seconds:.2f}",
        "counted": "places with a box and a label that is sure; several boxes around one tooth are one place",
    }
    shown = measure.outcome(
        boxed, model, lambda index: boxed[index].case.jaws.crop(boxed[index].judged.place, _PICTURE)[..., 0]
    )
    tables = [
        _table_of_all(figures["with_unboxed_teeth"]),
        _table_of_served(figures["served"]),
        _table_of_routes(figures),
    ]
    rows = read_rows(order.data, ("file", "split", "group"))
    page = classifier_page(
        "Conditions of single teeth",
        shown,
        facts,
        leakage=find_leakage([Member(order.data / row["file"], row["split"], row["group"]) for row in rows]),
        caveats=[*_left_out(model), *_CAVEATS],
        more=[*tables, _reading(), *curves],
    )
    page.figures.update(figures | {"seconds_per_film": round(seconds, 3)})
    write_report(order.out, page)
    return {"headline": page.headline, **facts, **page.figures}


def _left_out(model: LoadedToothConditions) -> Iterator[str]:
    left_out = [kind for kind in CONDITIONS if kind not in model.settings.answers]
    if left_out:
        yield f"The bundle does not look for {', '.join(left_out)}: its training had no example in both parts."


def _table_of_all(figures: dict[str, Any]) -> Table:
    rows = [
        [name, f"{f['positives']} / {f['images']}", *(_with_interval(f[key]) for key in ("auc", "precision", "recall"))]
        for name, f in figures["classes"].items()
    ]
    rows.append(["mean", "", _with_interval(figures["macro"]["auc"]), "", ""])
    title = "The same with the teeth that have no box as counter-examples"
    return Table(title, ["condition", "places with it / all", "AUC", "precision", "recall"], rows, _CAVEATS[1])


def _table_of_served(served: dict[str, dict[str, Any]]) -> Table:
    columns = ("labelled", "looked_at", "found", "wrong", "unlabelled", "recall", "precision_among_labelled",
               "precision_at_least")  # fmt: skip
    rows = [[name, *(figures[column] for column in columns)] for name, figures in served.items()]
    note = (
        "At the shipped thresholds, both routes: labelled = teeth with the condition; looked at = found as a tooth or "
        "proposed; found = got the finding; wrong = findings on teeth labelled otherwise; unlabelled = findings where "
        "nobody put a box; precision at least = if all of these are wrong."
    )
    return Table("What a reader gets", ["condition", *(column.replace("_", " ") for column in columns)], rows, note)


def _table_of_routes(figures: dict[str, Any]) -> Table:
    rows = [
        [name, int(row["boxes"]), *(f"{100 * row[route]:.0f} %" for route in (TOOTH, PROPOSAL, MISSED))]
        for name, row in figures["routes"].items()
    ]
    note = "By label (a question mark: not sure): the tooth model found it, the object network proposed it, or neither."
    return Table(
        "How the model comes to the boxes", ["label", "boxes", "as a tooth", "as a proposal", "not"], rows, note
    )


def _reading() -> Prose:
    text = (
        "The first table asks whether boxed teeth are told apart: the condition against the other conditions.",
        "A box that neither network came to counts there with what the model would say of a crop around it.",
        "In the table of what a reader gets such a tooth is not found.",
    )
    return Prose("How to read this", text)


def _with_interval(figure: dict[str, float | None]) -> str:
    if figure["value"] is None:
        return "-"
    return f"{figure['value']:.3f}" + (
        f" ({figure['low']:.3f} to {figure['high']:.3f})" if figure["low"] is not None else ""
    )


TASK = Conditions()
