"""Short words that are drawn or listed beside a finding."""

from service.domain.codes import FINDINGS, MEASUREMENTS
from service.domain.finding import Finding

UNCERTAIN = "number-uncertain"


def finding_name(finding: Finding) -> str:
    """What it is, in a word or two: "Caries", "Root canal treated"."""
    if finding.kind in FINDINGS and finding.kind != "tooth":
        return finding.kind.rpartition(":")[2].replace("-", " ").capitalize()
    return "Tooth"


def site_name(finding: Finding) -> str:
    """Where it is: the FDI number, "T5-T11"; empty for the whole image."""
    return str(finding.tooth) if finding.tooth is not None else finding.site


def finding_label(finding: Finding) -> str:
    """What stands beside it in a picture: "36" (with "?" if uncertain), "36 Caries", "Scoliosis T5-T11 34 deg"."""
    where = site_name(finding)
    if finding.kind == "tooth":
        return (where or "tooth") + ("?" if UNCERTAIN in finding.flags else "")
    parts = [where, finding_name(finding)] if finding.tooth is not None else [finding_name(finding), where]
    return " ".join(part for part in (*parts, *measured(finding)) if part)


def sureness(finding: Finding) -> list[str]:
    """How certain the algorithm is: "82 %"; nothing where a person says so."""
    return [] if finding.by_person else [f"{round(finding.certainty * 100, 1):.0f} %"]


def measured(finding: Finding) -> list[str]:
    """Its measurements with their units: "34.2 deg"."""
    return [f"{each.value:.1f} {MEASUREMENTS[each.kind].unit.value}" for each in finding.measurements]
