"""Graphs to make tokens of, and tokens as plain lists."""

import itertools

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph
from gnnkit.sequence import Tokens


def random_graph(num_nodes: int, num_edges: int, seed: int = 0, dtype: torch.dtype = torch.int64) -> Graph:
    """Directed, with multi-edges, self-loops, isolated nodes and nodes that no edge leaves."""
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, max(num_nodes, 1), (2, num_edges if num_nodes else 0))
    return Graph.from_edge_index(torch.from_numpy(edges).to(dtype), num_nodes)


def batch_of(graphs: list[Graph]) -> tuple[Graph, Tensor]:
    """Graphs side by side, and their boundaries."""
    ptr = torch.tensor(np.cumsum([0, *(graph.num_nodes for graph in graphs)]))
    parts = [graph.edge_index + int(begin) for graph, begin in zip(graphs, ptr[:-1], strict=True)]
    edges = torch.cat([torch.zeros((2, 0), dtype=torch.int64), *parts], 1)
    return Graph.from_edge_index(edges, int(ptr[-1])), ptr


@st.composite
def batches(draw: st.DrawFn) -> tuple[Graph, Tensor]:
    """Some small graphs, empty ones and ones without edges among them."""
    sizes = draw(st.lists(st.integers(0, 7), max_size=4))
    seed = draw(st.integers(0, 10**6))
    return batch_of([random_graph(size, (seed + size) % 15, seed + n) for n, size in enumerate(sizes)])


def sets_of(tokens: Tokens) -> list[list[list[int]]]:
    """Members of each token of each sequence."""
    parts = [part.tolist() for part in tokens.members.split(tokens.token_ptr.diff().tolist())]
    bounds = tokens.offsets.tolist()
    return [parts[begin:end] for begin, end in itertools.pairwise(bounds)]


def same(one: Tokens, two: Tokens) -> bool:
    """Whether both are the same, bit for bit."""
    names = ("members", "token_ptr", "offsets")
    equal = all(torch.equal(getattr(one, name), getattr(two, name)) for name in names)
    kinds = (one.kind is None) == (two.kind is None) and (one.kind is None or torch.equal(one.kind, two.kind))
    return equal and kinds and (one.level, one.num_nodes) == (two.level, two.num_nodes)
