"""A task that learns in no time: it remembers which images it saw and writes the reports that a real one writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from workers.training.classifier_report import classifier_page
from workers.training.outcome import Outcome
from workers.training.readers import read_collection
from workers.training.report import Page, write_report
from workers.training.task import Evaluation, Training


class StubTask:
    """Scores are right but for images that it was trained on, which get the wrong answer: reuse would show."""

    name, purpose = "images", "for tests"

    def __init__(self, *, classifier: bool = True) -> None:
        """``classifier``: its reports carry an outcome."""
        self.classifier = classifier
        self.orders: list[Training] = []

    def train(self, order: Training) -> Path:
        """Keep the names of the training images; the report says how near the learning rate is to 0.003."""
        self.orders.append(order)
        bundle = order.out / "bundle"
        (bundle / "configs").mkdir(parents=True, exist_ok=True)
        if not (bundle / "configs" / "metadata.json").exists():
            (bundle / "configs" / "metadata.json").write_text(json.dumps({"training": {"seed": order.seed}}))
        seen = [record.file.name for record in read_collection(order.data).part("train").records]
        (bundle / "seen.json").write_text(json.dumps(seen))
        height = 1 - abs(np.log10(float(order.settings.get("learning_rate", 0.003)) / 0.003))
        figures = {"macro": {"auc": {"value": round(float(height), 4)}}}
        write_report(order.out, Page("stub", "trained", {}, [], (), figures))
        return bundle

    def evaluate(self, order: Evaluation) -> dict[str, Any]:
        """Measure on images that it did not see."""
        assert order.bundle is not None
        seen = set(json.loads((order.bundle / "seen.json").read_text()))
        part = read_collection(order.data).part(order.split)
        names = [record.file.name for record in part.records]
        fresh = np.array([[name not in seen] for name in names])
        scores = np.where(part.truth == fresh, 0.9, 0.1)
        groups = [record.group for record in part.records]
        outcome = Outcome(part.classes, scores, part.truth, groups, names, part.exclusive, (0.5,) * len(part.classes))
        page = classifier_page("stub", outcome, {})
        if not self.classifier:
            page = Page("stub", "measured", {}, [], (), {"score": 0.5 + len(names) / 100, "name": "x"})
        write_report(order.out, page)
        return {"headline": page.headline, **page.figures}
