"""Dropping, clustering and reading back of edges: graph by graph with dense matrices, and what must not matter."""

import math
from types import SimpleNamespace
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit.errors import ConfigError, DataError, DtypeError, GnnkitError, IndexRangeError, ShapeError
from gnnkit.hypergraph import (
    EdgeReconstruction,
    EHGNNClassifier,
    GMPool,
    HyperCluster,
    HyperDrop,
    num_seeds_of,
)
from tests.hypergraph.dense_edge_learning import (
    DOUBLE,
    WIDTH,
    data_of,
    dense_classifier,
    dense_drop,
    dense_pool,
    dense_reconstruction,
    dual,
    edge_ptr_of,
    randomised,
    several,
)
from tests.tolerances import assert_close


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 1.0])
def test_drop_equals_sorting_graph_by_graph(ratio: float, symmetric: bool):
    parts = several()
    batch: Any = Batch.from_data_list(parts)
    drop = randomised(HyperDrop(WIDTH, ratio, symmetric=symmetric))
    found = drop(batch.edge_attr, batch.edge_index, batch.num_nodes, edge_ptr_of(parts))
    assert found.ptr[-1] == found.position.numel()
    for graph, part in enumerate(parts):
        edges = [tuple(pair) for pair in part.edge_index.t().tolist()]
        position, weight = dense_drop(drop, part.edge_attr, edges, part.num_nodes)
        here = slice(int(found.ptr[graph]), int(found.ptr[graph + 1]))
        # Equal directions have equal scores up to rounding, of which either may come first.
        if symmetric or ratio in (0.0, 1.0):
            assert (found.position[here] - edge_ptr_of(parts)[graph]).tolist() == position
        assert len(position) == here.stop - here.start
        assert_close(found.edge_weight[here].sort().values, weight[position].sort().values)
    assert torch.equal(found.edge_index, batch.edge_index[:, found.position])
    assert torch.equal(found.edge_attr, batch.edge_attr[found.position])


def test_drop_keeps_directions_of_their_own_scores():
    data = data_of(nx.gnp_random_graph(8, 0.5, seed=1))
    data.edge_attr = torch.randn(data.num_edges, WIDTH, dtype=DOUBLE)
    drop = randomised(HyperDrop(WIDTH, 0.4))
    found = drop(data.edge_attr, data.edge_index, 8)
    edges = [tuple(pair) for pair in data.edge_index.t().tolist()]
    position, weight = dense_drop(drop, data.edge_attr, edges, 8)
    assert found.position.tolist() == position
    assert_close(found.edge_weight, weight[position])
    kept = {tuple(pair) for pair in found.edge_index.t().tolist()}
    assert any(pair[::-1] not in kept for pair in kept), "what the symmetric option is for"
    # Some scores are negative, so that the clamp matters.
    assert bool((weight == 0).any())


def test_symmetric_graphs_stay_symmetric():
    parts = several()
    batch: Any = Batch.from_data_list(parts)
    # Directions in any order within a graph, and other features for each.
    order = torch.cat(
        [torch.randperm(part.num_edges) + first for part, first in zip(parts, edge_ptr_of(parts)[:-1], strict=True)]
    )
    edge_index, edge_attr = batch.edge_index[:, order], torch.randn(batch.num_edges, WIDTH, dtype=DOUBLE)
    drop = randomised(HyperDrop(WIDTH, 0.6, symmetric=True))
    found = drop(edge_attr, edge_index, batch.num_nodes, edge_ptr_of(parts))
    weights = dict(zip(map(tuple, found.edge_index.t().tolist()), found.edge_weight.tolist(), strict=True))
    assert len(weights) == found.position.numel() > 0
    assert all(weights[pair[::-1]] == weight for pair, weight in weights.items())
    assert found.ptr.diff().tolist() == [2 * math.ceil(0.6 * part.num_edges / 2 - 1e-9) for part in parts]
    assert torch.equal(torch.searchsorted(edge_ptr_of(parts), found.position, right=True) - 1, graph_of(found.ptr))


def graph_of(ptr: Tensor) -> Tensor:
    return torch.arange(ptr.numel() - 1).repeat_interleave(ptr.diff())


