"""Short words that are drawn or listed beside a finding."""

from service.domain import words
from service.domain.codes import FINDINGS
from service.domain.finding import UNCERTAIN, Finding


def finding_name(finding: Finding) -> str:
    """What it is, in a few words: "Caries", "Root-canal treated"."""
    word = words.kind_word(finding.kind) if finding.kind in FINDINGS else "tooth"
    return word[:1].upper() + word[1:]


def site_name(finding: Finding) -> str:
    """Where it is: the FDI number, "T5-T11", "wrist"; empty for the whole image."""
    if finding.tooth is not None:
        return str(finding.tooth)
    ends = words.span_of(finding)
    return "-".join(ends) if ends else finding.site.replace("-", " ")


def finding_label(finding: Finding) -> str:
    """What stands beside it in a picture: "36" (with "?" if uncertain), "36 Caries", "Scoliosis T5-T11 34 degrees"."""
    where = site_name(finding)
    if finding.kind == "tooth":
        return (where or "tooth") + ("?" if UNCERTAIN in finding.flags else "")
    if finding.kind == "vertebra" and where:
        return where
    parts = [where, finding_name(finding)] if finding.tooth is not None else [finding_name(finding), where]
    return " ".join(part for part in (*parts, words.measured(finding)) if part)


def drawn_label(finding: Finding) -> str:
    """What stands at its region in a picture: of a curve its ends and angle, of a heat map what its region is not."""
    label = finding_label(finding)
    if finding.heat is not None:
        return f"{label}: the model looked here"
    curve = finding.kind == "scoliosis" and bool(words.measured(finding))
    return f"{site_name(finding)} {words.measured(finding)}".strip() if curve else label


def sureness(finding: Finding) -> list[str]:
    """How certain the algorithm is: "82 %"; nothing where a person says so."""
    return [] if finding.by_person else [words.sure(finding.certainty)]
