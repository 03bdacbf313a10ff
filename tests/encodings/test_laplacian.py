"""Laplacian eigenvectors against closed forms and the eigenvalue equation."""

import math
from typing import Any

import networkx
import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from gnnkit.encodings import LaplacianEigenvectors, _eigensolver
from gnnkit.encodings._basis import fixed_basis
from gnnkit.errors import ConfigError, DataError


def data_of(graph: Any) -> Any:
    graph = networkx.convert_node_labels_to_integers(graph, ordering="sorted")
    edges = torch.tensor(list(graph.to_directed().edges), dtype=torch.int64).reshape(-1, 2).T
    return Data(edge_index=edges, num_nodes=graph.number_of_nodes())


def matrix_of(data: Any, normalization: str | None) -> np.ndarray:
    weight = np.ones(data.num_edges) if data.edge_weight is None else data.edge_weight.double().numpy()
    adjacency = np.zeros((data.num_nodes, data.num_nodes))
    np.add.at(adjacency, tuple(data.edge_index.numpy()), weight)
    degree = adjacency.sum(1)
    if normalization is None:
        return np.diag(degree) - adjacency
    safe = np.where(degree > 0, degree, 1)
    if normalization == "rw":
        return np.diag(degree > 0) - adjacency / safe[:, None]
    return np.diag(degree > 0) - adjacency / np.sqrt(safe[:, None] * safe)


def eigenvalues_of(graph: Any, k: int, **options: Any) -> list[float]:
    data = LaplacianEigenvectors(k, **options)(data_of(graph))
    assert bool(data.laplacian_eigenvector_pe_mask.all())
    return data.laplacian_eigenvector_pe_eigenvalue[0].tolist()


def spectrum(values: list[float], k: int) -> Any:
    return pytest.approx(sorted(values)[1 : k + 1], abs=1e-6)


def test_closed_forms():
    cycle = [1 - math.cos(2 * math.pi * j / 9) for j in range(9)]
    assert eigenvalues_of(networkx.cycle_graph(9), 8) == spectrum(cycle, 8)
    path = [1 - math.cos(math.pi * j / 6) for j in range(7)]
    assert eigenvalues_of(networkx.path_graph(7), 6) == spectrum(path, 6)
    assert eigenvalues_of(networkx.complete_graph(6), 5) == pytest.approx([6 / 5] * 5)
    cube = [2 * j / 4 for j in range(5) for _ in range(math.comb(4, j))]
    assert eigenvalues_of(networkx.hypercube_graph(4), 15) == spectrum(cube, 15)
    bipartite = networkx.complete_bipartite_graph(2, 3)
    assert eigenvalues_of(bipartite, 4) == pytest.approx([1, 1, 1, 2])
    unnormalised = [2 - 2 * math.cos(math.pi * j / 7) for j in range(7)]
    assert eigenvalues_of(networkx.path_graph(7), 6, normalization=None) == spectrum(unnormalised, 6)
    assert eigenvalues_of(networkx.path_graph(7), 6, normalization="rw") == spectrum(path, 6)


@pytest.mark.parametrize("normalization", ["sym", "rw", None])
@pytest.mark.parametrize("dense_size", [256, 0])
def test_the_eigenvalue_equation_holds_on_weighted_disconnected_graphs(
    normalization: str | None, dense_size: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_eigensolver, "DENSE_SIZE", dense_size)
    parts = [networkx.gnp_random_graph(60, 0.1, seed=1), networkx.gnp_random_graph(45, 0.15, seed=2)]
    data = data_of(networkx.disjoint_union_all([*parts, networkx.empty_graph(2)]))
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(data.num_nodes, data.num_nodes, generator=generator, dtype=torch.float64) + 0.1
    data.edge_weight = (weight + weight.T)[data.edge_index[0], data.edge_index[1]]
    out = LaplacianEigenvectors(7, normalization=normalization)(data)
    vectors = out.laplacian_eigenvector_pe.double().numpy()
    values = out.laplacian_eigenvector_pe_eigenvalue[0].double().numpy()
    matrix = matrix_of(data, normalization)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), 1, atol=1e-6)
    components = networkx.number_connected_components(networkx.disjoint_union_all([*parts, networkx.empty_graph(2)]))
    expected = np.sort(np.linalg.eigvals(matrix).real)[components : components + 7]
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_null_vectors_of_every_component_are_skipped_and_missing_columns_masked():
    data = data_of(networkx.disjoint_union(networkx.path_graph(3), networkx.path_graph(2)))
    data.num_nodes = 6
    out = LaplacianEigenvectors(5)(data)
    assert out.laplacian_eigenvector_pe_eigenvalue[0].tolist() == pytest.approx([1, 2, 2, 0, 0])
    assert out.laplacian_eigenvector_pe_mask[5].tolist() == [True, True, True, False, False]
    vectors = out.laplacian_eigenvector_pe
    assert not vectors[:, 3:].any()
    assert not vectors[3:, :2].any(), "the first two belong to the path of three nodes"
    assert vectors[3:5, 2].abs().tolist() == pytest.approx([0.5**0.5] * 2)
    assert not vectors[5].any()


@pytest.mark.parametrize("num_nodes", [0, 1, 2])
def test_tiny_graphs(num_nodes: int):
    edge_index = torch.tensor([[0, 1], [1, 0]]) if num_nodes == 2 else torch.empty((2, 0), dtype=torch.int64)
    out: Any = LaplacianEigenvectors(3)(Data(edge_index=edge_index, num_nodes=num_nodes))
    assert out.laplacian_eigenvector_pe.shape == (num_nodes, 3)
    assert int(out.laplacian_eigenvector_pe_mask.sum()) == (2 if num_nodes == 2 else 0)
    if num_nodes == 2:
        assert out.laplacian_eigenvector_pe[:, 0].tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)])


