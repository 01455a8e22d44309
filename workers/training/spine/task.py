"""The task ``spine``: vertebrae and Cobb angles."""

from pathlib import Path
from typing import Any

from service.domain.errors import ConfigurationError
from workers.training.bundles import note_figures, write_card
from workers.training.leakage import Member, find_leakage
from workers.training.settings import with_settings
from workers.training.spine.calibrate import calibrate
from workers.training.spine.evaluate import evaluate
from workers.training.spine.export import export_bundle
from workers.training.spine.films import read_rows
from workers.training.spine.fit import fit
from workers.training.spine.plan import Plan
from workers.training.task import Evaluation, Training

_NOTED = (  # of a report, in a bundle and on its card
    "films", "groups", "refused", "type_agreement", "normal_scoliosis_agreement", "single_double_agreement",
    "auc_normal_scoliosis", "smape_two", "cobb_error_major",
)  # fmt: skip


class SpineTask:
    """Corners of vertebrae on spine films, from corner files."""

    name = "spine"
    purpose = "vertebrae T1 to L5, Cobb angles and type of curve on spine films (corner files)"

    def train(self, order: Training) -> Path:
        """Train, export, calibrate and measure; the folder of the bundle.

        Raises:
            ConfigurationError: the order or the data are not what they should be; before the first step.
        """
        plan = plan_of(order)
        if order.backbone or order.frozen:
            message = "task spine has one network, trained as a whole; leave --backbone and --frozen away"
            raise ConfigurationError(message)
        weights = fit(order.data, order.out, plan, device=order.device, start=order.start, resume=order.resume)
        bundle = order.out / "spine_landmarks"
        export_bundle(weights, plan, bundle, order)
        calibrate(order.data, bundle)
        rows = [(split, row) for split in ("train", "val") for row in read_rows(order.data, split)]
        leakage = find_leakage([Member(order.data / row["file"], split, row["group"]) for split, row in rows])
        report = evaluate(Evaluation(order.data, order.out, bundle=bundle), order.out / "log.jsonl", leakage)
        note_figures(bundle, {key: report[key] for key in _NOTED if report[key] is not None})
        write_card(bundle)
        return bundle

    def evaluate(self, order: Evaluation) -> dict[str, Any]:
        """Measure a bundle on films with corners, or with labels alone."""
        return evaluate(order)


def plan_of(order: Training) -> Plan:
    """The plan of an order. Raises ConfigurationError for a setting that it does not have."""
    plan = Plan(minutes=order.minutes, seed=order.seed, threads=order.threads)
    return with_settings(plan, order.settings, "spine")


SPINE = SpineTask()
