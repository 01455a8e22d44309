"""Examples for training: augmentation, targets, losses, windows, another scanner."""

import numpy as np
import pytest
import torch

from workers.models.arch import CLASS_OF, MIRRORED
from workers.networks.tooth_net import CLASSES, OFFSET_UNIT
from workers.training.phantom import panoramic_phantom
from workers.training.teeth.augment import augment, remove_teeth, surround
from workers.training.teeth.losses import tooth_loss
from workers.training.teeth.panoramics import (
    IGNORED,
    UNKNOWN,
    phantom_samples,
    to_classes,
)
from workers.training.teeth.stress import other_scanner
from workers.training.teeth.targets import dense_targets
from workers.training.teeth.windows import draw_window


def test_examples_keep_pixels_and_labels_together() -> None:
    """After any augmentation teeth are brighter than their surroundings: image and labels moved alike."""
    (sample,) = phantom_samples([11])
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(12):
        example = augment(sample, (128, 256), rng)
        assert example.pixels.shape == (1, 1, 128, 256)
        small = example.pixels[..., ::2, ::2]
        ratios.append(float(small[example.classes > 0].mean() - small[example.classes == 0].mean()))
    assert np.nanmedian(ratios) > 0.08  # a window may have lost all its teeth


def test_mirroring_swaps_sides() -> None:
    """In every example, mirrored or not, quadrant 1 lies left of quadrant 2."""
    (sample,) = phantom_samples([12])
    rng = np.random.default_rng(1)
    for _ in range(12):
        columns = torch.nonzero(augment(sample, (128, 256), rng).classes[0, 0])
        classes = augment(sample, (128, 256), rng).classes[0, 0]
        right, left = ((classes >= a) & (classes <= a + 7) for a in (1, 9))
        if right.any() and left.any() and len(columns):
            assert torch.nonzero(right)[:, 1].float().mean() < torch.nonzero(left)[:, 1].float().mean()
    assert MIRRORED[CLASS_OF[48]] == CLASS_OF[38]


def test_removed_teeth_vanish() -> None:
    """A removed tooth loses its label and its brightness; its neighbours keep theirs."""
    (sample,) = phantom_samples([13])
    pixels = torch.tensor(sample.pixels[::2, ::2]).float()[None, None] / 255
    classes = torch.tensor(sample.classes[::4, ::4]).long()[None, None]
    gone = next(c for c in (CLASS_OF[46], CLASS_OF[47], CLASS_OF[36]) if (classes == c).any())
    after, left = remove_teeth(pixels, classes, [gone], np.random.default_rng(0))
    assert not (left == gone).any()
    assert ((left == classes) | (classes == gone)).all()
    there = torch.nn.functional.interpolate((classes == gone).float(), pixels.shape[-2:], mode="nearest") > 0
    assert after[there].mean() < pixels[there].mean() - 0.03


def test_targets_point_to_centres() -> None:
    """Every pixel of a tooth plus its offset is the centre of the tooth, where the heat is highest."""
    classes = torch.zeros(1, 40, 60, dtype=torch.long)
    classes[0, 10:30, 20:31] = 5
    targets = dense_targets(classes)
    row, column = divmod(int(targets.heat.argmax()), 60)
    assert (row, column) in {(19, 25), (20, 25)}
    assert targets.offsets[1, 15, 20] * OFFSET_UNIT == pytest.approx(5)
    assert targets.centres == 1


def test_loss_prefers_the_truth() -> None:
    """The loss of the right answer is far below that of background everywhere."""
    classes = torch.zeros(1, 40, 60, dtype=torch.long)
    classes[0, 10:30, 20:31] = 5
    targets = dense_targets(classes)
    right = torch.zeros(1, 36, 40, 60)
    right[:, :CLASSES] = 12 * torch.nn.functional.one_hot(classes, CLASSES).permute(0, 3, 1, 2)
    right[:, CLASSES] = torch.logit(targets.heat.clamp(1e-4, 1 - 1e-4))
    right[:, CLASSES + 1 :] = targets.offsets
    wrong = torch.zeros_like(right)
    wrong[:, 0], wrong[:, CLASSES] = 12, -9
    given = (classes[:, None], targets.heat[None], targets.offsets[None], 1)
    losses = [float(tooth_loss(o, *given, targets.known[None]).total) for o in (right, wrong)]
    assert losses[0] < 0.2 * losses[1]


def test_what_is_unknown_teaches_nothing() -> None:
    """Where nobody knows, the loss is the same whatever the network says; elsewhere it is not."""
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 20:31], labels[5:35, 40:50] = 15, UNKNOWN
    classes = torch.tensor(to_classes(labels)).long()[None]
    assert (classes == IGNORED).sum() == 300
    targets = dense_targets(classes)
    assert targets.centres == 1
    given = (targets.classes[None], targets.heat[None], targets.offsets[None], 1, targets.known[None])
    output = torch.randn(1, 36, 40, 60, generator=torch.Generator().manual_seed(0))
    there, beside = output.clone(), output.clone()
    there[..., 5:35, 40:50] += 3 * torch.randn(1, 36, 30, 10, generator=torch.Generator().manual_seed(1))
    beside[..., 5:35, 0:10] += 3 * torch.randn(1, 36, 30, 10, generator=torch.Generator().manual_seed(1))
    before, unknown, known = (float(tooth_loss(o, *given).total) for o in (output, there, beside))
    assert unknown == pytest.approx(before, rel=1e-5)
    assert known != pytest.approx(before, rel=1e-3)


def test_windows_show_a_few_teeth() -> None:
    """A window holds at least two teeth and fewer than half the arch; on its canvas it keeps its shape."""
    (sample,) = phantom_samples([14])
    rng = np.random.default_rng(3)
    drawn = [window for window in (draw_window(sample.classes, rng) for _ in range(30)) if window is not None]
    assert len(drawn) > 20
    assert {window.bitewing for window in drawn} == {True, False}
    for window in drawn:
        x0, y0, x1, y1 = (round(v * 512) for v in window.box)
        part = sample.classes[max(y0, 0) : y1, max(x0, 0) : x1]
        assert 2 <= len(np.unique(part)) - 1 <= 16
        rows, columns = window.extent(sample.aspect, (256, 512))
        true_shape = sample.aspect * (window.box[2] - window.box[0]) / (window.box[3] - window.box[1])
        assert columns / rows == pytest.approx(true_shape, rel=0.05)
        assert np.hypot(rows, columns) == pytest.approx(256 * window.fill, rel=0.02)


def test_surrounds() -> None:
    """A surround hides the corners evenly and leaves the middle alone."""
    pixels = torch.rand(1, 1, 40, 80, generator=torch.Generator().manual_seed(0))
    hidden = surround(pixels, np.random.default_rng(0))
    assert len({float(hidden[0, 0, y, x]) for y in (0, -1) for x in (0, -1)}) == 1
    assert torch.equal(hidden[..., 10:30, 20:60], pixels[..., 10:30, 20:60])


@pytest.mark.parametrize("seed", range(6))
def test_other_scanner_keeps_every_tooth(seed: int) -> None:
    """Re-framing as another scanner cuts no tooth off and moves image and labels alike."""
    phantom = panoramic_phantom(seed, rows=256, columns=480)
    pixels, labels = other_scanner(
        phantom.pixels.astype(np.float32) / np.float32(4095), phantom.labels, np.random.default_rng(seed)
    )
    assert pixels.shape == labels.shape
    assert pixels.dtype == np.float32
    assert set(np.unique(labels)) == set(np.unique(phantom.labels))
    assert pixels[labels > 0].mean() > pixels[labels == 0].mean()
