"""Diffusion against dense matrix functions, and against PyTorch Geometric's GDC."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import GDC

from gnnkit.errors import ConfigError, DataError
from gnnkit.rewire import DigL
from tests.rewire.made_graphs import (
    EDGE_CASES,
    assert_well_formed,
    data_of,
    networkx_of,
    pairs_of,
    random_data,
    relabelled,
    renamed,
)


def weighted(data: Any, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    weight = {pair: float(random.uniform(0.2, 3)) for pair in sorted(pairs_of(data))}
    columns = [weight[min(u, v), max(u, v)] for u, v in data.edge_index.T.tolist()]
    return Data(
        edge_index=data.edge_index,
        num_nodes=data.num_nodes,
        edge_weight=torch.tensor(columns, dtype=torch.float64),
    )


def diffusion(data: Any, method: str, alpha: float, time: float) -> np.ndarray:
    size = data.num_nodes
    adjacency = np.eye(size)
    weight = data.get("edge_weight")
    ones = torch.ones(data.edge_index.size(1))
    adjacency[tuple(data.edge_index.numpy())] = (ones if weight is None else weight).numpy()
    root = 1 / np.sqrt(adjacency.sum(1))
    transition = root[:, None] * adjacency * root
    if method == "ppr":
        return alpha * np.linalg.inv(np.eye(size) - (1 - alpha) * transition)
    return scipy.linalg.expm(-time * (np.eye(size) - transition))


def weights_of(data: Any) -> dict[tuple[int, int], float]:
    return {(u, v): w for (u, v), w in zip(data.edge_index.T.tolist(), data.edge_weight.tolist(), strict=True)}


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    random_data(),
    st.booleans(),
    st.sampled_from(
        [("ppr", 0.15, 1.0), ("ppr", 0.6, 1.0), ("ppr", 0.01, 1.0), ("heat", 0.5, 0.5), ("heat", 0.5, 9.0)]
    ),
    st.sampled_from([0.3, 0.05, 0.001]),
)
def test_by_threshold_the_edges_are_the_large_entries(data: Any, heavy: bool, kind: Any, threshold: float):
    data = weighted(data) if heavy else data
    method, alpha, time = kind
    out = DigL(method=method, alpha=alpha, time=time, threshold=threshold)(data)
    assert_well_formed(data, out, keeps_edges=False)
    matrix = diffusion(data, method, alpha, time)
    found = weights_of(out)
    for u in range(data.num_nodes):
        for v in range(data.num_nodes):
            if u != v and abs(matrix[u, v] - threshold) > 1e-9:
                assert ((u, v) in found) == (matrix[u, v] > threshold)
    for pair, weight in found.items():
        assert weight == pytest.approx(matrix[pair], abs=1e-12 if heavy else 1e-7)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(random_data(), st.sampled_from(["ppr", "heat"]), st.integers(1, 20))
def test_top_k_takes_the_largest_of_each_column(data: Any, method: str, top_k: int):
    out = DigL(method=method, top_k=top_k)(data)
    matrix = np.rint(diffusion(data, method, 0.15, 5.0) * 1e10)
    expected = set()
    for v in range(data.num_nodes):
        order = sorted(range(data.num_nodes), key=lambda u: (-matrix[u, v], u))
        kept = [u for u in order[:top_k] if matrix[u, v] > 0]
        expected |= {(min(u, v), max(u, v)) for u in kept if u != v}
    assert pairs_of(out) == expected


@pytest.mark.parametrize("method", ["ppr", "heat"])
def test_it_equals_the_gdc_of_pytorch_geometric(method: str):
    data: Any = data_of(nx.karate_club_graph())
    gdc = GDC(
        self_loop_weight=1,
        normalization_in="sym",
        normalization_out=None,
        diffusion_kwargs={"method": method, "alpha": 0.15, "t": 5.0},
        sparsification_kwargs={"method": "threshold", "eps": 0.01},
        exact=True,
    )
    expected: Any = gdc(data.clone())
    proper = expected.edge_index[0] != expected.edge_index[1]
    expected.edge_index, expected.edge_weight = expected.edge_index[:, proper], expected.edge_attr[proper]
    out = DigL(method=method, threshold=0.01)(data)  # type: ignore[arg-type]
    assert weights_of(out) == pytest.approx(weights_of(expected), abs=2e-7)
    assert 0 < out.num_edges < 34 * 33
    # The club has members who are alike, so that ties are cut by rounding there.
    data = data_of(nx.gnm_random_graph(40, 90, seed=1))
    gdc.sparsification_kwargs = {"method": "topk", "k": 5, "dim": 0}
    pairs = {(int(u), int(v)) for u, v in gdc(data.clone()).edge_index.T.tolist() if u != v}
    assert pairs_of(DigL(method=method, top_k=5)(data)) == {(min(p), max(p)) for p in pairs}


def test_edges_go_stay_and_come_with_their_attributes():
    data = data_of(nx.star_graph(8), edge_attr=torch.arange(1.0, 17.0).unsqueeze(1), x=torch.ones(9, 2))
    # Around a star with an edge between two leaves, the two are closer to each other than to the centre.
    out = DigL(alpha=0.3, top_k=2)(data)
    assert_well_formed(data, out, keeps_edges=False)
    given_rows = {(u, v): row for (u, v), row in zip(data.edge_index.T.tolist(), data.edge_attr.tolist(), strict=True)}
    for (u, v), row, kind in zip(
        out.edge_index.T.tolist(), out.edge_attr.tolist(), out.edge_type.tolist(), strict=True
    ):
        assert row == (given_rows[u, v] if kind == 0 else [0.0])
    path = data_of(nx.path_graph(30))
    far = DigL(method="heat", time=20.0, top_k=4)(path)
    assert pairs_of(far, 1)
    gone = DigL(threshold=0.9)(path)
    assert gone.num_edges == 0
    assert gone.edge_weight.shape == gone.edge_type.shape == (0,)


def test_self_loops_stay_with_weight_1():
    data = Data(edge_index=torch.tensor([[0, 1, 1, 2, 1], [1, 0, 2, 1, 1]]), num_nodes=3)
    found = weights_of(DigL(threshold=0.01)(data))
    assert found[1, 1] == 1
    assert found[0, 2] == pytest.approx(weights_of(DigL(threshold=0.01)(data_of(nx.path_graph(3))))[0, 2])


def test_it_is_equivariant_without_ties():
    for seed in range(4):
        data = data_of(nx.gnm_random_graph(24, 40, seed=seed))
        number = torch.randperm(24, generator=torch.Generator().manual_seed(seed))
        for arguments in ({"threshold": 0.02}, {"threshold": 0.01, "method": "heat"}):
            out, moved = DigL(**arguments)(data), DigL(**arguments)(relabelled(data, number))
            assert renamed(pairs_of(out), number) == pairs_of(moved)


def test_blocks_of_columns_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    data = data_of(nx.gnm_random_graph(50, 80, seed=1))
    whole = DigL(top_k=6)(data)
    monkeypatch.setattr("gnnkit.rewire.digl._ENTRIES", 50 * 7)
    blocks = DigL(top_k=6)(data)
    assert torch.equal(whole.edge_index, blocks.edge_index)
    assert torch.allclose(whole.edge_weight, blocks.edge_weight, atol=1e-7)


@pytest.mark.parametrize("name", EDGE_CASES)
@pytest.mark.parametrize("arguments", [{"top_k": 100}, {"threshold": 1e-12}])
def test_edge_cases_join_components_to_complete_graphs_and_nothing_more(name: str, arguments: Any):
    data = data_of(EDGE_CASES[name])
    out = DigL(**arguments)(data)
    assert_well_formed(data, out)
    groups = nx.connected_components(networkx_of(data))
    assert pairs_of(out) == {(u, v) for group in groups for u in group for v in group if u < v}


def test_a_batch_is_diffused_graph_by_graph():
    graphs = [data_of(nx.path_graph(n)) for n in (5, 1, 8)]
    batch: Any = DigL(top_k=3)(Batch.from_data_list(graphs))
    for single, graph in zip(batch.to_data_list(), graphs, strict=True):
        expected = DigL(top_k=3)(graph)
        assert torch.equal(single.edge_index, expected.edge_index)
        assert torch.equal(single.edge_weight, expected.edge_weight)


@pytest.mark.parametrize("value", [float("nan"), -1.0, 0.0, float("inf")])
def test_bad_weights_are_named(value: float):
    data = weighted(data_of(nx.path_graph(3)))
    data.edge_weight[1] = value
    with pytest.raises(DataError, match="must be finite and positive, but column 1"):
        DigL(top_k=3)(data)


def test_bad_input_is_named():
    data = weighted(data_of(nx.path_graph(3)))
    data.edge_weight[0] += 1
    with pytest.raises(DataError, match="both directions of an edge must have one weight"):
        DigL(top_k=3)(data)
    for arguments, words in (
        ({"method": "pagerank", "top_k": 3}, "method must be 'ppr' or 'heat'"),
        ({"alpha": 0.0, "top_k": 3}, r"alpha must be a number in \(0, 1\)"),
        ({"alpha": 1.0, "top_k": 3}, r"alpha must be a number in \(0, 1\)"),
        ({"time": -1.0, "top_k": 3}, "time must be a positive number"),
        ({"time": float("inf"), "top_k": 3}, "time must be a positive number"),
        ({}, "give either top_k"),
        ({"top_k": 3, "threshold": 0.1}, "give either top_k"),
        ({"top_k": 0}, "top_k must be an integer of at least 1"),
        ({"threshold": 0.0}, "threshold must be a positive number"),
        ({"threshold": float("nan")}, "threshold must be a positive number"),
    ):
        with pytest.raises(ConfigError, match=words):
            DigL(**arguments)
    with pytest.raises(ConfigError, match="take a larger alpha or a shorter time"):
        DigL(alpha=1e-9, top_k=3)(data_of(nx.path_graph(3)))
