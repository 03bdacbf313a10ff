"""Walks between pairs of nodes against dense powers, and what follows from their definition."""

from typing import Any

import networkx
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import degree

from gnnkit import Graph
from gnnkit.encodings import RandomWalk, RelativeRandomWalk
from gnnkit.errors import ConfigError, DataError, ShapeError
from tests.encodings.walks import data_of, powers, random_data, random_graphs

reproducible = settings(max_examples=40, deadline=None, derandomize=True, database=None)
NAMES = ("rrwp", "rrwp_index", "rrwp_value")


def dense(data: Any, steps: int, **options: Any) -> Tensor:
    """The pair part as matrices, float32 ``[K, N, N]``, where all pairs are kept."""
    out = RelativeRandomWalk(steps, orientation="walk", **options)(data)
    assert out.rrwp_index.tolist() == torch.cartesian_prod(*[torch.arange(data.num_nodes)] * 2).T.tolist()
    return out.rrwp_value.T.reshape(steps, data.num_nodes, data.num_nodes)


@reproducible
@given(random_graphs(), st.integers(1, 8))
def test_pairs_are_entries_of_dense_powers(data: Any, steps: int):
    expected = powers(data, steps - 1).float()
    torch.testing.assert_close(dense(data, steps), expected, rtol=1e-6, atol=1e-9)


@reproducible
@given(random_graphs(), st.integers(1, 8))
def test_the_node_part_is_that_of_the_self_pairs_and_random_walk_shifted(data: Any, steps: int):
    out = RelativeRandomWalk(steps + 1)(data)
    own = out.rrwp_index[0] == out.rrwp_index[1]
    assert torch.equal(out.rrwp, out.rrwp_value[own])
    assert torch.equal(out.rrwp[:, 0], torch.ones(data.num_nodes))
    torch.testing.assert_close(out.rrwp[:, 1:], RandomWalk(steps)(data).random_walk_pe, rtol=1e-6, atol=1e-9)


