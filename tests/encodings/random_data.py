"""Graphs for the tests of random encodings."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch_geometric.data import Data


def data_of(graph: Any) -> Any:
    """Both directions of every edge, and its weights where it has any."""
    directed = graph.to_directed()
    edges = torch.tensor(list(directed.edges()), dtype=torch.int64).reshape(-1, 2).T
    data = Data(edge_index=edges, num_nodes=graph.number_of_nodes())
    weights = [weight for *_, weight in directed.edges(data="weight")]
    if weights and weights[0] is not None:
        data.edge_weight = torch.tensor(weights, dtype=torch.float64)
    return data


def weighted(graph: Any, seed: int = 0) -> Any:
    """The same graph with weights between 0.2 and 2."""
    random = np.random.default_rng(seed)
    out = graph.copy()
    for edge in out.edges:
        out.edges[edge]["weight"] = float(random.uniform(0.2, 2))
    return out


def normalised(data: Any) -> np.ndarray:
    """``D^-1/2 A D^-1/2`` by the definition, edge by edge."""
    matrix = np.zeros((data.num_nodes, data.num_nodes))
    weight = torch.ones(data.num_edges) if data.get("edge_weight") is None else data.edge_weight
    for i, j, value in zip(*data.edge_index.tolist(), weight.tolist(), strict=True):
        matrix[i, j] += value
    root = np.sqrt(matrix.sum(1))
    return np.divide(matrix, np.outer(root, root), out=np.zeros_like(matrix), where=matrix > 0)


@st.composite
def undirected(draw: st.DrawFn, most_nodes: int = 9) -> Any:
    """Small graphs with isolated nodes, several edges between two nodes, self-loops and, at times, weights."""
    size = draw(st.integers(0, most_nodes))
    node = st.integers(0, max(size - 1, 0))
    edges = draw(st.lists(st.tuples(node, node), max_size=2 * size if size else 0))
    half = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T
    data = Data(edge_index=torch.cat([half, half.flip(0)], dim=1), num_nodes=size)
    if draw(st.booleans()):
        weight = draw(st.lists(st.floats(0.1, 3), min_size=len(edges), max_size=len(edges)))
        data.edge_weight = torch.tensor(weight * 2, dtype=torch.float64)
    return data
