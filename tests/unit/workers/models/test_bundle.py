"""Reading a bundle, and every way it can be wrong."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from service.domain.errors import ConfigurationError
from workers.models.bundle import BUNDLES, load_bundle
from workers.models.panoramic_teeth import Settings

SHIPPED = BUNDLES / "teeth_panoramic"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the shipped bundle that may be broken."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "teeth_panoramic"))


def edit(name: str, **changes: object) -> Callable[[Path], None]:
    """Change keys of a configuration; None deletes one."""

    def change(bundle: Path) -> None:
        file = bundle / "configs" / name
        document = json.loads(file.read_text(encoding="utf-8")) | changes
        file.write_text(json.dumps({k: v for k, v in document.items() if v is not None}), encoding="utf-8")

    return change


def truncate(bundle: Path) -> None:
    """Half of the weights, as after an interrupted download."""
    file = bundle / "models" / "model.pt"
    file.write_bytes(file.read_bytes()[:1000])


def foreign(bundle: Path) -> None:
    """Weights of something else, with a digest that fits."""
    file = bundle / "models" / "model.pt"
    torch.save({"weight": torch.zeros(3)}, file)
    edit("metadata.json", weights_sha256=hashlib.sha256(file.read_bytes()).hexdigest())(bundle)


def pickled(bundle: Path) -> None:
    """A pickle that would run code, with a digest that fits."""
    file = bundle / "models" / "model.pt"
    torch.save({"weight": Path("/")}, file)
    edit("metadata.json", weights_sha256=hashlib.sha256(file.read_bytes()).hexdigest())(bundle)


def garble(bundle: Path) -> None:
    """A configuration that is no JSON."""
    (bundle / "configs" / "metadata.json").write_text("{", encoding="utf-8")


def test_shipped_bundle_is_whole() -> None:
    """The shipped bundle loads, is marked research, and names its data, licence and use; its settings are complete."""
    loaded = load_bundle(SHIPPED)
    assert loaded.algorithm.research
    assert loaded.algorithm.weights_sha256 == hashlib.sha256((SHIPPED / "models/model.pt").read_bytes()).hexdigest()
    assert {"data_source", "license", "intended_use", "eval_metrics", "network_data_format"} <= set(loaded.metadata)
    assert Settings.of(SHIPPED, loaded.settings).canvas[0] % 32 == 0
    assert (SHIPPED / "models/model.pt").stat().st_size < 12e6
    assert (SHIPPED / "docs/README.md").is_file()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "metadata.json cannot be read"),
        (lambda bundle: (bundle / "models/model.pt").unlink(), "model.pt cannot be read"),
        (truncate, "sha256"),
        (foreign, "does not fit the network"),
        (pickled, "does not fit the network"),
        (garble, "not JSON"),
        (edit("metadata.json", version=None), "lacks version"),
        (edit("inference.json", network_def={"_target_": "os.system", "command": "true"}), "names no network_def"),
        (edit("inference.json", network_def={"_target_": "workers.networks.tooth_net.No"}), "cannot be built"),
        (edit("inference.json", network_def=None), "names no network_def"),
    ],
)
def test_broken_bundle(bundle: Path, damage: Callable[[Path], None], words: str) -> None:
    """A corrupt, missing or foreign bundle is one line that names the cause and the mend."""
    damage(bundle)
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_bundle(bundle)
    assert "\n" not in str(caught.value)
    assert "install Dentgate again" in str(caught.value)
