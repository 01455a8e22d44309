"""Results of 32 teeth of a panoramic, beside the plain use of highdicom in the same run: seconds of CPU, memory.

Use: python -m tests.benchmarks.writers [REPEATS]
"""

import io
import statistics
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset

from service.domain.codes import ARTIFICIAL_INTELLIGENCE, FINDINGS
from service.domain.tooth import PERMANENT
from service.results import WRITERS, measurement_report, segmentation
from service.results.evidence import coded, common, evidence_of
from service.results.regions import mask_of
from service.results.subject import Subject
from tests.builders import analysis_of, header_of, xray
from tests.subjects import pictured, subject_of

ROWS, COLUMNS = 1504, 2880


def main(repeats: int = 5) -> None:
    """A table of every kind of result, then the two that are compared with highdicom."""
    ds = xray(np.zeros((ROWS, COLUMNS), np.uint16))
    subject = pictured(subject_of(ds, analysis_of(header_of(ds), PERMANENT)))
    print(f"results of {len(PERMANENT)} teeth, {COLUMNS}x{ROWS}; seconds of CPU, median of {repeats}")
    for kind, write in WRITERS.items():
        results = write(subject)
        print(f"{kind:<28}{_median(partial(write, subject), repeats):8.3f}{_size(results):>14,} bytes")
    _compare("seg", lambda: segmentation.write(subject), lambda: by_highdicom(subject), repeats)
    _compare(
        "sr",
        lambda: measurement_report.write(subject),
        lambda: measurement_report.write(subject, by_highdicom=True),
        repeats,
    )
    (ours,), theirs = segmentation.write(subject), by_highdicom(subject)
    same = pydicom.dcmread(io.BytesIO(ours.content)).PixelData == theirs.PixelData
    print(f"seg: pixel data {'equal' if same else 'NOT EQUAL'}, {len(theirs.PixelData):,} bytes")
    same = measurement_report.write(subject) == measurement_report.write(subject, by_highdicom=True)
    print(f"sr: report {'equal' if same else 'NOT EQUAL'} byte for byte")
    print(f"seg: peak memory {_peak(lambda: segmentation.write(subject)) / len(ours.content):.2f} times the output")


def by_highdicom(subject: Subject) -> Dataset:
    """The segmentation as highdicom's manual makes it: masks stacked channel last; written to memory, too."""
    (source,) = subject.sources
    segments = segmentation.segmented(source)
    stack = np.stack([mask_of(segment.region, ROWS, COLUMNS) for segment in segments], axis=-1)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds: Dataset = hd.seg.Segmentation(
            source_images=[evidence_of(source)],
            pixel_array=stack.astype(np.uint8),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_described(place, segment) for place, segment in enumerate(segments, start=1)],
            omit_empty_frames=False,
            **common(subject, source, "seg", 900, "benchmark"),
        )
        ds.save_as(io.BytesIO())
    return ds


def _described(place: int, segment: segmentation.Segment) -> hd.seg.SegmentDescription:
    concepts = FINDINGS[segment.finding.kind]
    return hd.seg.SegmentDescription(
        segment_number=place,
        segment_label=segmentation.segment_label(segment.finding),
        segmented_property_category=coded(concepts.category),
        segmented_property_type=coded(concepts.finding),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="teeth", family=coded(ARTIFICIAL_INTELLIGENCE), version="1"
        ),
    )


def _compare(name: str, ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> None:
    """One row; the two take turns, so that a busy machine hits both."""
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats + 1)][1:]
    mine, highdicom = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{name:<12}ours {mine:7.3f} s   highdicom {highdicom:7.3f} s   ratio {highdicom / mine:5.1f}")


def _seconds(call: Callable[[], Any]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def _median(call: Callable[[], Any], repeats: int) -> float:
    return statistics.median(_seconds(call) for _ in range(repeats))


def _size(results: Any) -> int:  # noqa: ANN401 - whatever a writer gives
    return sum(len(result.content) for result in results)


def _peak(call: Callable[[], Any]) -> int:
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
