"""Graphs that layers get wrong most easily."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor


class Edges(NamedTuple):
    edge_index: Tensor
    num_nodes: int


def _random(num_nodes: int, num_edges: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(num_nodes, (2, num_edges), generator=generator)


CASES = {
    "random": Edges(_random(40, 60, 0), 40),
    "sparse_with_isolated_nodes": Edges(_random(9, 8, 1), 33),
    "multi_edges": Edges(torch.tensor([[0, 0, 0, 1, 2, 2], [1, 1, 1, 0, 1, 1]]), 4),
    "self_loops": Edges(torch.tensor([[0, 1, 1, 2, 2, 3], [0, 2, 1, 2, 1, 0]]), 5),
    "no_edges": Edges(torch.empty((2, 0), dtype=torch.int64), 3),
    "one_node_with_loop": Edges(torch.tensor([[0], [0]]), 1),
}


@pytest.fixture(params=CASES)
def edges(request: pytest.FixtureRequest) -> Edges:
    return CASES[request.param]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
