"""Graphs for the tests of structural encodings, and what must hold of all of them."""

from typing import Any

import networkx as nx
import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit.encodings._encoding import Encoding
from tests.geometry.undirected import data_of

few_examples = settings(max_examples=20, deadline=None, derandomize=True, database=None)


@st.composite
def graphs(draw: st.DrawFn, most_nodes: int = 12) -> Any:
    """Undirected simple graphs, often disconnected and with isolated nodes, down to no nodes at all."""
    num_nodes = draw(st.integers(0, most_nodes))
    pairs = [(u, v) for u in range(num_nodes) for v in range(u)]
    edges = draw(st.lists(st.sampled_from(pairs), max_size=3 * num_nodes)) if pairs else []
    graph = nx.empty_graph(num_nodes)
    graph.add_edges_from(edges)
    return graph


def added(encoding: Encoding, data: Any) -> dict[str, Tensor]:
    """The attributes that the encoding adds; the given data must not change."""
    before = {key: value.clone() for key, value in data.to_dict().items() if isinstance(value, Tensor)}
    names = set(data.to_dict())
    out = encoding(data)
    assert out is not data
    assert set(data.to_dict()) == names
    assert all(torch.equal(data[key], value) for key, value in before.items())
    return {key: value for key, value in out.to_dict().items() if key not in names}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], *, bitwise: bool) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        if bitwise:
            assert torch.equal(found[key], value), key
        else:
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-5)


def check_repeats(encoding: Encoding, data: Any) -> None:
    """Bit by bit, with any number of threads."""
    before, expected = torch.get_num_threads(), added(encoding, data)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert_same(added(encoding, data), expected, bitwise=True)
    finally:
        torch.set_num_threads(before)


def check_batch(encoding: Encoding, members: list[Any], *, bitwise: bool = True) -> None:
    """A batch holds what its graphs give alone, and comes apart again."""
    batch: Any = Batch.from_data_list(members)
    whole = added(encoding, batch)
    alone = [encoding(member) for member in members]
    again: Any = Batch.from_data_list(alone)
    assert_same(whole, {key: again[key] for key in whole}, bitwise=bitwise)
    parts = encoding(batch).to_data_list()
    assert len(parts) == len(members)
    for part, single in zip(parts, alone, strict=True):
        assert_same({key: part[key] for key in whole}, {key: single[key] for key in whole}, bitwise=bitwise)


def relabelled(data: Any, seed: int) -> tuple[Any, Tensor]:
    """Nodes and columns in another order, and the new number of each node."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(data.num_nodes))
    columns = torch.from_numpy(np.random.default_rng(seed).permutation(data.edge_index.size(1)))
    return Data(edge_index=order[data.edge_index[:, columns]], num_nodes=data.num_nodes, columns=columns), order


def members() -> list[Any]:
    """Single graphs that a batch holds: empty, edgeless, disconnected, with a hub."""
    shapes = [
        nx.path_graph(4),
        nx.empty_graph(0),
        nx.empty_graph(3),
        nx.disjoint_union(nx.cycle_graph(5), nx.path_graph(1)),
        nx.star_graph(6),
        nx.empty_graph(0),
        nx.gnm_random_graph(12, 25, seed=1),
    ]
    return [data_of(shape) for shape in shapes]
