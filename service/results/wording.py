"""What a result says in plain words to a dentist: one place, so that the SR and the FHIR report cannot differ."""

from collections.abc import Iterable, Sequence

from service.domain.finding import Algorithm, Analysis
from service.domain.tooth import PERMANENT, tooth_of
from service.results.subject import Source

UNVERIFIED = "AI result, not verified by a dentist"
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


def conclusion(sources: Sequence[Source]) -> str:
    """All sentences, for a reader who has room for one text."""
    return " ".join(sentences(sources))


def sentences(sources: Sequence[Source]) -> list[str]:
    """Whose result it is, then one sentence for each image; FDI numbers.

    Images are never added up: a tooth that one of them shows would hide that another does not.
    """
    algorithms = [source.analysis.algorithm for source in sources]
    said = [f"{UNVERIFIED}."]
    if any(algorithm.research for algorithm in algorithms):
        said.append(f"{_capital(RESEARCH)}.")
    for number, source in enumerate(sources, start=1):
        text = _image(source)
        if len(sources) > 1:
            place = source.place
            text = f"image {number} of {len(sources)}{f' ({place})' if place else ''}: {text}"
        said.append(f"{_capital(text)}.")
    return said


def method(algorithm: Algorithm) -> str:
    """How a single finding came about; it may be read without its report."""
    research = f"; {RESEARCH}" if algorithm.research else ""
    return f"Found by {algorithm.name} {algorithm.version}, not verified by a dentist{research}"


def flag(raw: str) -> str:
    """A flag of a finding as a remark: "number-uncertain" -> "Number uncertain"."""
    return _capital(_spaced(raw))


def _image(source: Source) -> str:
    """What one image shows, what is uncertain, and what the reader must know about the image; no full stop."""
    analysis = source.analysis
    clauses = [_teeth(analysis, panoramic=source.header.get("Modality") == "PX")]
    clauses += [f"{_spaced(raw)}: {', '.join(sites)}" for raw, sites in _flagged(analysis).items()]
    clauses += dict.fromkeys(NOTES.get(note, note).rstrip(".") for note in analysis.notes)
    return "; ".join(clauses)


def _teeth(analysis: Analysis, *, panoramic: bool) -> str:
    """How many teeth were found; of a panoramic, which shows all teeth, also which were not."""
    found = [finding.tooth for finding in analysis.findings if finding.kind == "tooth"]
    teeth = sorted({fdi for fdi in found if fdi is not None})
    count = len(teeth) + found.count(None)
    text = f"{count or 'no'} {'tooth' if count == 1 else 'teeth'} found"
    if not panoramic or not teeth:
        return text
    missing = _not_found(teeth)
    if missing:
        return f"{text}; not found: {', '.join(map(str, missing))} (may still be there)"
    if not set(PERMANENT) <= set(teeth):
        return f"{text}; a permanent or deciduous tooth in every place"
    everything = f"all {len(PERMANENT)} permanent teeth"
    return f"{everything} found" if count == len(PERMANENT) else f"{text}, among them {everything}"


def _not_found(teeth: Iterable[int]) -> list[int]:
    """Permanent teeth without tooth or deciduous predecessor in their place (55 stands where 15 will be)."""
    places = set(teeth) | {fdi - 40 for fdi in teeth if tooth_of(fdi).deciduous}
    return [fdi for fdi in PERMANENT if fdi not in places]


def _flagged(analysis: Analysis) -> dict[str, list[str]]:
    flagged: dict[str, set[str]] = {}
    for finding in analysis.findings:
        for raw in finding.flags:
            flagged.setdefault(raw, set()).add(str(finding.tooth or finding.kind))
    return {raw: sorted(sites) for raw, sites in flagged.items()}


def _spaced(raw: str) -> str:
    return raw.replace("-", " ") if " " not in raw else raw


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