def test_the_largest_entry_is_positive():
    data = data_of(networkx.gnp_random_graph(40, 0.15, seed=5))
    vectors = LaplacianEigenvectors(6)(data).laplacian_eigenvector_pe
    largest = vectors.abs().argmax(0)
    assert bool((vectors[largest, torch.arange(6)] > 0).all())


def test_simple_eigenvectors_move_with_the_nodes():
    data = data_of(networkx.gnp_random_graph(30, 0.2, seed=8))
    out = LaplacianEigenvectors(4)(data.clone()).laplacian_eigenvector_pe
    perm = torch.randperm(30)
    moved: Any = LaplacianEigenvectors(4)(Data(edge_index=perm[data.edge_index], num_nodes=30))
    torch.testing.assert_close(moved.laplacian_eigenvector_pe[perm], out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rows", "k"), [(20, 12), (31, 25)])
def test_the_sparse_solver_finds_repeated_eigenvalues(rows: int, k: int):
    # A torus of more than 256 nodes: most eigenvalues are four- or eightfold.
    torus = networkx.grid_2d_graph(rows, rows, periodic=True)
    waves = [math.cos(2 * math.pi * i / rows) for i in range(rows)]
    expected = [1 - (a + b) / 2 for a in waves for b in waves]
    assert eigenvalues_of(torus, k) == spectrum(expected, k)


def test_half_of_a_spectrum_goes_to_the_dense_solver_or_is_refused(monkeypatch: pytest.MonkeyPatch):
    tree = networkx.balanced_tree(3, 5)
    expected = np.linalg.eigvalsh(matrix_of(data_of(tree), "sym")).tolist()
    assert eigenvalues_of(tree, 60) == spectrum(expected, 60)
    monkeypatch.setattr(_eigensolver, "LARGEST_DENSE", 100)
    with pytest.raises(DataError, match="ask for fewer with k"):
        LaplacianEigenvectors(60)(data_of(tree))


@pytest.mark.parametrize(
    "graph",
    [networkx.cycle_graph(9), networkx.complete_graph(6), networkx.hypercube_graph(3), networkx.petersen_graph()],
    ids=["C9", "K6", "Q3", "Petersen"],
)
def test_a_basis_depends_on_the_eigenspace_and_not_on_what_a_solver_gives(graph: Any):
    matrix = matrix_of(data_of(graph), "sym")
    values, vectors = np.linalg.eigh(matrix)
    found = []
    for seed in range(4):
        rng, turned = np.random.default_rng(seed), vectors.copy()
        for value in np.unique(values.round(9)):
            space = np.flatnonzero(np.abs(values - value) < 1e-8)
            turned[:, space] = vectors[:, space] @ np.linalg.qr(rng.standard_normal((len(space),) * 2))[0]
        found.append(fixed_basis(values[None], turned[None], len(values))[0])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-9)
    np.testing.assert_allclose(found[0].T @ found[0], np.eye(len(values)), atol=1e-12)
    np.testing.assert_allclose(matrix @ found[0], found[0] * values, atol=1e-9)
    for cut in range(1, len(values)):
        np.testing.assert_allclose(fixed_basis(values[None], vectors[None], cut)[0], found[0][:, :cut], atol=1e-9)


def test_the_sparse_solver_resolves_tiny_gaps_and_repeats_bitwise():
    data = data_of(networkx.path_graph(2000))
    first = LaplacianEigenvectors(5)(data.clone())
    values = first.laplacian_eigenvector_pe_eigenvalue[0].double().tolist()
    expected = [1 - math.cos(math.pi * j / 1999) for j in range(1, 6)]
    assert values == pytest.approx(expected, rel=1e-4)
    second = LaplacianEigenvectors(5)(data.clone())
    assert torch.equal(first.laplacian_eigenvector_pe, second.laplacian_eigenvector_pe)


def test_a_batch_is_its_graphs_and_comes_apart_again():
    graphs = [data_of(networkx.gnp_random_graph(n, 0.5, seed=n)) for n in (7, 1, 5, 7, 3)]
    expected = [LaplacianEigenvectors(4)(graph.clone()) for graph in graphs]
    batch: Any = LaplacianEigenvectors(4)(Batch.from_data_list(graphs))
    for suffix in ("", "_eigenvalue", "_mask"):
        name = "laplacian_eigenvector_pe" + suffix
        for single, value in zip(batch.to_data_list(), expected, strict=True):
            torch.testing.assert_close(single[name], value[name])


def test_directed_graphs_are_refused():
    data = Data(edge_index=torch.tensor([[0, 1, 1], [1, 0, 2]]), num_nodes=3)
    with pytest.raises(DataError, match=r"undirected graph, but the edges (1 -> 2|2 -> 1) weigh"):
        LaplacianEigenvectors(2)(data)


def test_bad_parameters_and_weights_are_refused():
    with pytest.raises(ConfigError, match="k must be at least 1"):
        LaplacianEigenvectors(0)
    with pytest.raises(ConfigError, match="normalization must be"):
        LaplacianEigenvectors(2, normalization="left")
    data = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.tensor([-1.0, 1.0]), num_nodes=2)
    with pytest.raises(DataError, match="not negative, but edge 0"):
        LaplacianEigenvectors(2)(data)
    assert repr(LaplacianEigenvectors(2)).startswith("LaplacianEigenvectors(k=2, normalization='sym'")
