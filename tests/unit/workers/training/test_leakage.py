"""Copies across the parts of a data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from scipy.ndimage import gaussian_filter

from workers.training.leakage import Member, find_leakage

Change = Callable[[Picture.Image], Picture.Image]


def drawn(seed: int) -> Picture.Image:
    """Something with structure at all scales; another seed looks different."""
    rng = np.random.default_rng(seed)
    plane = sum(gaussian_filter(rng.normal(size=(160, 200)), s) * s for s in (2, 6, 20))
    plane = (plane - plane.min()) / np.ptp(plane) * 255
    return Picture.fromarray(plane.astype(np.uint8))


def members(folder: Path, change: Change | None) -> list[Member]:
    """Six training pictures, and two for validation of which one is a changed training picture."""
    found = []
    for seed in range(6):
        drawn(seed).save(folder / f"t{seed}.png")
        found.append(Member(folder / f"t{seed}.png", "train", f"g{seed}"))
    drawn(99).save(folder / "own.png")
    found.append(Member(folder / "own.png", "val", "own"))
    if change is not None:
        change(drawn(3)).save(folder / "copy.png")
        found.append(Member(folder / "copy.png", "val", "copy"))
    return found


def toned(picture: Picture.Image) -> Picture.Image:
    """Darker in the middle greys."""
    return Picture.fromarray((255 * (np.asarray(picture) / 255) ** 1.5).astype(np.uint8))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda p: p, "same bytes"),
        (lambda p: p.resize((90, 70)), "alike"),
        (toned, "alike"),
        (lambda p: p.crop((3, 3, 197, 157)), "alike"),
        (lambda p: p.transpose(Picture.Transpose.FLIP_LEFT_RIGHT), "alike when turned or mirrored"),
        (lambda p: p.rotate(90, expand=True), "alike when turned or mirrored"),
        (lambda p: p.rotate(180).transpose(Picture.Transpose.FLIP_TOP_BOTTOM), "alike when turned or mirrored"),
    ],
)
def test_copies_are_found_and_named(tmp_path: Path, change: Change, why: str) -> None:
    """Byte for byte, smaller, re-toned, slightly cropped, mirrored or turned: the pair is named, and no other."""
    leakage = find_leakage(members(tmp_path, change))
    assert [(p.first.file.name, p.second.file.name, p.why) for p in leakage.pairs] == [("t3.png", "copy.png", why)]
    assert not leakage.clean


def test_different_pictures_are_no_leak(tmp_path: Path) -> None:
    """And the report says how many of each part were compared."""
    leakage = find_leakage(members(tmp_path, None))
    assert leakage.clean
    assert leakage.compared == {"train": 6, "val": 1}


def test_copies_of_deep_grey_are_found(tmp_path: Path) -> None:
    """16 bits are looked at in full: clipped to 8 every such picture would be white."""
    for seed, (name, times) in enumerate((("a", 200), ("b", 180))):
        for part in ("train", "val"):
            plane = np.asarray(drawn(seed), np.uint16) * (times if part == "train" else times - 10) + 300
            Picture.fromarray(plane).save(tmp_path / f"{part}-{name}.png")
    found = [Member(file, file.name.partition("-")[0], file.name) for file in sorted(tmp_path.iterdir())]
    assert [(p.first.file.name, p.second.file.name) for p in find_leakage(found).pairs] == [
        ("train-a.png", "val-a.png"),
        ("train-b.png", "val-b.png"),
    ]


def test_copies_within_a_part_are_no_leak(tmp_path: Path) -> None:
    """A picture twice among the training pictures flatters no figure."""
    both = [Member(m.file, "train", m.group) for m in members(tmp_path, lambda p: p)]
    assert find_leakage(both).clean


def test_a_group_in_two_parts_is_named(tmp_path: Path) -> None:
    """Also where its pictures do not look alike."""
    found = members(tmp_path, None)
    found[-1] = Member(found[-1].file, "val", "g2")
    assert find_leakage(found).groups == ("g2",)


def test_same_frame_is_not_same_picture(tmp_path: Path) -> None:
    """Pictures with one white surround and other insides share their frame, which is no leak."""
    y, x = np.mgrid[-1:1:160j, -1:1:200j]
    inside = x**2 + y**2 < 0.7
    found = []
    for seed in range(6):
        plane = np.where(inside, np.asarray(drawn(seed)), 255).astype(np.uint8)
        Picture.fromarray(plane).save(tmp_path / f"{seed}.png")
        found.append(Member(tmp_path / f"{seed}.png", "train" if seed < 3 else "val", str(seed)))
    assert find_leakage(found).clean


def test_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    """A damaged file and a flat one harm nothing."""
    found = members(tmp_path, None)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Picture.new("L", (50, 50), 7).save(tmp_path / "flat.png")
    Picture.new("L", (60, 60), 9).save(tmp_path / "flat2.png")
    more = [("broken.png", "val"), ("flat.png", "train"), ("flat2.png", "val")]
    assert find_leakage([*found, *(Member(tmp_path / n, s, n) for n, s in more)]).clean
