"""Heat kernels against matrix exponentials and closed forms."""

import math
from typing import Any

import networkx
import numpy as np
import pytest
import scipy.linalg
import torch
from torch_geometric.data import Batch, Data

from gnnkit.encodings import HeatKernel, heat_kernel
from gnnkit.encodings._laplacian import UndirectedGraph, components, laplacians
from gnnkit.errors import ConfigError, DataError

TIMES = [0.0, 0.1, 1.0, 5.0, 40.0]


def data_of(graph: Any, **attributes: Any) -> Any:
    directed = networkx.convert_node_labels_to_integers(graph).to_directed()
    edges = torch.tensor([edge[:2] for edge in directed.edges], dtype=torch.int64)
    return Data(edge_index=edges.reshape(-1, 2).T, num_nodes=graph.number_of_nodes(), **attributes)


def laplacian_of(data: Any, *, normalized: bool) -> np.ndarray:
    size = data.num_nodes
    weights = np.zeros((size, size))
    given = data.edge_weight if "edge_weight" in data else torch.ones(data.num_edges)
    np.add.at(weights, tuple(data.edge_index.numpy()), given.double().numpy())
    np.fill_diagonal(weights, 0)
    degree = weights.sum(1)
    if not normalized:
        return np.diag(degree) - weights
    root = np.divide(1, np.sqrt(degree), out=np.zeros(size), where=degree > 0)
    return np.diag((degree > 0).astype(float)) - root[:, None] * weights * root


GRAPHS = {
    "cycle": networkx.cycle_graph(7),
    "parts": networkx.disjoint_union_all(
        [networkx.barbell_graph(5, 2), networkx.star_graph(4), networkx.empty_graph(2)]
    ),
    "random": networkx.gnm_random_graph(40, 70, seed=1),
    "multi": networkx.MultiGraph([(0, 1), (0, 1), (1, 2), (2, 2), (2, 3)]),
}


@pytest.mark.parametrize("dense_size", [256, 0])
@pytest.mark.parametrize("normalization", ["sym", None])
@pytest.mark.parametrize("name", GRAPHS)
def test_equals_the_matrix_exponential(
    name: str, normalization: str | None, dense_size: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(heat_kernel, "_DENSE_SIZE", dense_size)
    data = data_of(GRAPHS[name])
    laplacian = laplacian_of(data, normalized=normalization is not None)
    expected = np.stack([np.diag(scipy.linalg.expm(-t * laplacian)) for t in TIMES], axis=1)
    out = HeatKernel(TIMES, normalization=normalization)(data)
    assert out.heat_kernel_pe.dtype == torch.float32
    np.testing.assert_allclose(out.heat_kernel_pe.numpy(), expected, atol=1e-7)
    assert "heat_kernel_pe" not in data


@pytest.mark.parametrize("normalized", [True, False])
def test_the_expansion_of_large_components_keeps_to_its_bound(normalized: bool):
    data = data_of(networkx.barabasi_albert_graph(300, 2, seed=0))
    graph = UndirectedGraph.from_data(data, None, transform="test")
    (part,) = components(graph, 0)
    times = np.array([0.0, 1e-3, 0.3, 4.0, 60.0, 1000.0])
    found = heat_kernel._expanded(laplacians(part, normalized=normalized), times)
    values, vectors = np.linalg.eigh(laplacian_of(data, normalized=normalized))
    expected = np.square(vectors) @ np.exp(-np.maximum(values, 0)[:, None] * times)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dense_size", [256, 0])
@pytest.mark.parametrize("normalization", ["sym", None])
def test_weights_count(normalization: str | None, dense_size: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heat_kernel, "_DENSE_SIZE", dense_size)
    data = data_of(networkx.gnm_random_graph(30, 50, seed=3))
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(30, 30, generator=generator, dtype=torch.float64) * 3
    data.edge_weight = (weight + weight.T)[data.edge_index[0], data.edge_index[1]]
    laplacian = laplacian_of(data, normalized=normalization is not None)
    expected = np.stack([np.diag(scipy.linalg.expm(-t * laplacian)) for t in TIMES], axis=1)
    found = HeatKernel(TIMES, normalization=normalization)(data).heat_kernel_pe.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_closed_forms():
    complete = HeatKernel([0.7], normalization=None)(data_of(networkx.complete_graph(6))).heat_kernel_pe
    assert complete.flatten().tolist() == pytest.approx([1 / 6 + 5 / 6 * math.exp(-6 * 0.7)] * 6)
    modes = [math.exp(-2 * (1 - math.cos(2 * math.pi * j / 300))) for j in range(300)]
    cycle = HeatKernel(2.0)(data_of(networkx.cycle_graph(300))).heat_kernel_pe  # type: ignore[arg-type]
    assert cycle.flatten().tolist() == pytest.approx([sum(modes) / 300] * 300, rel=1e-6)


def test_no_time_keeps_all_heat_and_much_time_spreads_it():
    out = HeatKernel([0, 1e4], normalization=None)(data_of(GRAPHS["parts"])).heat_kernel_pe
    assert torch.equal(out[:, 0], torch.ones(len(out)))
    expected = [1 / 12] * 12 + [1 / 5] * 5 + [1.0, 1.0]
    assert out[:, 1].tolist() == pytest.approx(expected, rel=1e-6)


def test_random_walk_is_the_symmetric_one_and_repeats_bitwise():
    data = data_of(GRAPHS["random"])
    first = HeatKernel(TIMES)(data).heat_kernel_pe
    assert torch.equal(HeatKernel(TIMES, normalization="rw")(data).heat_kernel_pe, first)


def test_moves_with_the_nodes_and_a_batch_is_its_graphs():
    data = data_of(GRAPHS["random"])
    perm = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    moved: Any = HeatKernel(TIMES)(Data(edge_index=perm[data.edge_index], num_nodes=40))
    torch.testing.assert_close(moved.heat_kernel_pe[perm], HeatKernel(TIMES)(data).heat_kernel_pe, rtol=1e-6, atol=1e-6)
    graphs = [data_of(graph) for graph in GRAPHS.values()]
    batch: Any = HeatKernel(TIMES)(Batch.from_data_list(graphs))
    for single, graph in zip(batch.to_data_list(), graphs, strict=True):
        torch.testing.assert_close(single.heat_kernel_pe, HeatKernel(TIMES)(graph).heat_kernel_pe)


def test_empty_graphs():
    none: Any = HeatKernel([1.0])(Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=0))
    assert none.heat_kernel_pe.shape == (0, 1)
    alone: Any = HeatKernel([1.0, 2.0])(Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=3))
    assert torch.equal(alone.heat_kernel_pe, torch.ones(3, 2))


@pytest.mark.parametrize("times", [[], [-1.0], [math.nan], [math.inf], ["1"], -2])
def test_bad_times_are_named(times: Any):
    with pytest.raises(ConfigError, match="times must be one or more finite numbers"):
        HeatKernel(times)


def test_bad_graphs_are_named():
    with pytest.raises(ConfigError, match="normalization must be"):
        HeatKernel([1.0], normalization="left")
    with pytest.raises(DataError, match="undirected graph"):
        HeatKernel([1.0])(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
    negative = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.tensor([-1.0, -1.0]), num_nodes=2)
    with pytest.raises(DataError, match="not negative"):
        HeatKernel([1.0])(negative)
    with pytest.raises(DataError, match="shorter times"):
        HeatKernel([1e9])(data_of(networkx.cycle_graph(300)))
