"""BREC: 400 pairs of graphs that are hard to tell apart.

Wang and Zhang, "An Empirical Study of Realized GNN Expressiveness", ICML 2024, https://arxiv.org/abs/2304.07702.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gnnkit.data.columns import DatasetInfo
from gnnkit.data.graph6 import decode_graph6, told_apart
from gnnkit.data.packed import GraphDataset
from gnnkit.errors import DataError


class Category(NamedTuple):
    """One kind of pairs; its file has that name."""

    name: str
    pairs: int
    title: str


CATEGORIES = (
    Category("basic", 60, "basic"),
    Category("regular", 50, "simple regular"),
    Category("str", 50, "strongly regular"),
    Category("extension", 100, "extension"),
    Category("cfi", 100, "CFI"),
    Category("4vtx", 20, "4-vertex condition"),
    Category("dr", 20, "distance regular"),
)
"""The kinds of pairs, in the order in which the published protocol numbers them: pairs 0 to 59 are basic, and so on.
Published tables count simple regular, strongly regular, 4-vertex condition and distance regular as "regular"."""

ROLES = tuple(category.name for category in CATEGORIES)


def read_brec(files: Mapping[str, Path], info: DatasetInfo) -> GraphDataset:
    """Reads the seven files of graph6 texts.

    Pair ``i`` is the graphs ``2 i`` and ``2 i + 1``. Graph attributes: ``y``, the number of the graph, since no two are
    isomorphic; ``pair``, int64 ``[G]``; ``category``, int64 ``[G]``, position in :data:`CATEGORIES`. All graphs are in
    the split ``test``.

    Args:
        files: One file per category, by its name.
        info: What the card says.

    Raises:
        DataError: If a file is damaged, or does not hold the stated number of pairs.

    Determinism: a function of the files.
    """
    texts: list[bytes] = []
    for category in CATEGORIES:
        texts += _texts(files[category.name], category)
    pair = torch.arange(len(texts) // 2)
    kind = torch.arange(len(CATEGORIES)).repeat_interleave(torch.tensor([entry.pairs for entry in CATEGORIES]))
    return told_apart(
        decode_graph6(texts, where="BREC"),
        info,
        pair=pair.repeat_interleave(2),
        category=kind.repeat_interleave(2),
    )


def _texts(path: Path, category: Category) -> list[bytes]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array of texts: {error}") from error
    # Some files hold one pair per row, others one graph.
    if found.dtype.kind not in "US" or found.size != 2 * category.pairs:
        raise DataError(
            f"{path} must hold {category.pairs} pairs of texts, got {found.size} entries of type {found.dtype}"
        )
    if found.dtype.kind == "U":
        try:
            found = np.char.encode(found, "ascii")
        except UnicodeEncodeError as error:
            raise DataError(f"{path} holds characters that are no graph6: {error}") from error
    return found.ravel().tolist()
