"""Graphs to walk on, and powers of their walk matrices, dense and entry by entry."""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Data


def data_of(graph: Any) -> Any:
    """Both directions of the edges of a NetworkX graph."""
    edges = torch.tensor(list(graph.to_directed().edges), dtype=torch.int64).reshape(-1, 2).T
    return Data(edge_index=edges, num_nodes=graph.number_of_nodes())


def random_data(
    num_nodes: int, num_edges: int, *, seed: int = 0, symmetric: bool = False, weighted: bool = True
) -> Any:
    """Edges at random, with multi-edges, self-loops, isolated nodes and dead ends."""
    generator = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(max(num_nodes, 1), (2, num_edges), generator=generator)
    weight = torch.rand(num_edges, generator=generator, dtype=torch.float64) if weighted else None
    if symmetric:
        edge_index = torch.cat([edge_index, edge_index.flip(0)], 1)
        weight = None if weight is None else torch.cat([weight, weight])
    return Data(edge_index=edge_index, edge_weight=weight, num_nodes=num_nodes)


@st.composite
def random_graphs(draw: Any, largest: int = 14) -> Any:
    """Small graphs of all kinds that :func:`random_data` makes, with half of their weights 0 at times."""
    num_nodes = draw(st.integers(0, largest))
    num_edges = draw(st.integers(0, 3 * num_nodes))
    kind = {"symmetric": draw(st.booleans()), "weighted": draw(st.booleans())}
    data = random_data(num_nodes, num_edges, seed=draw(st.integers(0, 10**6)), **kind)
    if data.edge_weight is not None and draw(st.booleans()):
        data.edge_weight[::2] = 0
    return data


def walk_matrix(data: Any) -> Tensor:
    """``P``, float64 ``[N, N]``, one edge after the other."""
    weight = torch.ones(data.num_edges) if data.edge_weight is None else data.edge_weight
    matrix = torch.zeros(data.num_nodes, data.num_nodes, dtype=torch.float64)
    for source, target, added in zip(*data.edge_index.tolist(), weight.tolist(), strict=True):
        matrix[source, target] += added
    degree = matrix.sum(1, keepdim=True)
    return matrix / degree.where(degree > 0, 1)


def powers(data: Any, steps: int) -> Tensor:
    """``P^0`` to ``P^steps``, float64 ``[steps + 1, N, N]``."""
    walk = walk_matrix(data)
    found = [torch.eye(data.num_nodes, dtype=torch.float64)]
    for _ in range(steps):
        found.append(found[-1] @ walk)
    return torch.stack(found)


def returns(data: Any, steps: int) -> Tensor:
    """The diagonals of ``P`` to ``P^steps``, float32 ``[N, steps]``."""
    return powers(data, steps)[1:].diagonal(dim1=1, dim2=2).T.float()
