"""Parts of a data set that share no group and are alike in their labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_VALIDATION_ONE_IN = 5


def grouped_folds(
    groups: Sequence[str], labels: Sequence[str], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The fold, 0 to ``count`` - 1, of each image: whole groups, each kind of label spread as evenly as it goes.

    Groups are dealt one by one, the largest first and equal ones in random order, each to the fold where the counts of
    the labels become most even (as scikit-learn's StratifiedGroupKFold does).

    Raises:
        ValueError: there are fewer groups than folds.
    """
    names, group_of = np.unique(np.array(groups, str), return_inverse=True)
    kinds, kind_of = np.unique(np.array(labels, str), return_inverse=True)
    if len(names) < count:
        message = f"{len(names)} groups cannot be dealt to {count} folds"
        raise ValueError(message)
    table = np.zeros((len(names), len(kinds)))
    np.add.at(table, (group_of, kind_of), 1)
    weight = 1 / table.sum(0)  # so that a rare label counts as much as a common one
    order = rng.permutation(len(names))
    order = order[np.argsort(-(table[order] * weight).sum(1), kind="stable")]
    filled, fold_of = np.zeros((count, len(kinds))), np.zeros(len(names), int)
    for group in order:
        with_it = filled[None] + np.eye(count)[:, :, None] * table[group]  # (choice, fold, kind)
        unevenness = (with_it * weight).std(1).mean(1)
        size = filled.sum(1) / len(group_of)
        fold_of[group] = int(np.argmin(unevenness + 1e-6 * size))
        filled[fold_of[group]] += table[group]
    return fold_of[group_of]


def train_and_val(groups: Sequence[str], labels: Sequence[str], rng: np.random.Generator) -> list[str]:
    """``train`` or ``val`` for each image, one group in five for validation; all ``train`` where one group is all."""
    count = min(_VALIDATION_ONE_IN, len(set(groups)))
    if count == 1:
        return ["train"] * len(groups)
    return ["val" if fold == 0 else "train" for fold in grouped_folds(groups, labels, count, rng)]
