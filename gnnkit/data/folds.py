"""Ten-fold splits: from published lists, or stratified by a seed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError

NUM_FOLDS = 10
LISTED, STRATIFIED = "listed", "stratified"


def fold_split(y: Tensor, lists: Path | None, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """``train``, ``val`` and ``test`` of one of ten folds.

    Args:
        y: Classes, int64 ``[G]``.
        lists: File of the published lists; needed where ``splits`` is ``"listed"``.
        options: ``fold``, 0 to 9: which fold tests. ``splits``: ``"listed"`` takes training, validation and test graphs
            from the file; ``"stratified"`` makes folds with :func:`stratified_folds`, where fold ``fold + 1`` (after 9
            comes 0) validates. ``seed`` of the latter.

    Returns:
        Graph numbers in ascending order.

    Raises:
        ConfigError: If an option is out of range.
        DataError: If the file is damaged or is of other graphs.
    """
    fold, splits, seed = options.get("fold", 0), options.get("splits", STRATIFIED), options.get("seed", 0)
    if not 0 <= fold < NUM_FOLDS:
        raise ConfigError(f"fold must be 0 to {NUM_FOLDS - 1}, got {fold}")
    if splits == LISTED:
        if lists is None:
            raise ConfigError(f"no folds are listed for this dataset; use splits='{STRATIFIED}'")
        return _listed(lists, fold, y.numel())
    if splits != STRATIFIED:
        raise ConfigError(f"splits must be '{LISTED}' or '{STRATIFIED}', got {splits!r}")
    folds = stratified_folds(y, seed)
    validates = (fold + 1) % NUM_FOLDS
    parts = {"train": (folds != fold) & (folds != validates), "val": folds == validates, "test": folds == fold}
    return {key: members.nonzero().flatten() for key, members in parts.items()}


def stratified_folds(y: Tensor, seed: int) -> Tensor:
    """Deals the graphs, shuffled and sorted by class, out to ten folds in turn.

    So the sizes of two folds differ by one graph at most, and so does what they have of each class.

    Args:
        y: Classes, int64 ``[G]``.
        seed: Seed of the shuffling.

    Returns:
        Fold of each graph, int64 ``[G]``.

    Determinism: a function of ``y`` and ``seed``.
    """
    order = torch.randperm(y.numel(), generator=torch.Generator().manual_seed(seed))
    order = order[y[order].argsort(stable=True)]
    folds = torch.empty_like(order)
    folds[order] = torch.arange(y.numel()) % NUM_FOLDS
    return folds


def _listed(path: Path, fold: int, graphs: int) -> dict[str, Tensor]:
    """One fold of the lists of Errica et al., "A Fair Comparison of Graph Neural Networks", ICLR 2020.

    Each holds the test graphs, and one division of the others into training and validation.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(content, list) or len(content) != NUM_FOLDS:
        raise DataError(f"{path} must hold a list of {NUM_FOLDS} folds")
    try:
        inner = content[fold]["model_selection"][0]
        lists = {"train": inner["train"], "val": inner["validation"], "test": content[fold]["test"]}
        split = {key: torch.tensor(members, dtype=torch.int64).sort().values for key, members in lists.items()}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        expected = "'test' and 'model_selection' with 'train' and 'validation'"
        raise DataError(f"{path}: fold {fold} must hold lists of graph numbers {expected}") from error
    everything = torch.cat(list(split.values())).sort().values
    if not torch.equal(everything, torch.arange(graphs)):
        raise DataError(f"{path}: fold {fold} does not name each of the {graphs} graphs once; it is of another dataset")
    return split
