"""What is wrong with a data set is said before the training starts, with the file and the mend."""

from pathlib import Path

import pytest

from service.domain.errors import ConfigurationError
from tests.unit.workers.training.drawn_data import labelled_rows, manifest, picture
from workers.training.checks import check_training_data

Row = dict[str, str]


def test_sound_data_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How they are understood is said before a long training: a slip in the labels changes what is learnt."""
    check_training_data(manifest(tmp_path, labelled_rows()), labelled=True)
    assert "images of train + val: ill 6 + 2, well 3 + 1; one for each image" in capsys.readouterr().out
    rows = changed({"labels": "ill|well"}, {"file": "images/0.png"})
    check_training_data(manifest(tmp_path, rows), labelled=True)
    assert "ill 7 + 2, well 3 + 1; 1 images show several, 0 none" in capsys.readouterr().out


def changed(change: Row, where: Row) -> list[Row]:
    """The rows with some of them changed."""
    return [row | change if where.items() <= row.items() else row for row in labelled_rows()]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (changed({"split": "train"}, {}), r"no image of split 'val'; it has train \(12\)"),
        (
            changed({"split": "train", "group": "g3"}, {"file": "images/0.png"}),
            r"group g3 \(train and val\) lies in two",
        ),
        (changed({"file": "images/1.png"}, {"file": "images/0.png"}), r"lists images/1.png more than once"),
        (changed({"file": "./images/1.png"}, {"file": "images/0.png"}), r"lists images/1.png more than once"),
        (changed({"labels": "ill"}, {"split": "train"}), "class 'well' has no example in split train"),
        (changed({"labels": "ill"}, {}), "all images are 'ill'; a second class is needed"),
        (changed({"labels": "rare"}, {"file": "images/3.png"}), "class 'rare' has no example in split train"),
        (changed({"labels": "ill|well"}, {"split": "train"}), "class 'ill' has no counter-example in split train"),
    ],
)
def test_manifests_that_cannot_be_trained_on(tmp_path: Path, rows: list[Row], words: str) -> None:
    """Missing part, group in two parts, a file twice, one class, a class without images, a class without others."""
    with pytest.raises(ConfigurationError, match=r"manifest\.csv.*" + words):
        check_training_data(manifest(tmp_path, rows), labelled=True)


def test_damaged_and_missing_images_are_named(tmp_path: Path) -> None:
    """All are looked at, to their last byte; the first three are named and the others counted."""
    manifest(tmp_path, labelled_rows())
    (tmp_path / "images" / "2.png").unlink()
    whole = (tmp_path / "images" / "5.png").read_bytes()
    (tmp_path / "images" / "5.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "images" / "7.png").write_bytes(b"not a picture")
    with pytest.raises(ConfigurationError) as caught:
        check_training_data(tmp_path, labelled=True)
    words = str(caught.value)
    assert words.startswith("3 of 12 images cannot be used")
    assert "2.png is not there" in words
    assert "5.png is damaged" in words
    assert "7.png is damaged or no picture" in words


def test_label_maps_must_fit_their_images(tmp_path: Path) -> None:
    """A map of another size would teach nonsense."""
    rows = [row | {"label_file": f"labels/{i}.png"} for i, row in enumerate(labelled_rows())]
    for i in range(12):
        picture(tmp_path / "labels" / f"{i}.png", i)
    manifest(tmp_path, rows)
    check_training_data(tmp_path, labelled=False)
    picture(tmp_path / "labels" / "4.png", 4, (10, 10))
    with pytest.raises(ConfigurationError, match=r"labels/4.png has 10 x 10 pixels, its image 24 x 20"):
        check_training_data(tmp_path, labelled=False)
