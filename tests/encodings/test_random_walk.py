"""Return probabilities against closed forms, dense powers and PyTorch Geometric."""

from typing import Any

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import AddRandomWalkPE, Compose

from gnnkit.encodings import RandomWalk
from gnnkit.errors import ConfigError, DataError, ShapeError
from tests.encodings.walks import data_of, random_data, random_graphs, returns

CLOSED_FORMS = {
    "cycle_6": (networkx.cycle_graph(6), [0, 0.5, 0, 0.375, 0, 0.34375, 0, 0.3359375]),
    "complete_5": (networkx.complete_graph(5), [0, 0.25, 0.1875, 0.203125]),
    "cycle_3": (networkx.cycle_graph(3), [0, 0.5, 0.25, 0.375, 0.3125]),
    "star_leaf": (networkx.star_graph(4), [0, 0.25, 0, 0.25]),
    "path_end": (networkx.path_graph(4), [0, 0.5, 0, 0.375]),
}
reproducible = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def value(data: Any, steps: int) -> torch.Tensor:
    return RandomWalk(steps)(data).random_walk_pe


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms(name: str):
    graph, expected = CLOSED_FORMS[name]
    assert value(data_of(graph), len(expected))[-1].tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("num_nodes", "num_edges"), [(30, 70), (200, 260), (120, 9000)])
def test_equals_dense_powers_with_weights_multi_edges_loops_and_dead_ends(
    steps: int, symmetric: bool, num_nodes: int, num_edges: int
):
    data = random_data(num_nodes, num_edges, symmetric=symmetric)
    out = value(data, steps)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, returns(data, steps), rtol=1e-6, atol=1e-9)


@reproducible
@given(random_graphs(), st.integers(1, 12))
def test_equals_dense_powers_on_graphs_of_all_kinds(data: Any, steps: int):
    torch.testing.assert_close(value(data, steps), returns(data, steps), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("symmetric", [True, False])
def test_walks_that_do_not_get_everywhere_are_complete(symmetric: bool):
    ring = torch.arange(70)
    edge_index = torch.stack([ring, ring.roll(-1)])
    edge_index = torch.cat([edge_index, edge_index.flip(0)], 1)
    weight = torch.rand(140, dtype=torch.float64)
    if symmetric:
        weight[70:] = weight[:70]
    data = Data(edge_index=edge_index, edge_weight=weight, num_nodes=70)
    for steps in (1, 6, 7, 75):
        torch.testing.assert_close(value(data, steps), returns(data, steps), rtol=1e-6, atol=1e-12)
    cycle = Data(edge_index=edge_index[:, :70], num_nodes=70)
    assert value(cycle, 70).tolist() == [[0.0] * 69 + [1.0]] * 70


def test_equals_pyg_without_weights():
    graph = data_of(networkx.gnp_random_graph(40, 0.1, seed=3))
    expected = AddRandomWalkPE(12)(graph.clone()).random_walk_pe
    torch.testing.assert_close(value(graph, 12), expected, rtol=1e-5, atol=1e-6)


def test_weights_and_multi_edges_enter_where_pyg_ignores_them():
    triangle = Data(edge_index=torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]]), num_nodes=3)
    triangle.edge_weight = torch.tensor([1.0, 1.0, 2.0, 2.0, 3.0, 3.0])
    # Node 0: to 1 with 1/4 and back with 1/3, to 2 with 3/4 and back with 3/5.
    assert value(triangle, 2)[0].tolist() == pytest.approx([0, 1 / 12 + 9 / 20])
    assert RandomWalk(2, weight_attr=None)(triangle).random_walk_pe.tolist() == [[0, 0.5]] * 3
    double = Data(edge_index=torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0]]), num_nodes=2)
    assert value(double, 2).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("scale", [1e-310, 1e-300, 1e300])
def test_only_ratios_of_weights_matter(scale: float):
    data = random_data(20, 40, symmetric=True)
    expected = value(data, 6)
    data.edge_weight *= scale
    torch.testing.assert_close(value(data, 6), expected, rtol=1e-6, atol=1e-9)


def test_tiny_and_disconnected_graphs():
    empty = Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=0)
    assert value(empty, 3).shape == (0, 3)
    lone = Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=1)
    assert value(lone, 30).tolist() == [[0.0] * 30]
    loop = Data(edge_index=torch.tensor([[0], [0]]), num_nodes=2)
    assert value(loop, 2).tolist() == [[1, 1], [0, 0]]
    two = data_of(networkx.disjoint_union(networkx.cycle_graph(6), networkx.complete_graph(5)))
    assert value(two, 4)[0].tolist() == pytest.approx([0, 0.5, 0, 0.375])
    assert value(two, 4)[-1].tolist() == pytest.approx([0, 0.25, 0.1875, 0.203125])