CLOSED_FORMS = {
    "cycle_6": (networkx.cycle_graph(6), [1, 0, 0.5, 0, 0.375, 0, 0.34375]),
    "complete_5": (networkx.complete_graph(5), [1, 0, 0.25, 0.1875, 0.203125]),
    "cycle_3": (networkx.cycle_graph(3), [1, 0, 0.5, 0.25, 0.375, 0.3125]),
    "star_leaf": (networkx.star_graph(4), [1, 0, 0.25, 0, 0.25]),
    "path_end": (networkx.path_graph(4), [1, 0, 0.5, 0, 0.375]),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms_of_returns(name: str):
    graph, expected = CLOSED_FORMS[name]
    out = RelativeRandomWalk(len(expected))(data_of(graph))
    assert out.rrwp[-1].tolist() == pytest.approx(expected, abs=1e-7)


def test_closed_forms_between_nodes():
    walk = dense(data_of(networkx.path_graph(4)), 4)
    assert walk[:, 0, 3].tolist() == pytest.approx([0, 0, 0, 0.25])
    assert walk[:, 0, 1].tolist() == pytest.approx([0, 1, 0, 0.75])
    assert walk[:, 1, 0].tolist() == pytest.approx([0, 0.5, 0, 0.375])
    star = dense(data_of(networkx.star_graph(4)), 4)
    assert star[:, 0, 1].tolist() == pytest.approx([0, 0.25, 0, 0.25])
    assert star[:, 1, 0].tolist() == pytest.approx([0, 1, 0, 1])
    assert star[:, 1, 2].tolist() == pytest.approx([0, 0, 0.25, 0])
    complete = dense(data_of(networkx.complete_graph(5)), 4)
    assert complete[:, 0, 1].tolist() == pytest.approx([0, 0.25, 0.1875, 0.203125])


def test_rows_of_each_power_sum_to_one_and_scaled_by_degrees_they_are_symmetric():
    data = data_of(networkx.barabasi_albert_graph(60, 2, seed=1))
    walk = dense(data, 9).double()
    torch.testing.assert_close(walk.sum(2), torch.ones(9, 60, dtype=torch.float64), rtol=1e-6, atol=0)
    scaled = degree(data.edge_index[0], 60).double().reshape(1, -1, 1) * walk
    torch.testing.assert_close(scaled, scaled.mT, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(walk, walk.mT, atol=1e-2)


@pytest.mark.parametrize("orientation", ["attention", "walk"])
def test_pairs_point_from_the_attended_node_to_where_the_walk_starts_or_along_the_walk(orientation: str):
    # A walk from 0 to 1 alone.
    data = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2)
    out: Any = RelativeRandomWalk(2, orientation=orientation)(data)
    found = dict(zip(map(tuple, out.rrwp_index.T.tolist()), out.rrwp_value.tolist(), strict=True))
    pair = (1, 0) if orientation == "attention" else (0, 1)
    assert found == {(0, 0): [1, 0], (1, 1): [1, 0], pair: [0, 1], pair[::-1]: [0, 0]}


def test_as_edges_pairs_are_in_order_of_destination_and_sum_to_one_at_each():
    data = data_of(networkx.path_graph(7))
    for max_hops in (None, 4):
        out: Any = RelativeRandomWalk(5, max_hops=max_hops)(data)
        graph = Graph.from_edge_index(out.rrwp_index, 7)
        assert graph.edge_id is None
        total = torch.zeros(7, 5).index_add(0, out.rrwp_index[1], out.rrwp_value)
        torch.testing.assert_close(total, torch.ones(7, 5))


@reproducible
@given(random_graphs(), st.integers(1, 6), st.sampled_from([None, 0, 1, 2, 9]), st.sampled_from([None, 0, 0.2, 1]))
def test_the_sparse_form_is_the_dense_one_restricted(data: Any, steps: int, hops: int | None, threshold: float | None):
    assume(hops is not None or threshold is not None)
    whole: Any = RelativeRandomWalk(steps)(data)
    out: Any = RelativeRandomWalk(steps, max_hops=hops, threshold=threshold)(data)
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(data.num_nodes))
    weight = torch.ones(data.num_edges) if data.edge_weight is None else data.edge_weight
    graph.add_edges_from(data.edge_index[:, weight > 0].T.tolist())
    reach = dict(networkx.all_pairs_shortest_path_length(graph, cutoff=steps - 1 if hops is None else hops))
    near = torch.tensor([j in reach[i] for j, i in whole.rrwp_index.T.tolist()], dtype=torch.bool)
    keep = near & (whole.rrwp_value > 0).any(1) & (whole.rrwp_value >= (threshold or 0)).any(1)
    assert torch.equal(out.rrwp_index, whole.rrwp_index[:, keep])
    assert torch.equal(out.rrwp_value, whole.rrwp_value[keep])
    assert torch.equal(out.rrwp, whole.rrwp)


def test_within_all_hops_only_zeros_are_left_out():
    data = random_data(60, 90)
    whole: Any = RelativeRandomWalk(4)(data)
    out: Any = RelativeRandomWalk(4, max_hops=3)(data)
    assert out.rrwp_value.sum(dtype=torch.float64) == whole.rrwp_value.sum(dtype=torch.float64)
    assert (out.rrwp_value > 0).any(1).all()
    assert out.rrwp_index.size(1) < whole.rrwp_index.size(1)


def test_a_large_sparse_graph_has_as_many_pairs_as_are_near():
    ring = torch.arange(20_000)
    edge_index = torch.stack([ring, ring.roll(-1)])
    data = Data(edge_index=torch.cat([edge_index, edge_index.flip(0)], 1), num_nodes=20_000)
    out: Any = RelativeRandomWalk(3, max_hops=2, orientation="walk")(data)
    assert out.rrwp_value.shape == (100_000, 3)
    assert torch.equal(out.rrwp_index[0], ring.repeat_interleave(5))
    at_two = [[1, 0, 0.5], [0, 0.5, 0], [0, 0, 0.25]]
    assert out.rrwp_value[50_000:50_005].tolist() == [at_two[2], at_two[1], at_two[0], at_two[1], at_two[2]]


