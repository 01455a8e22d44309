"""The words of a result: the same in every kind of result, and never more than the model has seen."""

import dataclasses
import io
import json
from typing import Any

import highdicom as hd
import pytest
from pydicom.dataset import Dataset

from service.domain.finding import Algorithm, Finding
from service.domain.tooth import PERMANENT
from service.results import diagnostic_report, measurement_report, segmentation, wording
from service.results.subject import Source, Subject
from tests.builders import ALGORITHM, analysis_of, header_of, xray
from workers import pixels

HEAD = "AI result, not verified by a dentist. Research model, not for diagnosis. "
FULL = tuple(fdi for fdi in PERMANENT if fdi % 10 != 8)
APPROVED = dataclasses.replace(ALGORITHM, research=False)


def source_of(ds: Dataset, teeth: tuple[int, ...] = (36,), **analysis: Any) -> Source:  # noqa: ANN401 - handed on
    """An image and the teeth found in it."""
    header = header_of(ds)
    return Source(header, analysis_of(header, teeth, **analysis))


def said(*teeth: int, **analysis: Any) -> str:  # noqa: ANN401 - handed on to the builder
    """The conclusion of one panoramic."""
    return wording.conclusion([source_of(xray(), teeth, **analysis)])


def test_one_image() -> None:
    """A dentist reads that nobody verified it, what it is for, what was found and not found, and what is uncertain."""
    assert said(*FULL, flags={36: ("number-uncertain",)}, notes=("text may be burned into the image",)) == (
        f"{HEAD}28 teeth found; not found: 18, 28, 38, 48 (may still be there); number uncertain: 36; "
        "text may be burned into the image."
    )


@pytest.mark.parametrize(
    ("teeth", "words"),
    [
        ((), "no teeth found."),
        ((36,), "1 tooth found; not found: 11, "),
        (PERMANENT, "all 32 permanent teeth found."),
        ((*PERMANENT, 55), "33 teeth found, among them all 32 permanent teeth."),
        (
            (*(fdi for fdi in PERMANENT if fdi != 15), 55),
            "32 teeth found; a permanent or deciduous tooth in every place.",
        ),
    ],
)
def test_counts(teeth: tuple[int, ...], words: str) -> None:
    """None, one and all teeth are said in proper words; a deciduous tooth is never called a permanent one."""
    words_said = said(*teeth).removeprefix(HEAD)
    assert words_said.casefold().startswith(words.casefold())


def test_a_tooth_with_a_finding_is_not_called_not_found() -> None:
    """What one model did not outline and another, or a person, found something of is said so, not denied."""
    ds = xray()
    teeth = source_of(ds, tuple(fdi for fdi in FULL if fdi not in {15, 31}))
    algorithm = dataclasses.replace(ALGORITHM, name="tooth_conditions")
    conditions = source_of(ds, (), algorithm=algorithm)
    findings = (Finding("crown", 15, 0.84), Finding("implant", 31, 0.88), Finding("filling", 16, 0.7))
    found = dataclasses.replace(conditions.analysis, findings=findings, looks_for=("crown", "implant", "filling"))
    words = wording.conclusion([teeth, dataclasses.replace(conditions, analysis=found)])
    assert words == (
        f"{HEAD}26 teeth found; not outlined, but with findings: 15, 31; "
        "not found: 18, 28, 38, 48 (may still be there); "
        "tooth 15: crown; tooth 16: filling; tooth 31: implant."
    )


def test_a_panoramic_is_one_whatever_its_device_calls_it() -> None:
    """The model of panoramics reads nothing else: gaps are told also where Modality is that of the old detector."""
    algorithm = dataclasses.replace(ALGORITHM, name="teeth_panoramic")
    assert "not found: 18, 28, 38, 48" in wording.conclusion(
        [source_of(xray(modality="DX"), FULL, algorithm=algorithm)]
    )
    assert "not found" not in wording.conclusion([source_of(xray(modality="DX"), FULL)])


