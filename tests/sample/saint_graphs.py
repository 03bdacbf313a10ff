"""Graphs for the tests of the samplers of GraphSAINT, and all samplers by name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.sample import SaintEdge, SaintFrontier, SaintNode, SaintWalk
from gnnkit.sample._saint import Saint

SAMPLERS: dict[str, Callable[..., Saint]] = {
    "node": lambda data, **options: SaintNode(data, 12, **options),
    "degree": lambda data, **options: SaintNode(data, 12, weights="degree", **options),
    "edge": lambda data, **options: SaintEdge(data, 6, **options),
    "walk": lambda data, **options: SaintWalk(data, 5, 2, **options),
    "frontier": lambda data, **options: SaintFrontier(data, 15, 4, **options),
    "clipped": lambda data, **options: SaintFrontier(data, 15, 4, degree_clip=2, **options),
}


class Listed(Saint):
    """Subgraphs that are listed, one after the other and again from the first."""

    def __init__(self, data: Data, sets: list[list[int]], *, coverage: float, **options: Any) -> None:
        options = {"train_mask": None, "inductive": False, "seed": 0, "prefetch": 0} | options
        super().__init__(data, coverage=coverage, **options)
        self.sets = [torch.tensor(part) for part in sets]
        self._finish(len(sets), 1, max(map(len, sets)))

    def draw(self, first: int, count: int, key: int) -> tuple[Tensor, Tensor]:
        parts = [self.sets[number % len(self.sets)] for number in range(first, first + count)]
        return torch.cat(parts), torch.tensor([0, *np.cumsum([len(part) for part in parts])])

    def settings(self) -> dict[str, Any]:
        return {"sets": [part.tolist() for part in self.sets]}


def both_ways(pairs: list[tuple[int, int]]) -> Tensor:
    one = torch.tensor(pairs).reshape(-1, 2).t()
    return torch.stack([one, one.flip(0)], dim=2).reshape(2, -1)


def path(num_nodes: int) -> Data:
    """Columns 2 i and 2 i + 1 of the edges are i -> i + 1 and its opposite."""
    return Data(edge_index=both_ways([(i, i + 1) for i in range(num_nodes - 1)]), num_nodes=num_nodes)


def cycle(num_nodes: int) -> Data:
    return Data(edge_index=both_ways([(i, (i + 1) % num_nodes) for i in range(num_nodes)]), num_nodes=num_nodes)


def random_data(num_nodes: int = 40, num_pairs: int = 80, *, seed: int = 0, width: int = 3) -> Data:
    """An undirected graph with attributes of all kinds; nodes without edges are likely."""
    rng = np.random.default_rng(seed)
    pairs = [(int(a), int(b)) for a, b in rng.integers(0, num_nodes, (num_pairs, 2)) if a != b]
    edge_index = both_ways(sorted({(min(pair), max(pair)) for pair in pairs}))
    return Data(
        edge_index=edge_index[:, torch.from_numpy(rng.permutation(edge_index.size(1)))],
        x=torch.from_numpy(rng.standard_normal((num_nodes, width))).float(),
        y=torch.from_numpy(rng.integers(0, 2, num_nodes)),
        train_mask=torch.from_numpy(rng.random(num_nodes) < 0.5),
        edge_attr=torch.arange(edge_index.size(1)),
    )
