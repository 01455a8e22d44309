"""The transforms that a bundle made elsewhere lists, by name and with plain arguments; see ``foreign_steps``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from service.domain.errors import ConfigurationError
from workers.models.bundle_config import Config

ANSWER = "pred"  #: the key under which MONAI's evaluators keep what the network says
_NO_MATTER = frozenset(  # arguments that change no number
    [
        *("keys", "allow_missing_keys", "lazy", "device", "non_blocking", "track_meta", "data_type", "wrap_sequence"),
        *("meta_keys", "meta_key_postfix", "channel_dim", "strict_check", "image_only", "ensure_channel_first"),
        *("simple_keys", "prune_meta_pattern", "prune_meta_sep", "prune_metadata", "expanduser", "overwriting"),
        *("affine_lps_to_ras", "names", "sep", "use_re"),
    ]
)
_EACH = frozenset({"mode", "padding_mode", "align_corners", "anti_aliasing", "anti_aliasing_sigma", "dtype"})


@dataclass(frozen=True, slots=True)
class Transform:
    """One entry of a Compose.

    Attributes:
        name: MONAI's, without the d of dictionaries; as it stands where it is not one of the known.
        arguments: as they stand, without those that change no number.
        config: where it stands.
        mend: what to do where it cannot be read.
    """

    name: str
    arguments: dict[str, Any]
    config: Config
    mend: str

    def value(self, key: str) -> Any:  # noqa: ANN401 - whatever stands there
        """An argument, resolved; None where it is not given. Raises ConfigurationError."""
        return self.config.plain(self.arguments.get(key))

    def refuse(self, why: str) -> NoReturn:
        """Raises ConfigurationError."""
        refuse(self.config, f"{self.name} {why}", self.mend)

    def check_arguments(self, known: frozenset[str]) -> None:
        """Raises ConfigurationError for one that is not among the known."""
        if odd := self.arguments.keys() - known:
            self.refuse(f"has arguments that Dentgate does not read ({', '.join(sorted(odd))})")


def refuse(config: Config, why: str, mend: str) -> NoReturn:
    """Raises ConfigurationError."""
    message = f"{config.file}: {why}; {mend}"
    raise ConfigurationError(message)


def transforms(config: Config, value: object, known: frozenset[str], mend: str, key: str = "") -> Iterator[Transform]:
    """Those that concern one key of the dictionary that they work on.

    Args:
        config: where they stand.
        value: a Compose, a list, or a reference to one.
        known: names, without the d of dictionaries.
        mend: what to do where one cannot be read.
        key: "pred", the network's answer; empty = the picture, by whatever name the first transform reads it.

    Raises:
        ConfigurationError: one is not known, or would have to be computed.
    """
    for entry in _entries(config, value, mend):
        name = plain_name(str(entry["_target_"]), known)
        keys = config.plain(entry.get("keys"))
        named = [keys] if isinstance(keys, str) else keys if isinstance(keys, list) else []
        key = key or (str(named[0]) if named else "")
        if named and key not in named:
            continue
        if name not in known:
            refuse(config, f"the transform {name} is not one that Dentgate reads", mend)
        kept = {k: v for k, v in entry.items() if k[0] != "_" and k not in _NO_MATTER}
        for each in kept.keys() if key == ANSWER else _EACH & kept.keys():
            values = config.follow(kept[each])
            if named and isinstance(values, list) and len(values) == len(named):
                kept[each] = values[named.index(key)]
        yield Transform(name, kept, config, mend)


def plain_name(target: str, known: frozenset[str]) -> str:
    """Of "monai.transforms.Resized" it is "Resize"; what is not MONAI's, or not known, stays as it stands."""
    module, _, name = target.rpartition(".")
    if module and not f"{module}.".startswith("monai.transforms."):
        return target
    short = (name, *(name.removesuffix(ending) for ending in ("Dict", "D", "d")))
    return next((each for each in short if each in known), target)


def _entries(config: Config, value: object, mend: str) -> Iterator[dict[str, Any]]:
    """The definitions in a Compose, in their order; those that are switched off are left out."""
    entry = config.follow(value)
    if isinstance(entry, list):
        for each in entry:
            yield from _entries(config, each, mend)
    elif not isinstance(entry, dict) or "_target_" not in entry or entry.get("_mode_", "default") != "default":
        refuse(config, f"{str(entry)[:100]!r} is no list of transforms that can be read", mend)
    elif config.plain(entry.get("_disabled_", False)):
        return
    elif plain_name(str(entry["_target_"]), frozenset({"Compose"})) == "Compose":
        yield from _entries(config, entry.get("transforms", []), mend)
    else:
        yield entry