def test_tiny_graphs_and_dead_ends():
    empty: Any = RelativeRandomWalk(3)(Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=0))
    assert [tuple(empty[name].shape) for name in NAMES] == [(0, 3), (2, 0), (0, 3)]
    for max_hops in (None, 2):
        lone: Any = RelativeRandomWalk(3, max_hops=max_hops)(
            Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=1)
        )
        assert [lone[name].tolist() for name in NAMES] == [[[1, 0, 0]], [[0], [0]], [[1, 0, 0]]]
    sink = dense(Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3), 4)
    assert sink[:, 0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    loop = dense(Data(edge_index=torch.tensor([[0], [0]]), num_nodes=2), 2)
    assert loop.tolist() == [[[1, 0], [0, 1]], [[1, 0], [0, 0]]]


@pytest.mark.parametrize("options", [{}, {"max_hops": 1}, {"threshold": 0.3}])
def test_a_batch_is_its_graphs_bit_by_bit_and_comes_apart_again(options: dict[str, Any]):
    graphs: list[Any] = [random_data(n, 2 * n, seed=n) for n in (5, 1, 9, 4)]
    singles: list[Any] = [RelativeRandomWalk(4, **options)(graph) for graph in graphs]
    batch: Any = RelativeRandomWalk(4, **options)(Batch.from_data_list(graphs))
    shifted = [single.rrwp_index + start for single, start in zip(singles, batch.ptr.tolist(), strict=False)]
    assert torch.equal(batch.rrwp_index, torch.cat(shifted, 1))
    assert torch.equal(batch.rrwp_value, torch.cat([single.rrwp_value for single in singles]))
    assert torch.equal(batch.rrwp, torch.cat([single.rrwp for single in singles]))
    for apart, single in zip(batch.to_data_list(), singles, strict=True):
        assert all(torch.equal(apart[name], single[name]) for name in NAMES)


@reproducible
@given(random_graphs(), st.randoms(use_true_random=False))
def test_moves_with_the_nodes(data: Any, random: Any):
    perm = torch.tensor(random.sample(range(data.num_nodes), data.num_nodes), dtype=torch.int64)
    moved = Data(edge_index=perm[data.edge_index], edge_weight=data.edge_weight, num_nodes=data.num_nodes)
    walk, after = dense(data, 5), dense(moved, 5)
    torch.testing.assert_close(after[:, perm][:, :, perm], walk, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"max_hops": 2, "threshold": 0.01}])
def test_the_same_bits_again_and_for_any_number_of_threads(options: dict[str, Any]):
    before, results = torch.get_num_threads(), []
    data = random_data(500, 1500)
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            results.append(RelativeRandomWalk(8, **options)(data))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result[name], results[0][name]) for result in results for name in NAMES)


def test_gives_back_a_copy_and_names_and_prints():
    data = random_data(5, 9)
    out = RelativeRandomWalk(3, attr_name="walks", weight_attr=None)(data)
    assert sorted(set(out.keys()) - set(data.keys())) == ["walks", "walks_index", "walks_value"]
    assert repr(RelativeRandomWalk(3, max_hops=1)) == (
        "RelativeRandomWalk(steps=3, max_hops=1, threshold=None, orientation='attention', attr_name='rrwp', "
        "weight_attr='edge_weight')"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"max_hops": -1}, "max_hops must be an integer of at least 0, got -1"),
        ({"max_hops": 1.5}, "max_hops must be an integer"),
        ({"threshold": 1.5}, r"threshold must be a probability, in \[0, 1\], got 1.5"),
        ({"threshold": float("nan")}, "threshold must be a probability"),
        ({"orientation": "row"}, "orientation must be 'attention' or 'walk', got 'row'"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        RelativeRandomWalk(**{"steps": 2, **options})


def test_bad_data_is_named():
    encoding = RelativeRandomWalk(2)
    data = random_data(4, 6)
    data.edge_weight[3] = -1
    with pytest.raises(DataError, match=r"RelativeRandomWalk: data\.edge_weight must be finite and not negative"):
        encoding(data)
    with pytest.raises(DataError, match="edge_index, which is missing"):
        encoding(Data(x=torch.ones(3, 1)))
    with pytest.raises(DataError, match="leaves the range of the 2 nodes"):
        encoding(Data(edge_index=torch.tensor([[0], [2]]), num_nodes=2))
    with pytest.raises(ShapeError, match="one weight per edge"):
        encoding(Data(edge_index=torch.tensor([[0], [1]]), edge_weight=torch.ones(2), num_nodes=2))
