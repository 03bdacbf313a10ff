"""Return probabilities against closed forms, dense powers and PyTorch Geometric."""

from typing import Any

import networkx
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import AddRandomWalkPE, Compose

from gnnkit.encodings import RandomWalk, random_walk
from gnnkit.errors import ConfigError, DataError, ShapeError


def data_of(graph: Any) -> Any:
    edges = torch.tensor(list(graph.to_directed().edges), dtype=torch.int64).reshape(-1, 2).T
    return Data(edge_index=edges, num_nodes=graph.number_of_nodes())


def random_data(
    num_nodes: int, num_edges: int, *, seed: int = 0, symmetric: bool = False, weighted: bool = True
) -> Any:
    generator = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(num_nodes, (2, num_edges), generator=generator)
    weight = torch.rand(num_edges, generator=generator, dtype=torch.float64) if weighted else None
    if symmetric:
        edge_index = torch.cat([edge_index, edge_index.flip(0)], 1)
        weight = None if weight is None else torch.cat([weight, weight])
    return Data(edge_index=edge_index, edge_weight=weight, num_nodes=num_nodes)


def by_dense_powers(data: Any, steps: int) -> Tensor:
    weight = torch.ones(data.num_edges) if data.edge_weight is None else data.edge_weight
    source, target = data.edge_index
    matrix = torch.zeros(data.num_nodes, data.num_nodes, dtype=torch.float64)
    for position in range(data.num_edges):
        matrix[source[position], target[position]] += weight[position]
    walk = matrix / matrix.sum(1, keepdim=True).where(matrix.sum(1, keepdim=True) > 0, 1)
    return torch.stack([torch.linalg.matrix_power(walk, step + 1).diagonal() for step in range(steps)], 1).float()


CLOSED_FORMS = {
    "cycle_6": (networkx.cycle_graph(6), [0, 0.5, 0, 0.375, 0, 0.34375, 0, 0.3359375]),
    "complete_5": (networkx.complete_graph(5), [0, 0.25, 0.1875, 0.203125]),
    "cycle_3": (networkx.cycle_graph(3), [0, 0.5, 0.25, 0.375, 0.3125]),
    "star_leaf": (networkx.star_graph(4), [0, 0.25, 0, 0.25]),
    "path_end": (networkx.path_graph(4), [0, 0.5, 0, 0.375]),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms(name: str):
    graph, expected = CLOSED_FORMS[name]
    data = RandomWalk(len(expected))(data_of(graph))
    assert data.random_walk_pe[-1].tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("path", ["dense", "sparse"])
def test_equals_dense_powers_with_weights_multi_edges_loops_and_dead_ends(
    steps: int, symmetric: bool, path: str, monkeypatch: pytest.MonkeyPatch
):
    if path == "sparse":
        monkeypatch.setattr(random_walk, "_DENSE_SIZE", 0)
        monkeypatch.setattr(random_walk, "_BLOCK_COLUMNS", 7)
        monkeypatch.setattr(random_walk, "_ENTRIES", 100)
    data = random_data(30, 70, symmetric=symmetric)
    out = RandomWalk(steps)(data).random_walk_pe
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, by_dense_powers(data, steps))


@pytest.mark.parametrize("symmetric", [True, False])
def test_large_sparse_components_take_the_sparse_path_and_agree(symmetric: bool, monkeypatch: pytest.MonkeyPatch):
    ring = torch.arange(700)
    edge_index = torch.stack([ring, ring.roll(-1)])
    edge_index = torch.cat([edge_index, edge_index.flip(0)], 1) if symmetric else edge_index
    data = Data(edge_index=edge_index, edge_weight=torch.rand(edge_index.size(1)), num_nodes=700)
    if symmetric:
        data.edge_weight[700:] = data.edge_weight[:700]
    calls = []
    name = "_reversible_columns" if symmetric else "_directed_columns"
    original = getattr(random_walk, name)
    monkeypatch.setattr(random_walk, name, lambda *given: calls.append(1) or original(*given))
    out = RandomWalk(6)(data).random_walk_pe
    assert calls
    torch.testing.assert_close(out, by_dense_powers(data, 6), rtol=1e-5, atol=1e-7)


def test_equals_pyg_without_weights():
    graph = data_of(networkx.gnp_random_graph(40, 0.1, seed=3))
    expected = AddRandomWalkPE(12)(graph.clone()).random_walk_pe
    torch.testing.assert_close(RandomWalk(12)(graph).random_walk_pe, expected, rtol=1e-5, atol=1e-6)


