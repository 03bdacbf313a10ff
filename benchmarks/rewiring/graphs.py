"""Generated graphs for the benchmarks of rewiring, and the tools to look at them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data


@dataclass(frozen=True)
class Collection:
    """Graphs of one kind.

    Attributes:
        name: What they are like.
        graphs: All of them.
        origin: How they were made.
    """

    name: str
    graphs: list[Data]
    origin: str

    @property
    def nodes(self) -> float:
        """Mean number of nodes."""
        return float(np.mean([int(graph.num_nodes or 0) for graph in self.graphs]))

    @property
    def edges(self) -> float:
        """Mean number of undirected edges."""
        return float(np.mean([graph.num_edges / 2 for graph in self.graphs]))


def undirected(ends: np.ndarray | Tensor, num_nodes: int) -> Data:
    """A graph with both directions of every pair ``[2, M]``, in order of source, then target."""
    ends = torch.as_tensor(ends)
    both = torch.cat([ends, ends.flip(0)], dim=1)
    return Data(edge_index=both[:, (both[0] * num_nodes + both[1]).argsort()].contiguous(), num_nodes=num_nodes)


def edges_of(data: Data) -> Tensor:
    """Its ``edge_index``, which every graph here has."""
    if data.edge_index is None:
        raise ValueError("a graph without edge_index")
    return data.edge_index


def gnm(num_nodes: int, num_edges: int, seed: int = 0) -> Data:
    """Each set of ``num_edges`` pairs is equally likely."""
    rng = np.random.default_rng(seed)
    if num_edges > num_nodes * (num_nodes - 1) // 4:
        chosen = rng.choice(num_nodes * (num_nodes - 1) // 2, size=num_edges, replace=False)
        pairs = np.stack(np.triu_indices(num_nodes, 1))[:, chosen]
        return undirected(pairs, num_nodes)
    return undirected(_distinct(rng, num_nodes, num_edges, np.empty(0, dtype=np.int64)), num_nodes)


def tree_with_chords(num_nodes: int, num_edges: int, *, preferential: bool, seed: int = 0) -> Data:
    """A random tree, and random further edges.

    Each node of the tree hangs on one before it: with ``preferential``, on an end of a random earlier edge, which makes
    hubs; otherwise on one of the three before it, which makes chains as in molecules.
    """
    rng = np.random.default_rng(seed)
    parent = np.zeros(num_nodes, dtype=np.int64)
    for node in range(1, num_nodes):
        if not preferential:
            parent[node] = node - rng.integers(1, min(node, 3) + 1)
        elif node > 1:
            edge = rng.integers(1, node)
            parent[node] = (edge, parent[edge])[rng.integers(2)]
    child = np.arange(1, num_nodes)
    ends = _distinct(rng, num_nodes, num_edges, parent[1:] * num_nodes + child)
    return undirected(ends, num_nodes)


def _distinct(rng: np.random.Generator, num_nodes: int, num_edges: int, keys: np.ndarray) -> np.ndarray:
    """``num_edges`` pairs, smaller node first, those with the given keys among them."""
    while keys.size < num_edges:
        source, target = np.sort(rng.integers(num_nodes, size=(2, num_edges - keys.size + 8)), axis=0)
        new = np.setdiff1d((source * num_nodes + target)[source != target], keys)
        keys = np.concatenate([keys, rng.permutation(new)[: num_edges - keys.size]])
    return np.stack(np.divmod(keys, num_nodes))


def power_law_cluster(num_nodes: int, seed: int = 0) -> Data:
    """Holme and Kim's graph with two edges per new node, half of them closing triangles."""
    import networkx

    graph = networkx.powerlaw_cluster_graph(num_nodes, 2, 0.5, seed=seed)
    return undirected(np.array(list(graph.edges), dtype=np.int64).T, num_nodes)


def collections() -> list[Collection]:
    """Graphs of the sizes of four data sets of the TU collection."""

    def many(name: str, count: int, make: Callable[[int], Data], origin: str) -> Collection:
        return Collection(name, [make(seed) for seed in range(count)], origin)

    chains = "random trees of short branches with further random edges"
    return [
        many("MUTAG-like", 20, lambda seed: tree_with_chords(20, 22, preferential=False, seed=seed), chains),
        many("ENZYMES-like", 20, lambda seed: tree_with_chords(36, 66, preferential=False, seed=seed), chains),
        many("COLLAB-like", 3, lambda seed: gnm(75, 2450, seed), "random graphs of that many edges"),
        many(
            "REDDIT-like", 3, lambda seed: tree_with_chords(430, 499, preferential=True, seed=seed),
            "preferential trees with further random edges",
        ),
    ]  # fmt: skip


def edge_keys(data: Any) -> Tensor:
    """One number for each undirected edge of a graph, self-loops left out, in ascending order."""
    source, target = data.edge_index.cpu()
    keys = torch.minimum(source, target) * (2**31) + torch.maximum(source, target)
    return keys[source != target].unique()


def change(before: Any, after: Any) -> tuple[int, int]:
    """How many undirected edges were added, and how many removed."""
    old, new = edge_keys(before), edge_keys(after)
    stayed = int(torch.isin(new, old).sum())
    return new.numel() - stayed, old.numel() - stayed
