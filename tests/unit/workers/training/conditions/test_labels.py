"""What the boxes say of each condition, and bad data."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers.models.conditions import HEADS
from workers.training.conditions.labels import merged, read_films, statement

BOXES = (
    "file,label,xmin,ymin,xmax,ymax\nimages/a.png,filling_or_crown,1,2,11,22\nimages/a.png,rct_or_implant,20,2,30,22\n"
)
AGAIN = "file,label,xmin,ymin,xmax,ymax,new_label,confidence\nimages/a.png,rct_or_implant,20,2,30,22,implant,high\n"


def said(first: str, second: str | None = None, confidence: str | None = None) -> dict[str, float]:
    """The known labels of a box by head."""
    _, labels = statement(first, second, confidence)
    return {head: float(value) for head, value in zip(HEADS, labels, strict=True) if not np.isnan(value)}


def test_a_mixed_label_leaves_its_parts_open() -> None:
    """Nobody looked again, or not surely: which of filling and crown, root canal and implant it is stays open."""
    for second, sure in ((None, None), ("crown", "low")):
        assert not {"filling", "crown", "pontic"} & set(said("filling_or_crown", second, sure))
        assert said("filling_or_crown", second, sure)["implant"] == 0
    assert not {"root-canal-treated", "implant", "filling"} & set(said("rct_or_implant"))


def test_a_sure_second_look_decides() -> None:
    """A sure second label is a yes for one condition and a no for those it was told apart from."""
    crown = said("filling_or_crown", "crown", "high")
    assert (crown["crown"], crown["filling"], crown["impacted"]) == (1, 0, 0)
    implant = said("rct_or_implant", "implant", "high")
    assert (implant["implant"], implant["root-canal-treated"]) == (1, 0)
    assert "crown" not in implant
    assert said("caries_destroyed", "root_stump", "high")["destroyed-crown"] == 1
    assert "destroyed-crown" not in said("caries_destroyed", "unclear", "low")
    assert "impacted" not in said("impacted", "upright_third_molar_maybe_erupted", "low")


def test_several_boxes_on_one_tooth() -> None:
    """A yes of one box counts before the no of another, and either before nothing."""
    nan = np.nan
    a, b = np.array([1, 0, nan, nan], np.float32), np.array([0, nan, 0, nan], np.float32)
    np.testing.assert_array_equal(merged([a, b]), [1, 0, 0, nan])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with one film."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Picture.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "manifest.csv").write_text("file,split,group\nimages/a.png,train,1\n")
    (tmp_path / "labels" / "boxes.csv").write_text(BOXES)
    (tmp_path / "labels" / "relabelled.csv").write_text(AGAIN)
    return tmp_path


def test_films_are_read(data: Path) -> None:
    """Each film comes with its boxes and with what both looks said of them."""
    (film,) = read_films(data, "train")
    assert film.pixels.shape == (40, 60)
    assert [box.name for box in film.boxes] == ["filling_or_crown", "implant"]
    assert film.boxes[1].box == (20, 2, 30, 22)


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        ("manifest.csv", "file,split,group\nimages/a.png,train,1\nimages/a.png,val,1\n", "lies in"),
        ("manifest.csv", "file,split\nimages/a.png,train\n", "group"),
        ("manifest.csv", "file,split,group\nimages/a.png,val,1\n", "'train'"),
        ("manifest.csv", "file,split,group\nimages/b.png,train,1\n", "b.png"),
        ("labels/boxes.csv", BOXES.replace("filling_or_crown", "tartar"), "tartar"),
        ("labels/boxes.csv", BOXES.replace("11", "eleven"), "four numbers"),
        ("images/a.png", "no picture", "a.png"),
    ],
)
def test_bad_data_are_refused(data: Path, file: str, content: str, word: str) -> None:
    """What is wrong with the data is said before training starts."""
    (data / file).write_text(content)
    with pytest.raises(ConfigurationError, match=word):
        read_films(data, "train")


def test_no_boxes(data: Path) -> None:
    """A folder without boxes is refused by name."""
    (data / "labels" / "boxes.csv").unlink()
    with pytest.raises(ConfigurationError, match=r"boxes\.csv"):
        read_films(data, "train")