def test_weights_and_multi_edges_enter_where_pyg_ignores_them():
    triangle = Data(edge_index=torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]]), num_nodes=3)
    triangle.edge_weight = torch.tensor([1.0, 1.0, 2.0, 2.0, 3.0, 3.0])
    # Node 0: to 1 with 1/4 and back with 1/3, to 2 with 3/4 and back with 3/5.
    assert RandomWalk(2)(triangle).random_walk_pe[0].tolist() == pytest.approx([0, 1 / 12 + 9 / 20])
    double = Data(edge_index=torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0]]), num_nodes=2)
    assert RandomWalk(2)(double).random_walk_pe.tolist() == [[0, 1], [0, 1]]


def test_tiny_and_disconnected_graphs():
    empty: Any = RandomWalk(3)(Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=0))
    assert empty.random_walk_pe.shape == (0, 3)
    loop: Any = RandomWalk(2)(Data(edge_index=torch.tensor([[0], [0]]), num_nodes=2))
    assert loop.random_walk_pe.tolist() == [[1, 1], [0, 0]]
    two = data_of(networkx.disjoint_union(networkx.cycle_graph(6), networkx.complete_graph(5)))
    out = RandomWalk(4)(two).random_walk_pe
    assert out[0].tolist() == pytest.approx([0, 0.5, 0, 0.375])
    assert out[-1].tolist() == pytest.approx([0, 0.25, 0.1875, 0.203125])


def test_directed_walks_follow_the_edges():
    cycle = Data(edge_index=torch.tensor([[0, 1, 2, 2], [1, 2, 0, 3]]), num_nodes=4)
    out = RandomWalk(3)(cycle).random_walk_pe
    assert out.tolist() == [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]


def test_zero_weights_are_no_edges():
    data = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.zeros(2), num_nodes=2)
    assert RandomWalk(2)(data).random_walk_pe.tolist() == [[0, 0], [0, 0]]
    data.edge_weight = None
    assert RandomWalk(2)(data).random_walk_pe.tolist() == [[0, 1], [0, 1]]


def test_a_batch_is_its_graphs_and_comes_apart_again():
    graphs: list[Any] = [random_data(n, 3 * n, seed=n, weighted=False) for n in (5, 1, 9, 9, 5)]
    expected = [RandomWalk(6)(graph.clone()).random_walk_pe for graph in graphs]
    batch: Any = RandomWalk(6)(Batch.from_data_list(graphs))
    torch.testing.assert_close(batch.random_walk_pe, torch.cat(expected))
    for single, value in zip(batch.to_data_list(), expected, strict=True):
        torch.testing.assert_close(single.random_walk_pe, value)
    torch.testing.assert_close(batch[2].random_walk_pe, expected[2])


def test_repeats_bitwise_and_moves_with_the_nodes():
    data = random_data(50, 160)
    out = RandomWalk(9)(data.clone()).random_walk_pe
    assert torch.equal(RandomWalk(9)(data.clone()).random_walk_pe, out)
    perm = torch.randperm(50)
    moved = Data(edge_index=perm[data.edge_index], edge_weight=data.edge_weight, num_nodes=50)
    torch.testing.assert_close(RandomWalk(9)(moved).random_walk_pe[perm], out)


def test_composes_names_and_prints():
    data: Any = Compose([RandomWalk(3, attr_name="pe", weight_attr=None)])(random_data(5, 9))
    assert data.pe.shape == (5, 3)
    assert "random_walk_pe" not in data
    assert repr(RandomWalk(3)) == "RandomWalk(3, attr_name='random_walk_pe', weight_attr='edge_weight')"


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_bad_weights_are_named(bad: float):
    data = random_data(4, 6)
    data.edge_weight[3] = bad
    with pytest.raises(DataError, match=r"RandomWalk: data\.edge_weight must be finite and not negative, but edge 3"):
        RandomWalk(2)(data)


def test_other_bad_input_is_named():
    with pytest.raises(ConfigError, match="steps must be at least 1, got 0"):
        RandomWalk(0)
    with pytest.raises(DataError, match="edge_index, which is missing"):
        RandomWalk(2)(Data(x=torch.ones(3, 1)))
    with pytest.raises(DataError, match="leaves the range of the 2 nodes"):
        RandomWalk(2)(Data(edge_index=torch.tensor([[0], [2]]), num_nodes=2))
    with pytest.raises(ShapeError, match="one weight per edge"):
        RandomWalk(2)(Data(edge_index=torch.tensor([[0], [1]]), edge_weight=torch.ones(2), num_nodes=2))
