"""What a result says in plain words to a dentist: one place, so that the SR and the FHIR report cannot differ."""

from collections.abc import Collection, Iterable, Sequence

from service.domain.codes import QUALITIES
from service.domain.finding import LANDMARKS, Algorithm, Analysis, Finding
from service.domain.review import Signature
from service.domain.tooth import PERMANENT, tooth_of
from service.domain.words import describes, flag_words, kind_word, span_of, sure, whole
from service.results.subject import Source
from service.results.verification import opening, remark, said_of, struck_out

RESEARCH = "research model, not for diagnosis"

_AUTOMATIC = "brightness and contrast were set automatically"
#: Notes of the pixel pipeline -> words; a note that is not here is plain enough, or new, and said as it is.
NOTES: dict[str, str] = {
    "orientation assumed": "orientation assumed, the file does not say where left and right are",
    "orientation not that of an upright image": "the image is not upright",
    "window taken from the data": _AUTOMATIC,
    "window of the file unusable, taken from the data": _AUTOMATIC,
    "PresentationLUTShape contradicts PhotometricInterpretation, which was trusted": (
        "the file contradicts itself about which values are dark"
    ),
}

#: What is looked for -> what such an analysis is called; the first that fits.
_TITLES = (
    ({"tooth"}, "tooth numbering"),
    ({"scoliosis", "vertebra"}, "spine"),
    ({"fracture"}, "bone fracture"),
    ({"gingivitis", "ulcer", "calculus", "hypodontia"}, "oral photograph"),
    ({"filling", "crown", "implant", "impacted", "root-canal-treated", "destroyed-crown"}, "tooth conditions"),
)
_CURVES = ("main", "second", "third")
_CUT_OFF = "arch may be cut off"  # in the note of who looked for that
_OF_PANORAMICS = "teeth_panoramic"  # reads nothing else, whatever Modality their devices write


def title(analysis: Analysis) -> str:
    """What an analysis is about, for the name of a series: "tooth conditions"; else the name of its algorithm."""
    kinds = set(analysis.looks_for)
    return next((name for wanted, name in _TITLES if wanted & kinds), analysis.algorithm.name)


def refusal(analysis: Analysis) -> str:
    """That an image was not read, and why; no full stop."""
    return f"not read: {analysis.refused.rstrip('.')}"


def conclusion(sources: Sequence[Source]) -> str:
    """All sentences, for a reader who has room for one text."""
    return " ".join(sentences(sources))


def sentences(sources: Sequence[Source]) -> list[str]:
    """Whose result it is, then one sentence for each image over all its analyses; FDI numbers.

    Images are never added up: a tooth that one of them shows would hide that another does not.
    """
    algorithms = [source.analysis.algorithm for source in sources]
    said = [opening(sources)]
    if sources and sources[0].signature and sources[0].signature.withdrawn:
        return said  # what was said of another patient is not repeated
    if any(algorithm.research for algorithm in algorithms):
        said.append(f"{_capital(RESEARCH)}.")
    images: dict[str, list[Source]] = {}
    for source in sources:
        images.setdefault(source.analysis.sop_instance_uid, []).append(source)
    for number, of_image in enumerate(images.values(), start=1):
        text = _image(of_image)
        if len(images) > 1:
            place = of_image[0].place
            text = f"image {number} of {len(images)}{f' ({place})' if place else ''}: {text}"
        said.append(f"{_capital(text)}.")
    return said


def method(algorithm: Algorithm, finding: Finding | None = None, signature: Signature | None = None) -> str:
    """How a single finding came about; it may be read without its report."""
    research = f"; {RESEARCH}" if algorithm.research else ""
    if signature is None:
        return f"Found by {algorithm.name} {algorithm.version}, not verified by a dentist{research}"
    if finding is not None and finding.by_person:
        return f"{remark(finding)}, {signature.reviewer.display}"
    return f"Found by {algorithm.name} {algorithm.version}, {said_of(signature)}{research}"


def flag(raw: str) -> str:
    """A flag of a finding as a remark: "number-uncertain" -> "Number uncertain"."""
    return _capital(flag_words(raw))


def _image(sources: Sequence[Source]) -> str:
    """What one image shows, what is uncertain, and what the reader must know about the image; no full stop."""
    analyses = [source.analysis for source in sources]
    names = {analysis.algorithm.name for analysis in analyses}
    cut = any(_CUT_OFF in note for analysis in analyses for note in analysis.notes)  # what lies outside is not missing
    panoramic = not cut and (sources[0].header.get("Modality") == "PX" or _OF_PANORAMICS in names)
    findings = [finding for analysis in analyses for finding in analysis.findings]
    noted = {finding.tooth for finding in findings if finding.tooth is not None and finding.kind != "tooth"}
    clauses = [clause for analysis in analyses for clause in _clauses(analysis, noted, panoramic=panoramic)]
    teeth = {str(finding.tooth) for finding in findings if finding.kind == "tooth"}
    for raw, places in _flagged(analyses).items():
        everywhere = len(teeth) > 1 and teeth == set(places)  # said of the image rather than of each tooth
        clauses.append(flag_words(raw) if everywhere else f"{flag_words(raw)}: {', '.join(places)}")
    clauses += [struck] if (struck := struck_out(analyses)) else []
    clauses += [NOTES.get(note, note).rstrip(".") for analysis in analyses for note in analysis.notes]
    return "; ".join(dict.fromkeys(clauses))


