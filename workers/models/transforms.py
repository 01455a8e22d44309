"""What ``configs/inference.json`` of our bundles names beside MONAI's own: from a file to the network's input and back.

The gateway does not run these; it takes the same steps by the same functions, with the same numbers: those of the file,
to which ``@`` refers (see ``workers.training.monai_config``). They work on dictionaries, as most of MONAI's bundles do.
"""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.inferers import Inferer
from monai.transforms import MapTransform
from numpy.typing import NDArray

from service.domain.errors import ConfigurationError
from workers.models import intraoral_teeth, panoramic_teeth, spine
from workers.models.canvas import canvas_of
from workers.models.oral_photo import pooled
from workers.models.photo_view import look_at, window_of
from workers.models.picture_files import read_picture
from workers.models.tooth_crops import Jaws, Place
from workers.models.view import inside, standardize
from workers.models.view import look_at as look_at_plane
from workers.regions import Detection

_COLOURS = 3
Data = Mapping[Hashable, Any]
Floats = NDArray[np.float32]


class _PictureTransform(MapTransform):
    """Changes what stands under each of its keys, float32 (channels, rows, columns)."""

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        changed = dict(data)
        for key in self.key_iterator(changed):
            changed[key] = torch.from_numpy(np.ascontiguousarray(self.changed(changed[key], data), np.float32))
        return changed

    @abstractmethod
    def changed(self, value: Any, data: Data) -> Floats:  # noqa: ANN401 - a path or a picture
        ...


class ReadPictured(_PictureTransform):
    """A file, picture or DICOM, as the gateway sees it: upright, window and inversion applied, 0 to 1.

    ``channels``: 1 or 3. MONAI's readers know neither of these, and none of the orientation of an X-ray.
    """

    def __init__(self, keys: KeysCollection, channels: int = 1) -> None:
        """``channels``: a grey picture becomes three times itself, one in colours is refused where one is wanted."""
        super().__init__(keys)
        self.channels = channels

    def changed(self, value: Any, _data: Data) -> Floats:  # noqa: ANN401 - anything that names a file
        """(channels, rows, columns). Raises ConfigurationError naming the file."""
        pixels = read_picture(Path(value))
        colour = pixels.ndim == _COLOURS
        if colour and self.channels == 1:
            message = f"{value} is in colour, the model was made for grey images"
            raise ConfigurationError(message)
        return pixels.transpose(2, 0, 1) if colour else np.repeat(pixels[None], self.channels, 0)


class OnCanvasd(_PictureTransform):
    """Into the middle of a canvas, its aspect kept; see ``workers.models.canvas.canvas_of``."""

    def __init__(self, keys: KeysCollection, size: Sequence[int], percentiles: Sequence[float] | None = None) -> None:
        """``size``: rows and columns; ``percentiles``: of the grey values, brought to 0 and 1."""
        super().__init__(keys)
        self.size = _two(size)
        self.percentiles = None if percentiles is None else (float(percentiles[0]), float(percentiles[1]))

    def changed(self, value: Any, _data: Data) -> Floats:  # noqa: ANN401 - a tensor or an array
        """(channels, *size), 0 to 1."""
        pixels = _pixels(value)
        return canvas_of(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0), self.size, self.percentiles)


class PanoramicLookd(_PictureTransform):
    """The tooth network's first look: the whole panoramic, standardized."""

    def __init__(self, keys: KeysCollection, size: Sequence[int]) -> None:
        """``size``: rows and columns of the canvas."""
        super().__init__(keys)
        self.size = _two(size)

    def changed(self, value: Any, _data: Data) -> Floats:  # noqa: ANN401 - a tensor or an array
        """(1, *size), 0 to 1."""
        pixels = _pixels(value)[0]
        return standardize(look_at_plane(pixels, panoramic_teeth.whole(pixels), self.size))[None]


class FilmLookd(PanoramicLookd):
    """The tooth network's first look at an intra-oral film: amid the canvas, its own tones standardized."""

    def changed(self, value: Any, _data: Data) -> Floats:  # noqa: ANN401 - a tensor or an array
        """(1, *size), 0 to 1."""
        pixels = _pixels(value)[0]
        frame = intraoral_teeth.film_frame(pixels.shape, self.size, intraoral_teeth.SIZES[0])
        return standardize(look_at_plane(pixels, frame, self.size), inside(frame, self.size))[None]


class SpineLookd(PanoramicLookd):
    """The spine network's first look: the whole film amid the canvas, standardized."""

    def changed(self, value: Any, _data: Data) -> Floats:  # noqa: ANN401 - a tensor or an array
        """(1, *size), 0 to 1."""
        pixels = _pixels(value)[0]
        return standardize(look_at_plane(pixels, spine.whole(pixels.shape, self.size), self.size))[None]


