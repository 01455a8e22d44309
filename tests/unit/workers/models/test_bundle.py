"""Reading a bundle, and every way it can be wrong."""

import errno
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from billiard.exceptions import SoftTimeLimitExceeded

from service.domain.errors import ConfigurationError, Transient
from workers.models.bundle import BUNDLES, load_bundle
from workers.models.sight import Settings

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


def test_a_dropped_in_bundle_is_research_whatever_it_says(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only of a bundle that ships do we believe that it is more: of others the site decides, by name."""
    edit("metadata.json", research=False)(bundle)
    assert load_bundle(bundle).algorithm.research
    monkeypatch.setattr("workers.models.bundle.BUNDLES", bundle.parent)
    assert not load_bundle(bundle).algorithm.research


def test_other_weights_do_not_pass_under_the_version_of_a_release(bundle: Path) -> None:
    """A dropped-in bundle that says name and version of one that ships is told apart; a version of its own stays."""
    shipped = load_bundle(SHIPPED).algorithm.version
    assert "+" not in shipped, "what ships is released"
    assert load_bundle(bundle).algorithm.version == shipped, "the same weights"
    file = bundle / "models" / "model.pt"
    state = torch.load(file, weights_only=True)
    torch.save(state | {"post.0.bias": state["post.0.bias"] + 1}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    edit("metadata.json", weights_sha256=digest)(bundle)
    assert load_bundle(bundle).algorithm.version == f"{shipped}+{digest[:8]}"
    edit("metadata.json", version="7.0.0")(bundle)
    assert load_bundle(bundle).algorithm.version == "7.0.0"


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


@pytest.mark.parametrize(
    "error",
    [
        SoftTimeLimitExceeded,
        MemoryError,
        lambda: OSError(errno.EIO, "input/output error"),
        lambda: torch.OutOfMemoryError("CUDA out of memory"),
        lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_passing_trouble_is_not_the_bundles(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> None:
    """A time limit or want of memory while weights are read comes through as what it is, to be tried again."""

    def fail(*_: object, **__: object) -> None:
        raise error()

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(type(error())):
        load_bundle(SHIPPED)


@pytest.mark.parametrize("name", ["metadata.json", "model.pt"])
def test_a_file_that_cannot_be_read_now_is_tried_later(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A folder that is away for a moment (a stale handle, no descriptors) is no wrong setting."""
    real = io.open

    def fail(file: Path, *arguments: object, **options: object) -> object:
        if Path(file).name == name:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(file, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(io, "open", fail)
    with pytest.raises(Transient, match=rf"{name} cannot be read now \(Stale file handle\)"):
        load_bundle(SHIPPED)