def test_symmetric_counts_a_loop_once_and_multi_edges_each():
    edge_index = torch.tensor([[0, 1, 1, 0, 1, 1, 2], [1, 0, 1, 1, 0, 2, 1]])
    drop = randomised(HyperDrop(1, 0.5, symmetric=True))
    found = drop(torch.randn(7, 1, dtype=DOUBLE), edge_index, 3)
    # Four edges: 0 - 1 twice, the loop, 1 - 2.
    loops = int((found.edge_index[0] == found.edge_index[1]).sum())
    assert found.position.numel() == 2 * 2 - loops
    assert sorted(found.edge_index.t().tolist()) == sorted(found.edge_index.flip(0).t().tolist())


def test_gradients_of_the_drop():
    data = data_of(nx.gnp_random_graph(6, 0.6, seed=5))
    edge_attr = torch.randn(data.num_edges, WIDTH, dtype=DOUBLE, requires_grad=True)
    for symmetric in (False, True):
        drop = randomised(HyperDrop(WIDTH, 0.7, symmetric=symmetric))
        torch.nn.init.zeros_(drop.conv.bias)  # so that scores of both signs are kept
        weight = drop(edge_attr, data.edge_index, 6).edge_weight
        assert 0 < int((weight > 0).sum()) < weight.numel()

        def run(edge_attr: Tensor, weight: Tensor, drop: HyperDrop = drop) -> tuple[Tensor, Tensor]:
            found = torch.func.functional_call(drop, {"conv.lin.weight": weight}, (edge_attr, data.edge_index, 6))
            return found.edge_attr, found.edge_weight

        assert torch.autograd.gradcheck(run, (edge_attr, drop.conv.lin.weight.detach().requires_grad_()))


def classifier(**options: Any) -> EHGNNClassifier:
    return randomised(EHGNNClassifier(WIDTH, 2, edge_channels=WIDTH, hidden_channels=8, **options)).eval()


@pytest.mark.parametrize("symmetric", [False, True])
def test_classifier_equals_dense_matrices(symmetric: bool):
    # Directions with features of their own, so that no two scores are equal.
    parts = several()
    if not symmetric:
        for part in parts:
            part.edge_attr = torch.randn_like(part.edge_attr)
    model = classifier(ratio=0.6, symmetric=symmetric, edge_hidden_channels=5)
    expected = torch.cat([dense_classifier(model, part) for part in parts])
    batch: Any = Batch.from_data_list(parts)
    assert_close(model(batch), expected)
    assert_close(torch.cat([model(part) for part in parts]), expected)


def test_classifier_does_not_depend_on_the_order_of_nodes_and_edges():
    data = data_of(nx.gnp_random_graph(10, 0.5, seed=4))
    data.edge_attr = torch.randn(data.num_edges, WIDTH, dtype=DOUBLE)
    model = classifier(ratio=0.5)
    nodes, edges = torch.randperm(10), torch.randperm(data.num_edges)
    turned = Data(x=torch.empty_like(data.x), edge_index=nodes[data.edge_index[:, edges]])
    turned.x[nodes] = data.x
    turned.edge_attr = data.edge_attr[edges]
    assert_close(model(turned), model(data))


def test_classifier_without_edge_features_gives_every_edge_a_one():
    parts = several(edge_attr=False)
    model = randomised(EHGNNClassifier(WIDTH, 3, hidden_channels=6, ratio=0.5, symmetric=True)).eval()
    batch: Any = Batch.from_data_list(parts)
    found = model(batch)
    assert found.shape == (len(parts), 3)
    batch.edge_attr = torch.ones(batch.num_edges, dtype=DOUBLE)
    assert torch.equal(model(batch), found)


def test_boundaries_come_from_batch_too():
    parts = several()
    batch: Any = Batch.from_data_list(parts)
    model = classifier(ratio=0.6, symmetric=True)
    expected = model(batch)
    plain = Data(x=batch.x, edge_index=batch.edge_index, edge_attr=batch.edge_attr, batch=batch.batch)
    assert torch.equal(model(plain), expected)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_classifier_at_both_ends_of_the_ratio(ratio: float):
    batch: Any = Batch.from_data_list(several())
    model = classifier(ratio=ratio)
    found = model(batch)
    found.sum().backward()
    assert bool(found.isfinite().all())
    scored = model.drop.conv.lin.weight.grad
    # Without edges no score has an effect.
    assert (scored is None or not bool(scored.any())) == (ratio == 0.0)


