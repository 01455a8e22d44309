"""What stands below a drawn image: a line for each kind of finding, then what belongs to no place, and who says so."""

from collections.abc import Iterator
from dataclasses import dataclass

from service.domain import words
from service.domain.finding import UNCERTAIN, Finding
from service.results import wording
from service.results.colours import Rgb, drawn_colour
from service.results.composite import Sources, findings_of
from service.results.labels import finding_name, site_name, sureness
from service.results.verification import struck_out


@dataclass(frozen=True, slots=True)
class Line:
    """One line; ``colour`` is that of the outlines it explains, None where it explains none."""

    text: str
    colour: Rgb | None = None


def legend_of(sources: Sources) -> list[Line]:
    """All lines for one image."""
    findings = findings_of(sources)
    return [*_kinds(findings), *_teeth(findings), *_others(sources)]


def _kinds(findings: list[Finding]) -> Iterator[Line]:
    """A line for each kind: "Caries: 36 (82 %), 47 (75 %)", the most certain first."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.kind != "tooth":  # a line of its own, the last
            kinds.setdefault(finding.kind, []).append(finding)
    for found in kinds.values():
        ordered = sorted(found, key=lambda finding: -finding.certainty)
        places = ", ".join(_place(finding) for finding in ordered)
        if ordered[0].kind == "vertebra":
            places = f"{len(ordered)} outlined"
        drawn = any(finding.region is not None for finding in ordered)
        yield Line(f"{finding_name(ordered[0])}: {places}", drawn_colour(ordered[0], 0, findings) if drawn else None)


def _place(finding: Finding) -> str:
    where = " ".join(part for part in (site_name(finding), words.measured(finding)) if part)
    sure = "".join(sureness(finding)) or "by the reviewer"
    return f"{where} ({sure})" if where else sure


def _teeth(findings: list[Finding]) -> Iterator[Line]:
    teeth = [finding for finding in findings if finding.kind == "tooth"]
    if not teeth:
        return
    unsure = sorted({site_name(finding) or "tooth" for finding in teeth if UNCERTAIN in finding.flags})
    remark = f"; number uncertain: {', '.join(unsure)}" if unsure else ""
    yield Line(f"{len(teeth)} {'tooth' if len(teeth) == 1 else 'teeth'} found (FDI numbers){remark}")


def _others(sources: Sources) -> Iterator[Line]:
    for source in sources:
        analysis = source.analysis
        if analysis.refused:
            yield Line(f"{analysis.algorithm.name}: image not read: {analysis.refused}")
        elif not analysis.findings:
            yield Line(f"{analysis.algorithm.name}: nothing found")
    if any(finding.heat is not None for source in sources for finding in source.analysis.findings):
        yield Line("Red and yellow: what of the image counted most for the model; not the outline of a finding")
    notes = dict.fromkeys(note for source in sources for note in source.analysis.notes)
    yield from (Line(wording.NOTES.get(note, note)) for note in notes)
    rejected = struck_out(source.analysis for source in sources)
    if rejected:
        yield Line(rejected[:1].upper() + rejected[1:])
    algorithms = dict.fromkeys(f"{each.analysis.algorithm.name} {each.analysis.algorithm.version}" for each in sources)
    yield Line(f"Made by {', '.join(algorithms)}")
