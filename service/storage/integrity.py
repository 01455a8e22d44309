"""Whether a stored instance is still what was received. Its digest is over the data set, not the header we wrote."""

import hashlib
from typing import BinaryIO

_PIECE = 1 << 20
_GROUP_LENGTH_AT = 140  # 128 bytes of preamble, "DICM", tag, VR and length of (0002,0000): PS3.10 section 7.1
_GROUP_AT = 144


def is_intact(file: BinaryIO, sha256: str) -> bool:
    """Compare the data set of an instance that we stored with its digest (hex); leaves the file at its beginning."""
    file.seek(_GROUP_LENGTH_AT)
    file.seek(_GROUP_AT + int.from_bytes(file.read(_GROUP_AT - _GROUP_LENGTH_AT), "little"))
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest() == sha256