def _clauses(analysis: Analysis, noted: Collection[int], *, panoramic: bool) -> list[str]:
    """What one analysis says of its image.

    Args:
        noted: places of teeth of which any analysis of the image says something.
    """
    if analysis.refused:
        subject = "" if analysis.algorithm.name == "image_gate" else f" for {title(analysis)}"
        return [f"not read{subject}: {analysis.refused.rstrip('.')}", *_by_site(analysis.findings)]
    kinds = [kind for kind in analysis.looks_for if kind not in LANDMARKS]
    clauses = [_teeth(analysis, noted, panoramic=panoramic)] if "tooth" in analysis.looks_for else []
    if "scoliosis" in kinds:
        clauses.append(_curves([finding for finding in analysis.findings if finding.kind == "scoliosis"]))
    others = [f for f in analysis.findings if f.kind != "scoliosis" and f.kind not in LANDMARKS]
    if others:
        clauses += _by_site(others)
    else:
        named = [kind_word(kind) for kind in kinds if kind != "scoliosis"]
        clauses += [f"no {_enumerated(named)} found"] if named else []
    vertebrae = sum(finding.kind == "vertebra" for finding in analysis.findings)
    if vertebrae:
        clauses.append(f"{vertebrae} {'vertebra' if vertebrae == 1 else 'vertebrae'} outlined")
    return clauses or ["nothing found"]


def _by_site(findings: Sequence[Finding]) -> list[str]:
    """For each tooth "tooth 36: filling, root-canal treated", then what belongs to no tooth with its certainty."""
    teeth: dict[int, list[str]] = {}
    for finding in findings:
        if finding.tooth is not None:
            teeth.setdefault(finding.tooth, []).append(kind_word(finding.kind))
    said = [f"tooth {fdi}: {', '.join(dict.fromkeys(words))}" for fdi, words in sorted(teeth.items())]
    others: dict[str, float] = {}
    for finding in findings:
        if finding.tooth is None:
            place = f" ({_spaced(finding.site)})" if finding.site else ""
            words = f"{kind_word(finding.kind)}{place}"
            others[words] = max(others.get(words, 0.0), 2.0 if finding.by_person else finding.certainty)
    how = {words: "" if most > 1 else f" suspected (certainty {sure(most)})" for words, most in others.items()}
    return [*said, *(f"{words}{suspected}" for words, suspected in how.items())]


def _curves(findings: Sequence[Finding]) -> str:
    """As in "scoliosis: main curve T5-T11 34 degrees, second curve T12-L4 22 degrees (double curve)"."""
    if not findings:
        return "no scoliosis found"
    parts = []
    ordered = sorted(findings, key=lambda finding: -max((m.value for m in finding.measurements), default=0.0))
    measured = [finding for finding in ordered if finding.measurements]
    for place, finding in zip((*_CURVES, *["further"] * len(measured)), measured, strict=False):
        ends = span_of(finding)
        site = "-".join(ends) if ends else _spaced(finding.site)
        parts.append(f"{place} curve {site} {whole(finding.measurements[0].value)} degrees".replace("  ", " "))
    kinds = {QUALITIES[flag].meaning.lower() for finding in findings for flag in finding.flags if flag in QUALITIES}
    quality = f" ({', '.join(sorted(kinds))})" if kinds else ""
    how = "" if parts else f" suspected (certainty {sure(max(f.certainty for f in findings))})"
    return f"scoliosis{how}{': ' if parts else ''}{', '.join(parts)}{quality}"


def _enumerated(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _teeth(analysis: Analysis, noted: Collection[int], *, panoramic: bool) -> str:
    """How many teeth were found; of a panoramic, which shows all teeth, also which were not.

    A tooth of which something else was found, a crown or an implant, is not said to be not found.
    """
    found = [finding.tooth for finding in analysis.findings if finding.kind == "tooth"]
    teeth = sorted({fdi for fdi in found if fdi is not None})
    count = len(teeth) + found.count(None)
    text = f"{count or 'no'} {'tooth' if count == 1 else 'teeth'} found"
    if not panoramic or not teeth:
        return text
    missing = _not_found(teeth)
    if missing:
        spoken = [fdi for fdi in missing if fdi in noted]
        unspoken = [str(fdi) for fdi in missing if fdi not in noted]
        text += f"; not outlined, but with findings: {', '.join(map(str, spoken))}" if spoken else ""
        return f"{text}; not found: {', '.join(unspoken)} (may still be there)" if unspoken else text
    if not set(PERMANENT) <= set(teeth):
        return f"{text}; a permanent or deciduous tooth in every place"
    everything = f"all {len(PERMANENT)} permanent teeth"
    return f"{everything} found" if count == len(PERMANENT) else f"{text}, among them {everything}"


def _not_found(teeth: Iterable[int]) -> list[int]:
    """Permanent teeth without tooth or deciduous predecessor in their place (55 stands where 15 will be)."""
    places = set(teeth) | {fdi - 40 for fdi in teeth if tooth_of(fdi).deciduous}
    return [fdi for fdi in PERMANENT if fdi not in places]


def _flagged(analyses: Sequence[Analysis]) -> dict[str, list[str]]:
    """Remark -> what it is about; a flag that has a code of its own is said with its finding."""
    flagged: dict[str, set[str]] = {}
    for finding in (finding for analysis in analyses for finding in analysis.findings):
        for raw in finding.flags:
            if raw not in QUALITIES and not describes(raw):
                flagged.setdefault(raw, set()).add(str(finding.tooth or finding.site or kind_word(finding.kind)))
    return {raw: sorted(places) for raw, places in flagged.items()}


def _spaced(raw: str) -> str:
    return raw.replace("-", " ") if " " not in raw else raw


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
