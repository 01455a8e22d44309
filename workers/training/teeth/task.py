"""The task ``teeth``: teeth on panoramics with FDI numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from service.domain.errors import ConfigurationError
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.training.task import Evaluation, Training
from workers.training.teeth.calibrate import calibrate
from workers.training.teeth.evaluate import evaluate
from workers.training.teeth.export import export_bundle
from workers.training.teeth.fit import fit
from workers.training.teeth.panoramics import read_manifest
from workers.training.teeth.plan import plan_of
from workers.training.teeth.self_training import number_films

_VERSION = "0.0.0"  # of a bundle that nobody has released


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
        read_manifest(order.data, "val")  # the calibration at the end needs it
        if plan.films and not plan.numbered:
            number_films(Path(plan.films), order.out / "numbered", PanoramicTeeth().load(order.device))
            plan = replace(plan, numbered=str(order.out / "numbered"))
        weights = fit(order.data, order.out, plan, device=order.device, start=order.start, resume=order.resume)
        bundle = order.out / "teeth_panoramic"
        export_bundle(weights, plan, bundle, _VERSION, {})
        calibrate(order.data, bundle)
        evaluate(Evaluation(order.data, order.out, bundle=bundle))
        return bundle

    def evaluate(self, order: Evaluation) -> dict[str, Any]:
        """Measure a bundle on films with label maps, or on phantoms (split "phantom")."""
        return evaluate(order)


TEETH = TeethTask()
