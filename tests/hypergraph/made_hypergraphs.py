"""Hypergraphs for the tests, and their dense incidence matrices."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.hypergraph import HyperData, Hypergraph

# Nodes, hyperedges, incidences.
SHAPES: dict[str, tuple[int, int, list[tuple[int, int]]]] = {
    "nothing": (0, 0, []),
    "no hyperedges": (4, 0, []),
    "no nodes": (0, 3, []),
    "empty hyperedges": (3, 4, [(0, 1), (2, 1)]),
    "one node each": (3, 3, [(2, 0), (0, 1), (0, 2)]),
    "repeated incidences": (4, 2, [(1, 0), (0, 0), (1, 0), (3, 1), (3, 1), (3, 1)]),
    "trailing ones empty": (6, 5, [(0, 1), (3, 0), (1, 1), (2, 1), (3, 1)]),
    "one hyperedge of all": (5, 1, [(v, 0) for v in (3, 1, 4, 0, 2)]),
}


def hypergraph_of(shape: str, dtype: torch.dtype = torch.int64) -> Hypergraph:
    num_nodes, num_hyperedges, pairs = SHAPES[shape]
    index = torch.tensor(pairs, dtype=dtype).reshape(-1, 2).t()
    return Hypergraph.from_incidence(index, num_nodes=num_nodes, num_hyperedges=num_hyperedges)


def dense(hypergraph: Hypergraph) -> Tensor:
    """The incidence matrix in float64, one entry at a time."""
    matrix = torch.zeros(hypergraph.num_nodes, hypergraph.num_hyperedges, dtype=torch.float64)
    for node, hyperedge in hypergraph.hyperedge_index.t().tolist():
        matrix[node, hyperedge] += 1
    return matrix


def data_of(hypergraph: Hypergraph, **attributes: object) -> HyperData:
    return HyperData(
        hyperedge_index=hypergraph.hyperedge_index,
        num_nodes=hypergraph.num_nodes,
        num_hyperedges=hypergraph.num_hyperedges,
        **attributes,
    )


def random_hypergraphs(max_nodes: int = 9, max_hyperedges: int = 7) -> "st.SearchStrategy[Hypergraph]":
    """Any incidences, in any order: repeated ones, isolated nodes and empty hyperedges among them."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Hypergraph:
        num_nodes, num_hyperedges = draw(st.integers(0, max_nodes)), draw(st.integers(0, max_hyperedges))
        pairs = st.tuples(st.integers(0, max(num_nodes - 1, 0)), st.integers(0, max(num_hyperedges - 1, 0)))
        most = 20 if num_nodes and num_hyperedges else 0
        index = torch.tensor(draw(st.lists(pairs, max_size=most)), dtype=torch.int64).reshape(-1, 2).t()
        return Hypergraph.from_incidence(index, num_nodes=num_nodes, num_hyperedges=num_hyperedges)

    return drawn()


def random_edges(max_nodes: int = 8) -> "st.SearchStrategy[tuple[Tensor, int]]":
    """Any directed edges: multi-edges, self-loops and isolated nodes among them."""

    @st.composite
    def drawn(draw: st.DrawFn) -> tuple[Tensor, int]:
        num_nodes = draw(st.integers(1, max_nodes))
        node = st.integers(0, num_nodes - 1)
        pairs = draw(st.lists(st.tuples(node, node), max_size=16))
        return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t().contiguous(), num_nodes

    return drawn()
