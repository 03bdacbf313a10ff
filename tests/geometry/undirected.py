"""Undirected graphs for the tests of curvatures and of rewirings, and an independent optimal transport."""

from typing import Any

import networkx as nx
import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor
from torch_geometric.data import Data


def edge_index_of(graph: Any) -> tuple[Tensor, int]:
    """Both directions of every edge, shuffled, and the number of nodes; nodes in ascending order become 0 to N - 1."""
    number = {node: place for place, node in enumerate(sorted(graph))}
    pairs = [(number[u], number[v]) for u, v in graph.edges()]
    edges = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).mT
    edges = torch.cat([edges, edges.flip(0)], dim=1)
    order = np.random.default_rng(edges.size(1)).permutation(edges.size(1))
    return edges[:, torch.from_numpy(order)], len(number)


def matrix_of(graph: Any) -> np.ndarray:
    """The adjacency matrix; rows are the nodes in ascending order (NetworkX would take them as they were inserted)."""
    return nx.to_numpy_array(graph, nodelist=sorted(graph), dtype=np.int64)


def data_of(graph: Any) -> Any:
    edge_index, num_nodes = edge_index_of(graph)
    return Data(edge_index=edge_index, num_nodes=num_nodes)


def random_graph(seed: int, most_nodes: int = 25) -> Any:
    """Sparse, dense, disconnected and hub graphs in turn."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, most_nodes + 1))
    if seed % 4 == 3 and n > 4:
        return nx.barabasi_albert_graph(n, 2, seed=seed)
    share = (0.1, 0.25, 0.6)[seed % 4 % 3]
    return nx.gnm_random_graph(n, int(share * n * (n - 1) / 2) + 1, seed=seed)


def molecule_like_graph(seed: int) -> Any:
    """A tree of 20 nodes and three more edges, as rings of molecules have them."""
    rng = np.random.default_rng(seed)
    graph = nx.Graph((int(rng.integers(max(0, v - 3), v)), v) for v in range(1, 20))
    while graph.number_of_edges() < 22:
        u, v = rng.integers(0, 20, 2)
        if u != v:
            graph.add_edge(int(u), int(v))
    return graph


def values_by_edge(edge_index: Tensor, values: Tensor) -> dict[tuple[int, int], float]:
    """By pair of nodes, the lower one first; both directions must agree."""
    found: dict[tuple[int, int], float] = {}
    for u, v, value in zip(*edge_index.tolist(), values.tolist(), strict=True):
        pair = (min(u, v), max(u, v))
        assert found.setdefault(pair, value) == value
    return found


def edge_set(edge_index: Tensor) -> set[tuple[int, int]]:
    """The undirected edges; both directions must be there once, and no self-loops."""
    columns = set(zip(*edge_index.tolist(), strict=True))
    assert len(columns) == edge_index.size(1)
    assert all(u != v and (v, u) in columns for u, v in columns)
    return {(u, v) for u, v in columns if u < v}


def lin_lu_yau(graph: Any, i: int, j: int) -> float:
    """By a linear program at idleness 1 / (D + 1), with distances from breadth-first searches."""
    largest = max(graph.degree[i], graph.degree[j])
    idle = 1 / (largest + 1)
    distance = dict(nx.all_pairs_shortest_path_length(graph))
    masses: list[dict[int, float]] = [{}, {}]
    for mass, end in zip(masses, (i, j), strict=True):
        mass.update(dict.fromkeys(graph[end], (1 - idle) / graph.degree[end]))
        mass[end] = idle
    sources, targets = (list(mass) for mass in masses)
    cost = [distance[s][t] for s in sources for t in targets]
    rows = np.kron(np.eye(len(sources)), np.ones(len(targets)))
    columns = np.kron(np.ones(len(sources)), np.eye(len(targets)))
    wanted = [*masses[0].values(), *masses[1].values()]
    transport = linprog(cost, A_eq=np.vstack([rows, columns]), b_eq=wanted)
    return (largest + 1) / largest * (1 - transport.fun)
