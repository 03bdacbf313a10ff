"""Batches of graphs for the tests of orderings, hierarchies and tokenizers."""

from typing import Any

import networkx as nx
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph

few_examples = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def batch_of(*graphs: Any, directed: bool = False) -> tuple[Graph, Tensor]:
    """NetworkX graphs side by side, nodes in their order, both directions of every edge; and ``ptr``."""
    sizes = [graph.number_of_nodes() for graph in graphs]
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    pairs = [
        (int(ptr[place]) + number[u], int(ptr[place]) + number[v])
        for place, graph in enumerate(graphs)
        for number in [{node: n for n, node in enumerate(graph)}]
        for u, v in (graph.edges if directed else graph.to_directed().edges)
    ]
    edges = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).mT.contiguous()
    return Graph.from_edge_index(edges, int(ptr[-1])), ptr


def edges_of(num_nodes: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    node = st.integers(0, max(num_nodes - 1, 0))
    return st.lists(st.tuples(node, node), max_size=3 * num_nodes)


@st.composite
def batches(draw: Any, most_nodes: int = 9) -> tuple[Graph, Tensor]:
    """Some graphs, empty ones among them, with multi-edges, self-loops and edges of one direction only."""
    columns, ptr = [], [0]
    for _ in range(draw(st.integers(0, 3))):
        size = draw(st.integers(0, most_nodes))
        columns += [(ptr[-1] + u, ptr[-1] + v) for u, v in draw(edges_of(size))]
        ptr.append(ptr[-1] + size)
    edges = torch.tensor(columns, dtype=torch.int64).reshape(-1, 2).mT.contiguous()
    return Graph.from_edge_index(edges, ptr[-1]), torch.tensor(ptr)


def undirected(graph: Graph) -> Any:
    """The NetworkX graph of the pairs that are joined, without self-loops."""
    out: Any = nx.Graph()
    out.add_nodes_from(range(graph.num_nodes))
    out.add_edges_from((u, v) for u, v in graph.edge_index.T.tolist() if u != v)
    return out


def renumbered(graph: Graph, ptr: Tensor, seed: int) -> tuple[Graph, Tensor]:
    """The same batch with other numbers for the nodes of each graph; and the new number of each node."""
    generator = torch.Generator().manual_seed(seed)
    new = torch.arange(graph.num_nodes)
    for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        new[begin:end] = begin + torch.randperm(end - begin, generator=generator)
    return Graph.from_edge_index(new[graph.edge_index], graph.num_nodes), new


def one_graph(graph: Graph, ptr: Tensor, place: int) -> Graph:
    """One graph of a batch by itself."""
    begin, end = int(ptr[place]), int(ptr[place + 1])
    edges = graph.edge_index
    inside = (edges[1] >= begin) & (edges[1] < end)
    return Graph.from_edge_index(edges[:, inside] - begin, end - begin)


def whole(graph: Graph) -> Tensor:
    """``ptr`` of a batch of one graph."""
    return torch.tensor([0, graph.num_nodes])