def test_directed_walks_follow_the_edges_and_end_where_there_are_none():
    cycle = Data(edge_index=torch.tensor([[0, 1, 2, 2], [1, 2, 0, 3]]), num_nodes=4)
    assert value(cycle, 3).tolist() == [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]


def test_zero_weights_are_no_edges():
    data = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.zeros(2), num_nodes=2)
    assert value(data, 2).tolist() == [[0, 0], [0, 0]]
    data.edge_weight = None
    assert value(data, 2).tolist() == [[0, 1], [0, 1]]


@reproducible
@given(st.lists(random_graphs(8), min_size=1, max_size=5), st.integers(1, 7))
def test_a_batch_is_its_graphs_bit_by_bit_and_comes_apart_again(graphs: list[Any], steps: int):
    for graph in graphs:
        if graph.edge_weight is None:
            graph.edge_weight = torch.ones(graph.num_edges, dtype=torch.float64)
    expected = [value(graph, steps) for graph in graphs]
    batch: Any = RandomWalk(steps)(Batch.from_data_list(graphs))
    assert torch.equal(batch.random_walk_pe, torch.cat(expected))
    for single, wanted in zip(batch.to_data_list(), expected, strict=True):
        assert torch.equal(single.random_walk_pe, wanted)


@reproducible
@given(random_graphs(), st.randoms(use_true_random=False))
def test_moves_with_the_nodes(data: Any, random: Any):
    perm = torch.tensor(random.sample(range(data.num_nodes), data.num_nodes), dtype=torch.int64)
    moved = Data(edge_index=perm[data.edge_index], edge_weight=data.edge_weight, num_nodes=data.num_nodes)
    torch.testing.assert_close(value(moved, 7)[perm], value(data, 7), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("num_nodes", "num_edges"), [(600, 2000), (200, 12000)])
def test_the_same_bits_again_and_for_any_number_of_threads(num_nodes: int, num_edges: int):
    before, results = torch.get_num_threads(), []
    data = random_data(num_nodes, num_edges, symmetric=True)
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            results.append(value(data, 20))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


def test_gives_back_a_copy_with_one_more_attribute():
    data = random_data(5, 9)
    data.x = torch.ones(5, 2)
    out = RandomWalk(3, attr_name="pe")(data)
    assert "pe" not in data
    assert sorted(out.keys()) == ["edge_index", "edge_weight", "num_nodes", "pe", "x"]
    assert out.edge_index is data.edge_index
    assert torch.equal(out.x, torch.ones(5, 2))


def test_composes_names_and_prints():
    data: Any = Compose([RandomWalk(3, attr_name="pe", weight_attr=None), RandomWalk(2)])(random_data(5, 9))
    assert (data.pe.shape, data.random_walk_pe.shape) == ((5, 3), (5, 2))
    assert repr(RandomWalk(3)) == "RandomWalk(steps=3, attr_name='random_walk_pe', weight_attr='edge_weight')"


def test_int32_edges_are_taken():
    data = data_of(networkx.cycle_graph(6))
    data.edge_index = data.edge_index.int()
    assert value(data, 4)[0].tolist() == pytest.approx([0, 0.5, 0, 0.375])


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_bad_weights_are_named(bad: float):
    data = random_data(4, 6)
    data.edge_weight[3] = bad
    with pytest.raises(DataError, match=r"RandomWalk: data\.edge_weight must be finite and not negative, but edge 3"):
        RandomWalk(2)(data)


@pytest.mark.parametrize("steps", [0, -3, 2.5, True, "2"])
def test_a_number_of_steps_that_is_none_is_named(steps: Any):
    with pytest.raises(ConfigError, match="steps must be an integer of at least 1"):
        RandomWalk(steps)


def test_other_bad_input_is_named():
    with pytest.raises(DataError, match="edge_index, which is missing"):
        RandomWalk(2)(Data(x=torch.ones(3, 1)))
    with pytest.raises(DataError, match="leaves the range of the 2 nodes: it holds 0 to 2"):
        RandomWalk(2)(Data(edge_index=torch.tensor([[0], [2]]), num_nodes=2))
    with pytest.raises(ShapeError, match="one weight per edge"):
        RandomWalk(2)(Data(edge_index=torch.tensor([[0], [1]]), edge_weight=torch.ones(2), num_nodes=2))
    huge = torch.full((2,), 1e308, dtype=torch.float64)
    with pytest.raises(DataError, match="too large for float64"):
        RandomWalk(2)(Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=huge, num_nodes=2))
