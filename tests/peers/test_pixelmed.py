"""The reports before PixelMed's validator, the only one that knows the templates (TID 1500). Half a minute for each."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from service.domain.codes import FINDINGS
from service.domain.finding import Analysis, Finding, Measurement, Region
from service.results import WRITERS
from tests.builders import analysis_of, ellipse, header_of, runs_of, xray
from tests.subjects import subject_of
from tests.validators import save, tool

BOX = (30, 40, 90, 120)
REGION = Region(BOX, runs_of(ellipse(BOX)))
CURVE = Finding(
    "scoliosis", None, 0.9, REGION, ("double-curve", "level-uncertain"), "spine", (Measurement("cobb-angle", 34.2),)
)
#: Java 17 stops the validator's stylesheets at its own limits otherwise (JAXP0801003).
JAVA = ("-Xmx3g", *(f"-Djdk.xml.xpath{name}Limit=0" for name in ("TotalOp", "ExprOp", "ExprGrp")))
JAR = Path("/usr/share/java/pixelmed.jar")


def analysis(form: str) -> Analysis:
    """What was found, for each form of report that we write."""
    plain = analysis_of(header_of(xray(seed=form)), (36, 46), flags={36: ("number-uncertain",)})
    nothing = replace(plain, findings=())
    kinds = [kind for kind, codes in FINDINGS.items() if codes.site == "jaw"]
    photo = tuple(Finding(kind, None, 0.7) for kind, codes in FINDINGS.items() if codes.site == "mouth")
    return {
        "teeth": plain,
        "conditions": replace(plain, findings=tuple(Finding(kind, 36, 0.8, REGION) for kind in kinds)),
        "curve": replace(nothing, findings=(CURVE,), looks_for=("scoliosis", "vertebra")),
        "photo": replace(nothing, findings=photo, looks_for=("caries",)),
        "nothing": nothing,
        "not-read": replace(nothing, refused="the image is too dark"),
    }[form]


#: Every form as measurement report; the others where they say something of their own, or are of another class.
REPORTS = [
    *(("sr", form) for form in ("teeth", "conditions", "curve", "photo", "nothing", "not-read")),
    *(("sr-text", form) for form in ("photo", "nothing", "not-read")),
    *(("sr-comprehensive", form) for form in ("teeth", "nothing")),
]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("kind", "form"), REPORTS)
def test_pixelmed_finds_no_error(kind: str, form: str, tmp_path: Path) -> None:
    """No error in any report of any form, and the validator came to its end."""
    if not JAR.is_file():
        pytest.skip("PixelMed is not installed (apt install pixelmed-apps)")
    subject = subject_of(xray(seed=form), analysis(form))
    for number, result in enumerate(WRITERS[kind](subject)):
        path = save(tmp_path, f"{kind}-{number}", result.content)
        done = subprocess.run(
            [tool("java"), *JAVA, "-cp", str(JAR), "com.pixelmed.validate.DicomSRValidator", str(path)],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=1500,
            check=False,
        )
        assert "IOD validation complete" in done.stdout, done.stdout[-2000:]
        assert [line for line in done.stdout.splitlines() if line.startswith("Error")] == []
