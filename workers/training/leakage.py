"""Does a test image stand in the training data too? Bytes, groups, and how the pictures look, turned and mirrored too.

Looks are compared by a difference hash (Krawetz 2013) in all eight ways a picture can be turned and mirrored; what is
near is confirmed by the correlation of its fine detail, because two panoramics share their shape but not their detail.
Compressed, resized, re-toned, turned, mirrored and slightly cropped (3 %) copies are found, larger crops are not.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy.ndimage import binary_dilation, binary_opening, gaussian_filter

from service.domain.errors import ConfigurationError
from workers.training.grey import read_grey
from workers.training.progress import Progress
from workers.training.report import Page, Prose, Table

_SIDE = 64  # pixels; looks are compared as squares of this size
_CELL = 4  # pixels of a look for each cell of the hash
_NEAR = 0.20  # share of differing bits of the hash below which two looks are worth a second glance
_SAME_DETAIL, _SAME_MIDDLE = 0.80, 0.65  # correlation of the detail of the whole, and of the middle half of each side
_BLUR = 4.0  # pixels; detail is what is finer
_FLAT = 4.0  # standard deviation in grey values of 0..255: nothing to compare
_BLACK, _WHITE = 6.0, 249.0  # grey values beyond which nothing is seen
_LEAST_SEEN = 400  # pixels of 4096; with less, all are compared
_SHOWN = 40
_SAME_BYTES = "same bytes"

Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Member:
    """One image of a data set: its file, part (train, val, ...) and group."""

    file: Path
    split: str
    group: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images of different parts that should not be there both; ``why``: same bytes, alike, alike when turned."""

    first: Member
    second: Member
    why: str


@dataclass(frozen=True, slots=True)
class Leakage:
    """What was found across the parts of a data set.

    Attributes:
        compared: how many images of each part.
        groups: that lie in more than one part.
        pairs: images that are the same or look alike.
    """

    compared: dict[str, int]
    groups: tuple[str, ...]
    pairs: tuple[Pair, ...]

    @property
    def clean(self) -> bool:
        """Nothing was found."""
        return not self.groups and not self.pairs

    def to_json(self) -> dict[str, Any]:
        """For report.json."""
        pairs = [
            {"files": [p.first.file.name, p.second.file.name], "splits": [p.first.split, p.second.split], "why": p.why}
            for p in self.pairs
        ]
        return {"compared": self.compared, "groups_in_two_splits": list(self.groups), "pairs": pairs}

    def block(self) -> Table | Prose:
        """For the report."""
        parts = ", ".join(f"{count} {split}" for split, count in self.compared.items())
        if self.clean:
            text = f"No image of one part was found in another: same bytes, same look, turned or mirrored ({parts})."
            return Prose("Leakage between the parts", [text])
        rows = [[group, "", "group in two parts"] for group in self.groups[:_SHOWN]]
        rows += [
            [f"{p.first.split}: {p.first.file.name}", f"{p.second.split}: {p.second.file.name}", p.why]
            for p in self.pairs[:_SHOWN]
        ]
        note = f"{len(self.groups)} groups and {len(self.pairs)} pairs; the figures flatter the model. ({parts})"
        return Table("Leakage between the parts: the splits are not independent", ["one", "other", "why"], rows, note)


def with_leakage(page: Page, leakage: Leakage) -> Page:
    """A report with what the check found: on top, and in its headline, where it found something; else at the end.

    Groups and equal bytes in two parts are certain. Pictures that look alike are mostly copies, but films of two mouths
    on one device may look so too: a reader has to look.
    """
    figures = page.figures | {"leakage": leakage.to_json()}
    if leakage.clean:
        return replace(page, blocks=[*page.blocks, leakage.block()], figures=figures)
    same = sum(pair.why == _SAME_BYTES for pair in leakage.pairs)
    alike = len(leakage.pairs) - same
    headline = page.headline
    if leakage.groups or same:
        headline = f"NOT TO BE TRUSTED: the parts share {len(leakage.groups)} groups and {same} files. {headline}"
    if alike:
        headline += f" - CHECK: {alike} pairs of images of different parts look alike (first table)"
    return replace(page, headline=headline, blocks=[leakage.block(), *page.blocks], figures=figures)


