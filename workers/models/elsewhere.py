"""Teeth or a spine in an image that came as a limb: seen by the networks that know them.

A classifier of limbs has no idea of other anatomy and may be sure of a finding in it, and its own features do not tell
(docs/README.md of the fracture bundle). The networks for teeth and vertebrae do: on a limb they see next to nothing.
Only what is seen counts against an image, so limbs of another device are not refused for looking unusual.
"""

from collections.abc import Sequence
from pathlib import Path

from workers.models.bundle import BUNDLES
from workers.models.looks import NumberedTooth
from workers.models.panoramic_teeth import LoadedPanoramicTeeth, PanoramicTeeth
from workers.models.spine import LoadedSpine, Spine
from workers.models.view import Plane

_CLEAR = 0.5  # how well a tooth is seen at least; no limb shows one
_TEETH = 2
_SPINE = 0.38  # mean heat of the vertebrae; limbs have 0.35 at most


class Elsewhere:
    """The networks that know other anatomy, as far as their bundles are installed."""

    def __init__(self, teeth: LoadedPanoramicTeeth | None, spine: LoadedSpine | None) -> None:
        """None: not installed; then nothing of the kind is noticed."""
        self._teeth, self._spine = teeth, spine

    @classmethod
    def open(cls, device: str, bundles: Path = BUNDLES) -> "Elsewhere":
        """Those of a folder of bundles. Raises ConfigurationError for a broken one."""
        teeth, spine = bundles / PanoramicTeeth.name, bundles / Spine.name
        return cls(
            PanoramicTeeth(teeth).load(device) if teeth.is_dir() else None,
            Spine(spine).load(device) if spine.is_dir() else None,
        )

    def reason(self, pixels: Plane) -> str:
        """Why an oriented image (rows, columns), 0 to 1, shows no limb; empty if nothing says so."""
        if self._teeth and (count := _clear(self._teeth.see(pixels).teeth)) >= _TEETH:
            return f"{count} teeth are seen in it"
        if self._spine and self._spine.see(pixels).seen >= _SPINE:
            return "a spine is seen in it"
        return ""


def _clear(teeth: Sequence[NumberedTooth]) -> int:
    """How many are seen beyond doubt."""
    return sum(tooth.instance.seen >= _CLEAR for tooth in teeth)
