"""Which images a bundle was trained on: kept with it as digests, so that measuring it on one of them does not pass.

Parts that are made (not given by the user) fall another way when pictures were added, with another seed or task; then
images of the training come into the part that is measured, and the figures flatter without a word.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from workers.training.readers import read_rows

_LIST = Path("docs") / "trained_on.txt"  # of a bundle: a SHA-256 of a file in each line


def note_seen(bundle: Path, data: Path) -> None:
    """Keep the digests of the images of split train with a bundle."""
    digests = sorted({_digest(data / row["file"]) for row in read_rows(data) if row.get("split") == "train"})
    (bundle / _LIST).parent.mkdir(parents=True, exist_ok=True)
    (bundle / _LIST).write_text("".join(f"{digest}\n" for digest in digests), encoding="ascii")


def seen_among(bundle: Path | None, files: Sequence[Path]) -> int:
    """How many of these images a bundle was trained on; 0 where it does not say."""
    try:
        known = set((bundle / _LIST).read_text(encoding="ascii").split()) if bundle else set[str]()
    except (OSError, ValueError):
        return 0
    return sum(_digest(file) in known for file in files) if known else 0


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
