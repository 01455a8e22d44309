"""What the boxes say of each condition, and bad data."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers.models.conditions import HEADS
from workers.training.conditions.labels import answered, merged, read_films, statement
from workers.training.layouts import prepare

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


@pytest.mark.parametrize(
    ("label", "mixed", "second"),
    [
        ("filling", "filling_or_crown", "filling"),
        ("Crown", "filling_or_crown", "crown"),
        ("pontic", "filling_or_crown", "pontic"),
        ("root-canal-treated", "rct_or_implant", "rct"),
        ("Root canal filling", "rct_or_implant", "rct"),
        ("implant", "rct_or_implant", "implant"),
        ("Impacted tooth", "impacted", "impacted"),
        ("destroyed-crown", "caries_destroyed", "root_stump"),
        ("residual root", "caries_destroyed", "root_stump"),
    ],
)
def test_a_final_label_needs_no_second_look(label: str, mixed: str, second: str) -> None:
    """A label that says what it is, in our spelling or another, says what a mixed label and a sure second look say."""
    assert said(label) == said(mixed, second, "high")
    assert 1 in said(label).values()


def test_caries_is_no_destroyed_crown() -> None:
    """A box of caries of any size leaves open whether the crown is destroyed, and makes no healthy tooth either."""
    assert "destroyed-crown" not in said("Deep Caries")
    assert said("Caries")["implant"] == 0


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


def test_boxes_of_a_spreadsheet_with_semicolons(data: Path) -> None:
    """And Windows line ends and folders."""
    text = BOXES.replace("images/", "images\\").replace(",", ";").replace("\n", "\r\n")
    (data / "labels" / "boxes.csv").write_text(text, newline="")
    (film,) = read_films(data, "train")
    assert film.boxes[1].box == (20, 2, 30, 22)


def test_coco_boxes_on_pictures_of_one_name(data: Path) -> None:
    """COCO boxes are found by the name of the picture: two of one name would get each other's."""
    (data / "labels" / "boxes.csv").unlink()
    (data / "a.json").write_text("{}")
    (data / "manifest.csv").write_text("file,split,group\nimages/a.png,train,1\nmore/a.png,val,2\n")
    with pytest.raises(ConfigurationError, match="pictures of one name in several folders"):
        read_films(data, "train")


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        ("manifest.csv", "file,split,group\nimages/a.png,train,1\nimages/a.png,val,1\n", "lies in"),
        ("manifest.csv", "file,split\nimages/a.png,train\n", "group"),
        ("manifest.csv", "file,split,group\nimages/a.png,val,1\n", "'train'"),
        ("manifest.csv", "file,split,group\nimages/a.png,train,1\nimages/b.png,train,2\n", "b.png"),
        ("manifest.csv", "file,split,group\nimages/b.png,train,1\n", "no box of .* lies on an image"),
        ("labels/boxes.csv", BOXES.replace("filling_or_crown", "tartar"), "tartar"),
        ("labels/boxes.csv", BOXES.replace("11", "eleven"), "four numbers"),
        ("labels/boxes.csv", BOXES.replace("11", "1"), "no size"),
        ("labels/boxes.csv", BOXES.replace("label", "class"), "lacks the columns label"),
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


def test_deep_films_are_not_clipped(data: Path) -> None:
    """Of a film of 16 bits the dark half stays apart from the bright."""
    deep = np.tile(np.linspace(0, 65535, 60).astype(np.uint16), (40, 1))
    Picture.fromarray(deep).save(data / "images" / "a.png")
    (film,) = read_films(data, "train")
    assert film.pixels[0, 0] == 0
    assert film.pixels[0, 30] == pytest.approx(130, abs=4)
    assert film.pixels[0, -1] == 255


def coco(plain: bool) -> dict[str, object]:  # noqa: FBT001 - a test parameter
    """A box of an impacted tooth, in DENTEX's layout or with the condition as the only category."""
    annotation = {"image_id": 7, "bbox": [5, 6, 10, 20], "category_id": 1}
    document: dict[str, object] = {"images": [{"id": 7, "file_name": "films/a.png"}], "annotations": [annotation]}
    if plain:
        return document | {"categories": [{"id": 0, "name": "crown"}, {"id": 1, "name": "impacted"}]}
    annotation |= {"category_id_1": 0, "category_id_2": 7, "category_id_3": 1}
    del annotation["category_id"]
    numbers = [{"id": k, "name": str(k + 1)} for k in range(8)]
    diseases = [{"id": 0, "name": "Caries"}, {"id": 1, "name": "Impacted"}]
    return document | {"categories_1": numbers[:4], "categories_2": numbers, "categories_3": diseases}


@pytest.mark.parametrize("plain", [True, False])
def test_coco_boxes(data: Path, tmp_path_factory: pytest.TempPathFactory, plain: bool) -> None:  # noqa: FBT001 - a test parameter
    """Without boxes.csv, the boxes of a COCO file beside the manifest are read, DENTEX's diseases among them.

    The manifest may name the films alone: then parts and groups are made.
    """
    (data / "labels" / "boxes.csv").unlink()
    (data / "boxes.json").write_text(json.dumps(coco(plain)))
    (data / "manifest.csv").write_text("file\nimages/a.png\n")
    (film,) = read_films(prepare(data, tmp_path_factory.mktemp("out"), 0, "all"), "all")
    (data / "manifest.csv").write_text("file,split,group\nimages/a.png,train,1\n")
    assert len(read_films(data, "train")[0].boxes) == 1
    (box,) = film.boxes
    assert (box.name, box.box) == ("impacted", (5, 6, 15, 26))
    (data / "boxes.json").write_text(json.dumps(coco(plain) | {"images": 3}))
    with pytest.raises(ConfigurationError, match="is not COCO with conditions"):
        read_films(data, "train")


def test_what_has_no_example_is_not_answered(data: Path) -> None:
    """Answered is what has a box in both parts; where that is nothing, it is refused, and says what each part has."""
    (data / "labels" / "boxes.csv").write_text(BOXES.replace("rct_or_implant", "rct").replace("filling_or_", ""))
    (data / "labels" / "relabelled.csv").unlink()
    films = read_films(data, "train")
    assert answered(films, films) == ("crown", "root-canal-treated")
    (data / "labels" / "boxes.csv").write_text(BOXES.replace("filling_or_", ""))
    assert answered(films, read_films(data, "train")) == ("crown",)
    (data / "labels" / "boxes.csv").write_text(BOXES.replace("filling_or_crown", "pontic"))
    with pytest.raises(ConfigurationError, match=r"train \(crown, root-canal-treated\) and split val \(pontic\)"):
        answered(films, read_films(data, "train"))
