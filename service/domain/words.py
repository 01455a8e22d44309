"""Kinds of finding in a dentist's words, for reports and pages alike."""

import re

from service.domain.codes import VERTEBRAE
from service.domain.finding import Finding

_SPAN = re.compile(r"(?:from-)?([TL]\d+)-(?:to-)?([TL]\d+)")
_DESCRIBING = ("from-", "apex-", "convex-")
#: Kind -> word, where the kind itself is not one.
_WORDS: dict[str, str] = {
    "root-canal-treated": "root-canal treated",
    "destroyed-crown": "destroyed crown",
    "calculus": "calculus or plaque",
    "hypodontia": "missing tooth",
    "discoloration": "discolored teeth",
}


def kind_word(kind: str) -> str:
    """A kind of finding in words: "calculus or plaque"; of a kind that carries its code ("SCT:1:Word"), the meaning."""
    return _WORDS.get(kind, kind.rpartition(":")[2] if ":" in kind else kind.replace("-", " "))


def measured(finding: Finding) -> str:
    """What was measured: "34 degrees"; empty if nothing was."""
    return ", ".join(f"{round(each.value)} degrees" for each in finding.measurements if each.kind == "cobb-angle")


def span_of(finding: Finding) -> tuple[str, str] | None:
    """The end vertebrae of a curve, from its site "T5-T11" or its flag "from-T5-to-T11"; None where neither says."""
    for said in (finding.site, *finding.flags):
        match = _SPAN.fullmatch(said)
        if match and match[1] in VERTEBRAE and match[2] in VERTEBRAE:
            return match[1], match[2]
    return None


def describes(flag: str) -> bool:
    """Whether a flag describes the shape of a curve: part of the finding, and no warning to the reader."""
    return flag.startswith(_DESCRIBING)
