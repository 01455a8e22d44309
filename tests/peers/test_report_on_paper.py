"""The report of a training as a browser prints it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ohif import ARGUMENTS, CHROMIUM
from tests.unit.workers.training.test_report import outcome_of
from workers.training.classifier_report import classifier_page
from workers.training.report import write_report


def test_the_whole_main_table_is_printed(tmp_path: Path) -> None:
    """What scrolls on a narrow screen cannot be scrolled on paper: the last columns, F1 and Brier score, are there."""
    reader = shutil.which("pdftotext")
    if not CHROMIUM.is_file() or reader is None:
        pytest.skip("chromium or pdftotext (poppler-utils) is not installed")
    write_report(tmp_path, classifier_page("Task images", outcome_of(), {}))
    order = [str(CHROMIUM), "--headless", *ARGUMENTS, f"--user-data-dir={tmp_path / 'profile'}"]
    order += ["--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'report.pdf'}", str(tmp_path / "report.html")]
    subprocess.run(order, check=True, capture_output=True, timeout=120)
    order = [reader, "-layout", str(tmp_path / "report.pdf"), "-"]
    printed = subprocess.run(order, check=True, capture_output=True, text=True).stdout
    (columns,) = [line.split() for line in printed.splitlines() if line.strip().startswith("class ")]
    assert columns[-2:] == ["F1", "Brier"]
