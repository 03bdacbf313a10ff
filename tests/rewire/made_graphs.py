"""Graphs for the tests of rewirings, and what holds for every result."""

from typing import Any

import networkx as nx
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Data


def data_of(graph: "nx.Graph", **attributes: Any) -> Any:
    """``Data`` with nodes in the order in which NetworkX lists them."""
    place = {node: index for index, node in enumerate(graph.nodes)}
    ends = torch.tensor([[place[u], place[v]] for u, v in graph.edges], dtype=torch.int64).reshape(-1, 2).T
    return Data(edge_index=torch.cat([ends, ends.flip(0)], dim=1), num_nodes=len(place), **attributes)


def networkx_of(data: Any) -> "nx.Graph":
    graph = nx.empty_graph(data.num_nodes)
    graph.add_edges_from(data.edge_index.T.tolist())
    return graph


def pairs_of(data: Any, edge_type: int | None = None) -> set[tuple[int, int]]:
    """Undirected edges, of one type or all."""
    edge_index = data.edge_index
    if edge_type is not None:
        edge_index = edge_index[:, data.edge_type == edge_type]
    return {(min(u, v), max(u, v)) for u, v in edge_index.T.tolist()}


def relabelled(data: Any, number: Tensor) -> Any:
    """The same graph with node ``v`` called ``number[v]``."""
    return Data(edge_index=number[data.edge_index], num_nodes=data.num_nodes)


def renamed(pairs: set[tuple[int, int]], number: Tensor) -> set[tuple[int, int]]:
    moved = [(int(number[u]), int(number[v])) for u, v in pairs]
    return {(min(u, v), max(u, v)) for u, v in moved}


def assert_well_formed(before: Any, after: Any, *, keeps_edges: bool = True) -> None:
    """Symmetric in edges and types, ordered, without self-loops and multi-edges; original edges are type 0."""
    columns = after.edge_index.T.tolist()
    assert columns == sorted(columns)
    assert len({tuple(column) for column in columns}) == len(columns)
    assert all(u != v for u, v in columns)
    types = {(u, v): kind for (u, v), kind in zip(columns, after.edge_type.tolist(), strict=True)}
    assert all(types[v, u] == kind for (u, v), kind in types.items())
    original = pairs_of(before)
    assert pairs_of(after, 0) <= original
    assert (pairs_of(after) - pairs_of(after, 0)).isdisjoint(original)
    if keeps_edges:
        assert pairs_of(after, 0) == original


def random_data(max_nodes: int = 14) -> "st.SearchStrategy[Any]":
    """Sparse to complete, connected or not, empty graphs among them."""

    @st.composite
    def drawn(draw: Any) -> Any:
        num_nodes = draw(st.integers(0, max_nodes))
        density = draw(st.sampled_from([0.0, 0.15, 0.3, 0.6, 1.0]))
        return data_of(nx.gnp_random_graph(num_nodes, density, seed=draw(st.integers(0, 10**6))))

    return drawn()


EDGE_CASES = {
    "no nodes": nx.empty_graph(0),
    "one node": nx.empty_graph(1),
    "no edges": nx.empty_graph(5),
    "one edge": nx.path_graph(2),
    "complete": nx.complete_graph(6),
    "two parts and an isolated node": nx.disjoint_union_all([nx.path_graph(5), nx.cycle_graph(4), nx.empty_graph(1)]),
    "star": nx.star_graph(6),
}
