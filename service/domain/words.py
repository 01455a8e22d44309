"""Kinds of finding in a dentist's words, for reports and pages alike."""

import math
import re

from service.domain.codes import VERTEBRAE
from service.domain.finding import Finding

_SPAN = re.compile(r"(?:from-)?([TL]\d+)-(?:to-)?([TL]\d+)")
_DESCRIBING = ("from-", "apex-", "convex-")
_SURE, _UNSURE = 0.995, 0.005  # no program is sure: nothing is rounded to 100 %, or to 0 %
#: Flag -> words, where it is not plain by itself.
_FLAGS: dict[str, str] = {
    "side-contradicts-header": "the file names the other side",
    "jaw-contradicts-header": "the file names the other jaw",
    "not-the-teeth-named-in-the-header": "the file names other teeth",
}
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
    return ", ".join(f"{whole(each.value)} degrees" for each in finding.measurements if each.kind == "cobb-angle")


def whole(value: float) -> int:
    """The nearest whole number; of two that are as near the greater, as people round."""
    return math.floor(value + 0.5)


def sure(certainty: float) -> str:
    """A certainty of 0 to 1: "82 %", but "over 99 %" instead of 100."""
    if certainty >= _SURE:
        return "over 99 %"
    return "under 1 %" if certainty < _UNSURE else f"{whole(round(certainty * 100, 1))} %"


def flag_words(flag: str) -> str:
    """A flag in words: "number-uncertain" -> "number uncertain"."""
    return _FLAGS.get(flag, flag if " " in flag else flag.replace("-", " "))


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