def test_dropout_and_gradients_repeat_bit_by_bit():
    batch: Any = Batch.from_data_list(several())
    model = classifier(ratio=0.7).train()
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        model.zero_grad()
        out = model(batch)
        out.square().sum().backward()
        results.append([out, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize("softmax_over", ["seeds", "edges"])
@pytest.mark.parametrize("heads", [1, 2])
def test_pooling_equals_dense_attention(softmax_over: Any, heads: int):
    parts = several()
    batch: Any = Batch.from_data_list(parts)
    pool = randomised(GMPool(WIDTH, 4, 3, num_heads=heads, softmax_over=softmax_over))
    found = pool(batch.edge_attr, dual(batch), edge_ptr_of(parts))
    assert found.x.shape == (len(parts), 3, 4)
    assert found.assignment.shape == (batch.num_edges, 3, heads)
    back = found.unpool().split([part.num_edges for part in parts])
    for part, clusters, edges_back in zip(parts, found.x, back, strict=True):
        edges = [tuple(pair) for pair in part.edge_index.t().tolist()]
        expected, expected_back = dense_pool(pool, part.edge_attr, edges, part.num_nodes)
        assert_close(clusters, expected)
        assert_close(edges_back, expected_back)


def test_gradients_of_the_pooling():
    data = data_of(nx.cycle_graph(4))
    pool, hypergraph = randomised(GMPool(WIDTH, 4, 2, num_heads=2)), dual(data)
    x = data.edge_attr.requires_grad_()
    ptr = torch.tensor([0, 3, 3, 8])

    def run(x: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        found = torch.func.functional_call(pool, {"seeds": seeds}, (x, hypergraph, ptr))
        return found.x, found.unpool()

    assert torch.autograd.gradcheck(run, (x, pool.seeds.detach().requires_grad_()))


def test_reconstruction_equals_dense_matrices():
    parts = several()
    model = randomised(EdgeReconstruction(WIDTH, 4, 3, hidden_channels=6, num_convs=2))
    batch: Any = Batch.from_data_list(parts)
    found = model(batch).split([part.num_edges for part in parts])
    for part, rows in zip(parts, found, strict=True):
        torch.testing.assert_close(rows, dense_reconstruction(model, part), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(model(part), rows, rtol=1e-9, atol=1e-9)


def test_reconstruction_follows_the_order_of_edges():
    data = data_of(nx.gnp_random_graph(9, 0.5, seed=6))
    model = randomised(EdgeReconstruction(WIDTH, 2, 2, hidden_channels=4, num_convs=1))
    order = torch.randperm(data.num_edges)
    turned = Data(edge_index=data.edge_index[:, order], edge_attr=data.edge_attr[order], num_nodes=9)
    assert_close(model(turned), model(data)[order])


def test_reconstruction_learns_more_than_how_frequent_types_are():
    data = data_of(nx.circular_ladder_graph(8))
    kind = (torch.arange(data.num_edges) // 2) % 3
    data.edge_attr = torch.nn.functional.one_hot(kind).float()
    model = EdgeReconstruction(3, 3, num_seeds_of(0.15, data.num_edges), num_convs=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loss = torch.zeros(())
    for _ in range(120):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(data), kind)
        loss.backward()
        optimizer.step()
    # Frequencies alone give the entropy of three types.
    assert loss.item() < 0.6 * math.log(3)


@pytest.mark.parametrize(("ratio", "mean", "count"), [(0.15, 39.6, 6), (0.15, 40, 6), (0.01, 3, 1), (1, 0, 1)])
def test_number_of_clusters(ratio: float, mean: float, count: int):
    assert num_seeds_of(ratio, mean) == count


CYCLE = data_of(nx.cycle_graph(3))


def two_graphs(**changes: Any) -> Any:
    batch: Any = Batch.from_data_list([CYCLE.clone(), CYCLE.clone()])
    for name, value in changes.items():
        batch[name] = value
    return batch


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: HyperDrop(3, 1.2), ConfigError, r"ratio must lie in \[0, 1\]"),
        (lambda: HyperDrop(0, 0.5), ConfigError, "in_channels"),
        (lambda: HyperDrop(3, 0.5, symmetric=1), ConfigError, "symmetric"),  # type: ignore[arg-type]
        (lambda: GMPool(3, 4, 0), ConfigError, "num_seeds"),
        (lambda: GMPool(3, 4, 2, num_heads=3), ConfigError, "multiple of num_heads"),
        (lambda: GMPool(3, 4, 2, softmax_over="nodes"), ConfigError, "softmax_over"),  # type: ignore[arg-type]
        (lambda: HyperCluster(3, 4, 2, num_convs=0), ConfigError, "num_convs"),
        (lambda: EdgeReconstruction(3, 0, 2), ConfigError, "num_types"),
        (lambda: EHGNNClassifier(3, 2, num_convs=0), ConfigError, "num_convs"),
        (lambda: EHGNNClassifier(3, 2, dropout=1.0), ConfigError, "dropout"),
        (lambda: EHGNNClassifier(3, 2, hidden_channels=1), ConfigError, "hidden_channels"),
        (lambda: num_seeds_of(0, 3), ConfigError, "ratio must be above 0"),
        (lambda: num_seeds_of(0.5, math.nan), ConfigError, "mean_edges"),
        (lambda: drop_of(edge_attr=CYCLE.edge_attr[:5]), ShapeError, "one row per edge"),
        (lambda: drop_of(edge_attr=CYCLE.edge_attr[:, :2]), ShapeError, r"\[E, 3\]"),
        (lambda: drop_of(num_nodes=2), IndexRangeError, "num_nodes"),
        (lambda: drop_of(edge_index=CYCLE.edge_index[0]), ShapeError, "edge_index must have 2"),
        (lambda: drop_of(ptr=torch.tensor([0, 5])), IndexRangeError, "end at the number of rows"),
        (lambda: drop_of(dual=dual(data_of(nx.path_graph(2)))), ShapeError, "one node per edge"),
        (lambda: drop_of(True, edge_index=CYCLE.edge_index[:, [0] * 6]), DataError, "both directions"),
        (lambda: classifier()(Data(edge_index=CYCLE.edge_index)), DataError, "data.x is missing"),
        (lambda: classifier()(Data(x=CYCLE.x)), DataError, "data.edge_index is missing"),
        (lambda: classifier()(Data(x=CYCLE.x, edge_index=CYCLE.edge_index)), DataError, "edge_channels=1"),
        (lambda: classifier()(two_graphs(x=torch.zeros(6, 2))), ShapeError, r"data.x must have shape \[N, 3\]"),
        (lambda: classifier()(two_graphs(edge_attr=torch.zeros(12, 2))), ShapeError, r"\[12, 3\]"),
        (lambda: classifier()(two_graphs(edge_attr=torch.zeros(11, 3))), ShapeError, "one row per edge"),
        (lambda: classifier()(two_graphs(edge_attr=[0.0] * 12)), DtypeError, "data.edge_attr must be a torch.Tensor"),
        (lambda: classifier()(two_graphs(edge_index=CYCLE.edge_index[0])), ShapeError, "edge_index must have 2"),
        (lambda: reconstruction(CYCLE.edge_index), DataError, "data.num_nodes is missing"),
        (lambda: reconstruction(CYCLE.edge_index[0], num_nodes=3), ShapeError, "edge_index must have 2"),
        (lambda: classifier()(turned_batch()), DataError, "in order of their graphs"),
        (lambda: classifier()(crossing_batch()), DataError, "joins graph 0 and graph 1"),
    ],
)
def test_bad_input(call, error: type[GnnkitError], message: str):
    with pytest.raises(error, match=message):
        call()


def reconstruction(edge_index: Tensor, **counts: int) -> Tensor:
    return EdgeReconstruction(3, 2, 2)(SimpleNamespace(edge_index=edge_index, edge_attr=CYCLE.edge_attr, **counts))


def drop_of(symmetric: bool = False, **changes: Any) -> Any:
    given = {"edge_attr": CYCLE.edge_attr, "edge_index": CYCLE.edge_index, "num_nodes": 3}
    return HyperDrop(3, 0.5, symmetric=symmetric).double()(**(given | changes))


def turned_batch() -> Any:
    batch = two_graphs()
    return two_graphs(edge_index=batch.edge_index.flip(1))


def crossing_batch() -> Any:
    edge_index = two_graphs().edge_index.clone()
    edge_index[1, 0] = 4
    return two_graphs(edge_index=edge_index)