def test_a_contradiction_of_the_header_is_said_plainly() -> None:
    """That the file names another side is what a dentist must hear before she believes a number."""
    flag = ("side-contradicts-header",)
    assert "the file names the other side: 36." in said(*PERMANENT, flags={36: flag})
    assert said(24, 25, flags={24: flag, 25: flag}).endswith("; the file names the other side.")


@pytest.mark.parametrize("teeth", [(), FULL, PERMANENT])
def test_nothing_is_called_missing(teeth: tuple[int, ...]) -> None:
    """That a tooth is missing is a diagnosis, which no result makes."""
    assert "missing" not in said(*teeth)


def test_each_image_has_a_sentence() -> None:
    """Of two images each has its own sentence with its own gaps, although the other image shows those teeth."""
    one = source_of(xray(seed="a"), FULL)
    two = source_of(xray(seed="b", InstanceNumber=2), PERMANENT, flags={46: ("number-uncertain",)})
    assert wording.conclusion([one, two]) == (
        f"{HEAD}Image 1 of 2 (series 1 image 1): 28 teeth found; not found: 18, 28, 38, 48 (may still be there). "
        "Image 2 of 2 (series 1 image 2): all 32 permanent teeth found; number uncertain: 46."
    )


def test_images_without_numbers_are_counted_only() -> None:
    """An image whose header has no numbers is still told apart from the other."""
    bare = source_of(xray(seed="bare", SeriesNumber=None, InstanceNumber=None))
    assert "Image 2 of 2: 1 tooth found;" in wording.conclusion([source_of(xray()), bare])


@pytest.mark.parametrize("note", sorted(value for name, value in vars(pixels).items() if name.startswith("NOTE_")))
def test_notes_are_said_in_words_of_the_reader(note: str) -> None:
    """No note of the pixel pipeline reaches a dentist with a word that only its programmer knows."""
    words = said(36, notes=(note,))
    assert len(words) > len(said(36))
    assert not [jargon for jargon in ("window", "LUT", "Photometric", "-") if jargon in words]


def test_a_window_is_said_once_in_plain_words() -> None:
    """Whatever the reason, the reader learns once that brightness and contrast were set automatically."""
    words = said(36, notes=(pixels.NOTE_WINDOW, pixels.NOTE_BAD_WINDOW))
    assert words.endswith("; brightness and contrast were set automatically.")
    assert words.count("automatically") == 1


def test_only_the_notes_that_exist_have_words() -> None:
    """A note that was renamed would silently lose its words."""
    assert set(wording.NOTES) <= {value for name, value in vars(pixels).items() if name.startswith("NOTE_")}


@pytest.mark.parametrize("algorithm", [ALGORITHM, APPROVED])
def test_report_and_sr_say_the_same(algorithm: Algorithm) -> None:
    """The conclusion of the FHIR report is the comment of the SR, word for word, also as to what the model is for."""
    source = source_of(xray(), (36, 37), algorithm=algorithm, flags={36: ("number-uncertain",)})
    subject = Subject(str(source.header.StudyInstanceUID), 1, (source,))
    (sr,), (bundle,) = measurement_report.write(subject), diagnostic_report.write(subject)
    resources = [entry["resource"] for entry in json.loads(bundle.content)["entry"]]
    (report,) = (resource for resource in resources if resource["resourceType"] == "DiagnosticReport")
    methods = {each["method"]["text"] for each in resources if each["resourceType"] == "Observation"}
    in_sr = hd.sr.srread(io.BytesIO(sr.content)).ContentSequence[-1].ContentSequence[0].TextValue
    assert in_sr == report["conclusion"] == wording.conclusion([source])
    assert all(sentence in report["text"]["div"] for sentence in wording.sentences([source]))
    for text in (in_sr, report["text"]["div"], *methods):
        assert ("not for diagnosis" in text) is algorithm.research
        assert "not verified by a dentist" in text