def find_leakage(members: Sequence[Member]) -> Leakage:
    """Compare all images of different parts. Files that cannot be opened are left out; ``checks`` tells of them.

    An image without a part takes no part, and is left out too.
    """
    members = [member for member in members if member.split]
    groups: dict[str, set[str]] = {}
    compared: dict[str, int] = {}
    for member in members:
        groups.setdefault(member.group, set()).add(member.split)
        compared[member.split] = compared.get(member.split, 0) + 1
    crossing = tuple(sorted(group for group, splits in groups.items() if len(splits) > 1))
    return Leakage(dict(sorted(compared.items())), crossing, tuple(_pairs(members)))


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """One image as it is compared: SHA-256 of its bytes, float32 (64, 64), None where there is nothing to compare."""

    member: Member
    digest: str
    plane: Plane | None


def _pairs(members: Sequence[Member]) -> Iterator[Pair]:
    looks = [
        look for member in Progress().through(members, "looking for copies") if (look := _look(member)) is not None
    ]
    splits = sorted({look.member.split for look in looks})
    for a, b in combinations(splits, 2):
        yield from _between([x for x in looks if x.member.split == a], [x for x in looks if x.member.split == b])


def _between(ours: Sequence[_Look], theirs: Sequence[_Look]) -> Iterator[Pair]:
    digests = {look.digest: look.member for look in ours}
    for look in theirs:
        if look.digest in digests:
            yield Pair(digests[look.digest], look.member, _SAME_BYTES)
    mine = [(look, look.plane) for look in ours if look.plane is not None]
    if not mine:
        return
    plain = np.stack([_hash(plane) for _, plane in mine])
    for look in theirs:
        positions = [] if look.plane is None else _turned(look.plane)
        if not positions:
            continue
        hashes = np.stack([_hash(position) for position in positions])
        apart = plain.sum(1)[:, None] + hashes.sum(1)[None] - 2 * plain @ hashes.T  # differing bits, (ours, 8)
        for i in np.flatnonzero(apart.min(1) < plain.shape[1] * _NEAR):
            turn = int(apart[i].argmin())
            if mine[i][0].digest != look.digest and _same(mine[i][1], positions[turn]):
                yield Pair(mine[i][0].member, look.member, "alike when turned or mirrored" if turn else "alike")


def _look(member: Member) -> _Look | None:
    """None for a file that is no picture."""
    try:
        digest = hashlib.sha256(member.file.read_bytes()).hexdigest()
        grey = Picture.fromarray(read_grey(member.file, 4 * _SIDE))
    except (OSError, ConfigurationError):
        return None
    small = grey.resize((_SIDE, _SIDE), Picture.Resampling.BOX)
    plane = np.asarray(small, np.float32)
    return _Look(member, digest, None if plane.std() < _FLAT else plane)


def _turned(plane: Plane) -> list[Plane]:
    return [np.rot90(side, k) for side in (plane, plane[:, ::-1]) for k in range(4)]


def _hash(plane: Plane) -> Plane:
    """(480,) of 0 and 1: along both axes, whether a cell is brighter than the one before."""
    cells = plane.reshape(_SIDE // _CELL, _CELL, _SIDE // _CELL, _CELL).mean((1, 3))
    across, down = cells[:, 1:] > cells[:, :-1], cells[1:] > cells[:-1]
    return np.concatenate([across.ravel(), down.ravel()]).astype(np.float32)


def _same(a: Plane, b: Plane) -> bool:
    """Whether the detail of two looks is the same, regardless of what is blank (borders, masks) in either."""
    middle = np.zeros(a.shape, bool)
    middle[_SIDE // 4 : -_SIDE // 4, _SIDE // 4 : -_SIDE // 4] = True
    seen = _filled(a) & _filled(b)
    if seen.sum() < _LEAST_SEEN:
        seen[:] = True
    fine, other = a - gaussian_filter(a, _BLUR), b - gaussian_filter(b, _BLUR)
    whole, inner = (_correlation(fine[part], other[part]) for part in (seen, seen & middle))
    return whole >= _SAME_DETAIL or inner >= _SAME_MIDDLE


def _filled(plane: Plane) -> NDArray[np.bool_]:
    """Away from what is black or white throughout, whose edge is detail of the frame and not of the picture."""
    blank = (plane < _BLACK) | (plane > _WHITE)
    return ~np.asarray(binary_dilation(binary_opening(blank, iterations=2), iterations=4))


def _correlation(a: Plane, b: Plane) -> float:
    if not a.size:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-6))
