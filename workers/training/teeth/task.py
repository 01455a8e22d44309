"""The task ``teeth``: teeth on panoramics with FDI numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from service.domain.errors import ConfigurationError
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.training.bundles import note_figures, write_card
from workers.training.checks import check_files
from workers.training.leakage import Leakage, Member, find_leakage
from workers.training.readers import MANIFEST, read_rows
from workers.training.task import Evaluation, Training
from workers.training.teeth.calibrate import calibrate
from workers.training.teeth.cases import PHANTOM_SPLIT
from workers.training.teeth.evaluate import evaluate
from workers.training.teeth.export import PANORAMIC, export_bundle
from workers.training.teeth.fit import fit
from workers.training.teeth.panoramics import check_films, check_labels, read_manifest
from workers.training.teeth.plan import Plan, plan_of
from workers.training.teeth.self_training import number_films

_NOTED = ("images", "teeth", "f1", "precision", "recall", "dice_matched", "right_number_among_matched", "duplicates")


class TeethTask:
    """Outlines and numbers of teeth, from label maps."""

    name = "teeth"
    purpose = "teeth with FDI numbers on panoramics and intra-oral films (label maps with an FDI number per pixel)"

    def train(self, order: Training) -> Path:
        """Train, export, calibrate and measure; the folder of the bundle.

        Writes ``out/model.pt`` (averaged weights), ``out/teeth_panoramic/``, plan.json, log.jsonl, report.json and
        report.html; with the setting ``films`` also numbered/, those of them that the shipped model could number.
        Raises ConfigurationError before the first step where data or order are wrong.
        """
        if order.backbone or order.frozen:
            message = "task teeth has one network, trained as a whole; leave --backbone and --frozen away"
            raise ConfigurationError(message)
        plan = plan_of(order)
        _check(order.data, plan)
        if plan.films and not plan.numbered:
            plan = replace(plan, numbered=str(numbered(order, Path(plan.films))))
        weights = fit(order.data, order.out, plan, device=order.device, start=order.start, resume=order.resume)
        bundle = order.out / PANORAMIC
        export_bundle(weights, plan, bundle, order)
        calibrate(order.data, bundle)
        report = evaluate(
            Evaluation(order.data, order.out, bundle=bundle), order.out / "log.jsonl", leakage_of(order.data, plan)
        )
        figures = {"groups": report["groups"], **{key: report["all"][key] for key in _NOTED}}
        note_figures(bundle, figures | {"f1_interval_95": report["f1_interval_95"]})
        write_card(bundle)
        return bundle

    def evaluate(self, order: Evaluation) -> dict[str, Any]:
        """Measure a bundle on films with label maps, or on phantoms (split "phantom").

        Raises ConfigurationError before the first film where a map is not what it should be; ``tool`` opened them all.
        """
        if order.split != PHANTOM_SPLIT:
            check_labels(read_manifest(order.data, order.split))
        return evaluate(order)


def _check(data: Path, plan: Plan) -> None:
    """All that the training will read; ``checks`` opened the pictures of ``data``. Raises ConfigurationError."""
    for split in ("train", "val"):  # the calibration at the end needs val
        check_labels(read_manifest(data, split))
    if plan.numbered:
        check_films(Path(plan.numbered), "train")
    elif plan.films:
        films = Path(plan.films)
        check_files(films, [row for row in read_rows(films, ("file", "split", "group")) if row["split"] == "train"])


def numbered(order: Training, films: Path) -> Path:
    """Number films by the shipped model; the folder. A run that goes on takes those that are numbered already."""
    out = order.out / "numbered"
    if order.resume and (out / MANIFEST).is_file():
        return out
    if not number_films(films, out, PanoramicTeeth().load(order.device)):
        message = f"of the films in {films} the shipped model was sure of none; train without the setting films"
        raise ConfigurationError(message)
    return out


def leakage_of(data: Path, plan: Plan) -> Leakage:
    """Whether a film of the validation stands among those trained on; numbered films have groups of their own."""
    records = [record for split in ("train", "val") for record in read_manifest(data, split)]
    members = [Member(record.image, record.split, record.group) for record in records]
    others = read_manifest(Path(plan.numbered), "train") if plan.numbered else []
    return find_leakage(members + [Member(other.image, "train", f"numbered {other.group}") for other in others])


TEETH = TeethTask()