def test_findings_that_are_no_teeth_are_not_counted() -> None:
    """Another finding is no tooth; its flag names it."""
    source = source_of(xray(), ())
    findings = (Finding("apical-lesion", None, 0.5, flags=("at-the-edge",)),)
    source = dataclasses.replace(source, analysis=dataclasses.replace(source.analysis, findings=findings))
    assert wording.conclusion([source]) == (
        f"{HEAD}No teeth found; apical lesion suspected (certainty 50 %); at the edge: apical lesion."
    )


def labels(*sources: Source) -> list[tuple[int, str]]:
    """Series Number and Description of every SEG and SR, image by image."""
    subject = Subject(str(sources[0].header.StudyInstanceUID), 1, sources)
    results = [*segmentation.write(subject), *measurement_report.write(subject)]
    read = [hd.imread if result.kind == "seg" else hd.sr.srread for result in results]
    files = [reader(io.BytesIO(result.content)) for reader, result in zip(read, results, strict=True)]
    return [(int(ds.SeriesNumber), str(ds.SeriesDescription)) for ds in files]


def test_series_of_two_images_can_be_told_apart() -> None:
    """Number and description of a result's series follow the numbers of its image."""
    one, two, three = (
        source_of(xray(seed=f"{series}.{image}", StudyInstanceUID="2.25.1", SeriesNumber=series, InstanceNumber=image))
        for series, image in ((1, 1), (1, 2), (3, 1))
    )
    assert labels(one, two, three) == [
        (900, "AI: teeth segmentation (unverified), series 1 image 1"),
        (910, "AI: teeth segmentation (unverified), series 1 image 2"),
        (200_900, "AI: teeth segmentation (unverified), series 3 image 1"),
        (901, "AI: tooth numbering (unverified), series 1 image 1"),
        (911, "AI: tooth numbering (unverified), series 1 image 2"),
        (200_901, "AI: tooth numbering (unverified), series 3 image 1"),
    ]


def test_a_later_image_changes_nothing_of_the_first() -> None:
    """SEG and SR of an image are the same bytes whether or not its study has another image."""
    one, two = source_of(xray(seed="a")), source_of(xray(seed="b", InstanceNumber=2))
    alone, both = Subject("2.25.1", 1, (one,)), Subject("2.25.1", 2, (one, two))
    for write in (segmentation.write, measurement_report.write):
        assert write(both)[0] == write(alone)[0]


@pytest.mark.parametrize(
    ("series", "image", "place", "number"),
    [
        (None, None, "", 900),
        (None, 2, ", image 2", 910),
        (4, None, ", series 4", 300_900),
        (0, 0, ", series 0 image 0", 900),
        (-1, -5, "", 900),
        (20_000, 10_000, ", series 20000 image 10000", 2_000_000_890),
        (20_001, 10_001, ", series 20001 image 10001", 900),
        (2**31 - 1, 2**31 - 1, "", 900),
    ],
)
def test_odd_numbers_of_an_image(series: int | None, image: int | None, place: str, number: int) -> None:
    """Missing, negative and huge numbers stay out; no number exceeds IS and no description 64 characters."""
    ((seg_number, seg_text), (_, sr_text)) = labels(source_of(xray(SeriesNumber=series, InstanceNumber=image)))
    assert (seg_number, seg_text) == (number, f"AI: teeth segmentation (unverified){place}")
    assert seg_number < 2**31
    assert max(len(seg_text), len(sr_text)) <= 64


def test_numbers_that_are_none_are_missing() -> None:
    """Text or several values where a number should be leave the place out."""
    source = source_of(xray())
    for raw in ("one", "", "1\\2"):
        header = Dataset()
        header.add_new("InstanceNumber", "LO", raw)
        assert dataclasses.replace(source, header=header).numbers == (None, None)