class PhotoLooksd(_PictureTransform):
    """The photograph model's two looks, the whole picture and closer, one behind the other: (6, *size)."""

    def __init__(self, keys: KeysCollection, size: Sequence[int], closer: float) -> None:
        """``size``: rows and columns of the canvas; ``closer``: share of each side in the second look."""
        super().__init__(keys)
        self.size, self.closer = _two(size), float(closer)

    def changed(self, value: Any, _data: Data) -> Floats:  # noqa: ANN401 - a tensor or an array
        """(6, *size), 0 to 1."""
        colour = _pixels(value).transpose(1, 2, 0)
        rows, columns = colour.shape[:2]
        windows = (window_of(rows, columns, share) for share in (1.0, self.closer))
        return np.concatenate([look_at(colour, window, self.size).transpose(2, 0, 1) for window in windows])


class ToothCropd(_PictureTransform):
    """A crop of one tooth, as the condition network sees it; see ``workers.models.tooth_crops``.

    The dictionary holds beside the panoramic: ``teeth``, the box x0, y0, x1, y1 (pixels) of every tooth that was found
    by its FDI number; ``tooth``, the number of the one that is meant; and, where it is known, ``mask``, bool, that
    tooth's mask inside its box.
    """

    def __init__(self, keys: KeysCollection, size: int) -> None:
        """``size``: rows and columns of the crop."""
        super().__init__(keys)
        self.size = int(size)

    def changed(self, value: Any, data: Data) -> Floats:  # noqa: ANN401 - a tensor or an array
        """(3, size, size), 0 to 1: grey, mask of the tooth, distance from the midline."""
        boxes = {int(fdi): tuple(int(side) for side in box) for fdi, box in data["teeth"].items()}
        teeth = [Detection("tooth", fdi, 1.0, (b[0], b[1], b[2], b[3])) for fdi, b in boxes.items()]
        tooth, mask = int(data["tooth"]), data.get("mask")
        x0, y0, x1, y1 = boxes[tooth]
        place = Place((x0, y0, x1, y1), None if mask is None else np.asarray(mask, np.bool_), tooth)
        crop = Jaws(_pixels(value)[0], teeth).crop(place, self.size)
        return crop.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


class Calibratedd(_PictureTransform):
    """Logits (classes,) times a slope plus an offset for each class."""

    def __init__(self, keys: KeysCollection, slopes: Sequence[float], offsets: Sequence[float]) -> None:
        """``slopes``, ``offsets``: in the order of the classes."""
        super().__init__(keys)
        self.slopes, self.offsets = np.array(slopes, np.float32), np.array(offsets, np.float32)

    def changed(self, value: Any, _data: Data) -> Floats:  # noqa: ANN401 - a tensor or an array
        """(classes,)."""
        return np.asarray(_pixels(value) * self.slopes + self.offsets, np.float32)


class MirroredInferer(Inferer):
    """The mean of what a network says of pictures (B, channels, rows, columns) and of their mirror images."""

    def __init__(self, *, mirrored: bool = True) -> None:
        """``mirrored``: False = the pictures alone."""
        super().__init__()
        self.mirrored = mirrored

    def __call__(
        self,
        inputs: torch.Tensor,
        network: Callable[..., torch.Tensor],
        *args: object,
        **kwargs: object,
    ) -> torch.Tensor:
        """(B, classes) logits."""
        plain = network(inputs, *args, **kwargs)
        return (plain + network(inputs.flip(-1), *args, **kwargs)) / 2 if self.mirrored else plain


class PhotoInferer(Inferer):
    """All looks of ``PhotoLooksd``, each also mirrored, by all networks of ``PhotoNets``: the mean of their logits."""

    def __init__(self, classes: int) -> None:
        """``classes``: how many each network tells apart."""
        super().__init__()
        self.classes = classes

    def __call__(
        self,
        inputs: torch.Tensor,
        network: Callable[..., torch.Tensor],
        *args: object,
        **kwargs: object,
    ) -> torch.Tensor:
        """(B, classes) logits of looks (B, 6, rows, columns)."""
        views = [look for three in inputs.split(_COLOURS, 1) for look in (three, three.flip(-1))]
        maps = torch.stack([network(view, *args, **kwargs)[:, :-1] for view in views], 1)  # the last: is it a mouth
        parts = maps.unflatten(2, (-1, self.classes))
        return torch.from_numpy(pooled(parts.detach().cpu().numpy()).mean((1, 2))).to(inputs.device)


def _two(size: Sequence[int]) -> tuple[int, int]:
    rows, columns = size
    return int(rows), int(columns)


def _pixels(value: Any) -> Floats:  # noqa: ANN401 - a tensor, MONAI's or torch's, or an array
    return np.asarray(value, np.float32)
