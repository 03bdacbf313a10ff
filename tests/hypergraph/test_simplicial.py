"""Clique complexes: NetworkX's cliques, exact boundaries, Betti numbers, and dense formulas of the convolution."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError, DtypeError, GnnkitError, IndexRangeError, ShapeError
from gnnkit.hypergraph import CliqueComplex, SimplicialConv, boundary_matrices, hodge_laplacian
from tests.tolerances import assert_close

DOUBLE = torch.float64


def edge_index_of(graph: nx.Graph) -> Tensor:
    pairs = torch.tensor(list(graph.edges), dtype=torch.int64).reshape(-1, 2).t()
    return torch.cat([pairs, pairs.flip(0)], 1)


def complex_of(graph: nx.Graph) -> CliqueComplex:
    return CliqueComplex.from_edge_index(edge_index_of(graph), graph.number_of_nodes())


def torus(rows: int, columns: int) -> nx.Graph:
    """A grid with wrapped sides and one diagonal in each square; its triangles are those of a torus and no others."""
    graph = nx.Graph()
    for i, j in itertools.product(range(rows), range(columns)):
        for di, dj in ((0, 1), (1, 0), (1, 1)):
            graph.add_edge(i * columns + j, (i + di) % rows * columns + (j + dj) % columns)
    return graph


GRAPHS: dict[str, nx.Graph] = {
    "nothing": nx.empty_graph(0),
    "nodes alone": nx.empty_graph(3),
    "one edge": nx.path_graph(2),
    "cycle": nx.cycle_graph(6),
    "filled triangle": nx.complete_graph(3),
    "two cycles": nx.disjoint_union(nx.cycle_graph(4), nx.cycle_graph(5)),
    "complete": nx.complete_graph(6),
    "star": nx.star_graph(9),
    "torus": torus(5, 6),
    **{f"random {seed}": nx.gnp_random_graph(15, 0.35, seed=seed) for seed in range(4)},
    "hub": nx.barabasi_albert_graph(40, 4, seed=1),
}
every_graph = pytest.mark.parametrize("name", GRAPHS)


@every_graph
def test_simplices_are_the_cliques(name: str):
    graph = GRAPHS[name]
    found = complex_of(graph)
    cliques = [tuple(sorted(clique)) for clique in nx.enumerate_all_cliques(graph)]
    for size, simplices in ((2, found.edges), (3, found.triangles)):
        assert [tuple(row) for row in simplices.t().tolist()] == sorted(c for c in cliques if len(c) == size)
    assert [found.size(dim) for dim in (0, 1, 2)] == [found.num_nodes, found.num_edges, found.num_triangles]
    ends = [tuple(edge) for edge in found.edges.t().tolist()]
    for (a, b, c), faces in zip(found.triangles.t().tolist(), found.face.t().tolist(), strict=True):
        assert [ends[edge] for edge in faces] == [(a, b), (a, c), (b, c)]


def dense_boundaries(found: CliqueComplex) -> tuple[Tensor, Tensor]:
    """Entries (-1)^i of the face without the i-th node, one at a time."""
    matrices = []
    levels = [[(node,) for node in range(found.num_nodes)], found.edges.t().tolist(), found.triangles.t().tolist()]
    for faces, simplices in itertools.pairwise(levels):
        place = {tuple(face): row for row, face in enumerate(faces)}
        matrix = torch.zeros(len(faces), len(simplices), dtype=DOUBLE)
        for column, simplex in enumerate(simplices):
            for i in range(len(simplex)):
                matrix[place[tuple(simplex[:i] + simplex[i + 1 :])], column] = (-1) ** i
        matrices.append(matrix)
    return matrices[0], matrices[1]


@every_graph
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_boundaries_and_their_product(name: str, dtype: torch.dtype):
    found = complex_of(GRAPHS[name])
    matrices = boundary_matrices(found, dtype=dtype)
    for matrix, expected in zip(matrices, dense_boundaries(found), strict=True):
        assert matrix.is_sparse
        assert matrix.dtype == dtype
        assert torch.equal(matrix.to_dense().double(), expected)
    first, second = (matrix.to_dense() for matrix in matrices)
    assert bool((first @ second == 0).all())


@every_graph
def test_normalised_boundaries_are_those_of_schaub(name: str):
    found = complex_of(GRAPHS[name])
    first, second = (matrix.numpy() for matrix in dense_boundaries(found))
    d2 = np.maximum(np.abs(second).sum(1), 1)
    d1 = 2 * (np.abs(first) @ d2)
    root = np.divide(1, np.sqrt(d1), where=d1 > 0, out=np.zeros_like(d1))
    expected = root[:, None] * first * np.sqrt(d2), second / np.sqrt(d2)[:, None] / math.sqrt(3)
    matrices = boundary_matrices(found, dtype=DOUBLE, normalize=True)
    for matrix, wanted in zip(matrices, expected, strict=True):
        assert_close(matrix.to_dense(), torch.from_numpy(wanted))
    assert_close(matrices[0].to_dense() @ matrices[1].to_dense(), torch.zeros(found.num_nodes, found.num_triangles))
    for dim in (0, 1, 2):
        if found.size(dim) > 0:
            spectrum = torch.linalg.eigvalsh(hodge_laplacian(found, dim, dtype=DOUBLE, normalize=True).to_dense())
            assert float(spectrum.min()) > -1e-9
            assert float(spectrum.max()) < 1 + 1e-9


@every_graph
@pytest.mark.parametrize("normalize", [False, True])
def test_laplacians_are_products_of_boundaries(name: str, normalize: bool):
    found = complex_of(GRAPHS[name])
    first, second = (m.to_dense() for m in boundary_matrices(found, dtype=DOUBLE, normalize=normalize))
    zero = {dim: torch.zeros(found.size(dim), found.size(dim), dtype=DOUBLE) for dim in (0, 2)}
    parts = {
        0: (zero[0], first @ first.t()),
        1: (first.t() @ first, second @ second.t()),
        2: (second.t() @ second, zero[2]),
    }
    for dim, (down, up) in parts.items():
        for part, expected in (("down", down), ("up", up), ("full", down + up)):
            matrix = hodge_laplacian(found, dim, part, dtype=DOUBLE, normalize=normalize)  # type: ignore[arg-type]
            assert matrix.is_coalesced()
            assert_close(matrix.to_dense(), expected)


def test_laplacian_of_nodes_is_that_of_the_graph():
    graph = GRAPHS["random 1"]
    expected = torch.from_numpy(nx.laplacian_matrix(graph).toarray()).double()
    assert torch.equal(hodge_laplacian(complex_of(graph), 0, dtype=DOUBLE).to_dense(), expected)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("graph", "betti"),
    [
        (nx.cycle_graph(5), (1, 1, 0)),
        (nx.complete_graph(3), (1, 0, 0)),
        (nx.disjoint_union(nx.cycle_graph(4), nx.cycle_graph(6)), (2, 2, 0)),
        (nx.empty_graph(4), (4, 0, 0)),
        (nx.random_labeled_tree(9, seed=0), (1, 0, 0)),
        (torus(5, 6), (1, 2, 1)),
        (nx.octahedral_graph(), (1, 0, 1)),  # a sphere
        (nx.icosahedral_graph(), (1, 0, 1)),
        (nx.petersen_graph(), (1, 6, 0)),  # no triangles: E - N + 1 cycles
    ],
)
def test_kernels_have_the_dimension_of_betti_numbers(graph: nx.Graph, betti: tuple[int, ...], normalize: bool):
    found = complex_of(graph)
    for dim, expected in enumerate(betti):
        matrix = hodge_laplacian(found, dim, dtype=DOUBLE, normalize=normalize).to_dense().numpy()
        rank = np.linalg.matrix_rank(matrix) if matrix.size else 0
        assert matrix.shape[0] - rank == expected


def test_what_the_columns_hold():
    index = torch.tensor([[2, 0, 1, 2, 1], [0, 2, 2, 1, 2]])  # the edge 1 - 2 twice one way
    index = torch.cat([index, torch.tensor([[2], [1]])], 1)
    found = CliqueComplex.from_edge_index(index, 4)
    assert found.edges.tolist() == [[0, 1], [2, 2]]
    assert found.column_edge.tolist() == [0, 0, 1, 1, 1, 1]
    assert found.column_sign.tolist() == [-1, 1, 1, -1, 1, -1]
    value = torch.tensor([1.0, 3.0, 1.0, 2.0, 3.0, 6.0])
    assert found.per_edge(value).tolist() == [2.0, 3.0]
    assert found.per_edge(value, oriented=True).tolist() == [1.0, -1.0]
    assert found.per_column(torch.tensor([5.0, 7.0])).tolist() == [5.0, 5.0, 7.0, 7.0, 7.0, 7.0]
    flow = found.per_column(torch.tensor([[5.0], [7.0]]), oriented=True)
    assert flow.tolist() == [[-5.0], [5.0], [7.0], [-7.0], [7.0], [-7.0]]
    assert found.per_edge(flow, oriented=True).tolist() == [[5.0], [7.0]]
    assert repr(found) == "CliqueComplex(num_nodes=4, num_edges=2, num_triangles=0)"
    assert found.to("cpu") is found
    assert CliqueComplex.from_edge_index(index.int(), 4).edges.tolist() == found.edges.tolist()


def dense_convolution(layer: SimplicialConv, x: Tensor, found: CliqueComplex) -> Tensor:
    terms = [x]
    for part, order in (("down", layer.lower_order), ("up", layer.upper_order)):
        matrix = hodge_laplacian(found, layer.dim, part, dtype=DOUBLE, normalize=layer.normalize).to_dense()  # type: ignore[arg-type]
        terms += [torch.linalg.matrix_power(matrix, power) @ x for power in range(1, order + 1)]
    out = torch.zeros(x.size(0), layer.out_channels, dtype=DOUBLE)
    for term, weight in zip(terms, layer.lin.weight.split(layer.in_channels, dim=1), strict=True):
        out = out + term @ weight.t()
    return out if layer.bias is None else out + layer.bias


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize(("lower", "upper"), [(0, 0), (1, 1), (2, 3)])
@pytest.mark.parametrize("normalize", [False, True])
def test_convolution_equals_dense_powers(dim: int, lower: int, upper: int, normalize: bool):
    for name in ("complete", "hub", "cycle", "nodes alone", "nothing"):
        found = complex_of(GRAPHS[name])
        layer = SimplicialConv(
            3, 4, dim=dim, lower_order=lower, upper_order=upper, normalize=normalize, bias=True
        ).double()
        torch.nn.init.normal_(layer.bias)
        x = torch.randn(found.size(dim), 3, dtype=DOUBLE)
        assert_close(layer(x, found), dense_convolution(layer, x, found))
    assert (layer.lower_order, layer.upper_order) == (lower if dim > 0 else 0, upper if dim < 2 else 0)


def test_shared_weights_give_the_polynomial_of_the_whole_laplacian():
    found = complex_of(GRAPHS["hub"])
    layer = SimplicialConv(2, 2, lower_order=3, upper_order=3, normalize=False).double()
    weights = list(layer.lin.weight.detach().split(2, dim=1))
    layer.lin.weight.data = torch.cat([*weights[:4], *weights[1:4]], dim=1)
    x, matrix = torch.randn(found.num_edges, 2, dtype=DOUBLE), hodge_laplacian(found, 1, dtype=DOUBLE).to_dense()
    expected = sum(torch.linalg.matrix_power(matrix, power) @ x @ weights[power].t() for power in range(4))
    torch.testing.assert_close(layer(x, found), expected, rtol=1e-9, atol=1e-9)


def test_gradients():
    found = complex_of(GRAPHS["random 2"])
    layer = SimplicialConv(2, 3, lower_order=2, upper_order=1, bias=True).double()
    x = torch.randn(found.num_edges, 2, dtype=DOUBLE, requires_grad=True)

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"lin.weight": weight}, (x, found))

    assert torch.autograd.gradcheck(run, (x, layer.lin.weight.detach().requires_grad_()))


def simplices_of(found: CliqueComplex, dim: int) -> Tensor:
    return (torch.arange(found.num_nodes).unsqueeze(0), found.edges, found.triangles)[dim]


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_relabelled_nodes_turn_edges_and_their_results(dim: int):
    graph = nx.gnp_random_graph(12, 0.5, seed=3)
    order = torch.randperm(12)
    found, other = complex_of(graph), complex_of(nx.relabel_nodes(graph, dict(enumerate(order.tolist()))))
    layer = SimplicialConv(3, 2, dim=dim, lower_order=2, upper_order=2).double()
    x = torch.randn(found.size(dim), 3, dtype=DOUBLE)
    here, there = (simplices_of(each, dim) for each in (found, other))
    moved, places = order[here].sort(0)
    where = {tuple(simplex): row for row, simplex in enumerate(there.t().tolist())}
    place = torch.tensor([where[tuple(simplex)] for simplex in moved.t().tolist()])
    # The sign of the permutation that sorts the nodes of each simplex.
    sign = torch.tensor([float(np.linalg.det(np.eye(dim + 1)[row])) for row in places.t().tolist()]).round()
    assert sign.unique().tolist() == ([1.0] if dim == 0 else [-1.0, 1.0])
    sign = sign.double().unsqueeze(1)
    turned = torch.empty_like(x)
    turned[place] = sign * x
    assert_close(layer(turned, other)[place], sign * layer(x, found))


def test_graphs_side_by_side_do_not_see_each_other():
    parts = [GRAPHS["hub"], GRAPHS["nodes alone"], GRAPHS["complete"]]
    whole = complex_of(nx.disjoint_union_all(parts))
    layer = SimplicialConv(3, 2, lower_order=2, upper_order=2)
    x = torch.randn(whole.num_edges, 3)
    alone = [complex_of(part) for part in parts]
    expected = [layer(rows, one) for rows, one in zip(x.split([c.num_edges for c in alone]), alone, strict=True)]
    assert_close(layer(x, whole), torch.cat(expected))


def test_the_same_bits_twice_and_for_any_number_of_threads():
    found, before, results = complex_of(nx.barabasi_albert_graph(400, 8, seed=0)), torch.get_num_threads(), []
    layer, x = SimplicialConv(4, 4, lower_order=2, upper_order=2), torch.randn(found.num_edges, 4)
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            results.append(layer(x, found))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


PATH = torch.tensor([[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: CliqueComplex.from_edge_index(PATH[:, :1], 2), DataError, "direction"),
        (lambda: CliqueComplex.from_edge_index(torch.tensor([[0], [0]]), 2), DataError, "self-loop"),
        (lambda: CliqueComplex.from_edge_index(PATH, 1), IndexRangeError, "num_nodes"),
        (lambda: CliqueComplex.from_edge_index(PATH[0], 2), ShapeError, "dimension"),
        (lambda: hodge_laplacian(path(), 3), ConfigError, "dim must be 0"),
        (lambda: hodge_laplacian(path(), 1, "left"), ConfigError, "'full', 'down' or 'up'"),  # type: ignore[arg-type]
        (lambda: hodge_laplacian(path(), 1, dtype=torch.int64), DtypeError, "float32"),
        (lambda: boundary_matrices(PATH), DtypeError, "must be a CliqueComplex"),  # type: ignore[arg-type]
        (lambda: boundary_matrices(path(), normalize=1), ConfigError, "normalize"),  # type: ignore[arg-type]
        (lambda: SimplicialConv(2, 2, dim=3), ConfigError, "dim must be 0"),
        (lambda: SimplicialConv(0, 2), ConfigError, "in_channels"),
        (lambda: SimplicialConv(2, 2, lower_order=-1), ConfigError, "lower_order"),
        (lambda: SimplicialConv(2, 2)(torch.zeros(2, 2), path()), ShapeError, r"\[1, 2\]"),
        (lambda: SimplicialConv(2, 2)(torch.zeros(1, 2), PATH), DtypeError, "must be a CliqueComplex"),
        (lambda: path().per_edge(torch.zeros(3)), ShapeError, "column of edge_index"),
        (lambda: path().per_column(torch.zeros(2)), ShapeError, "one row per edge"),
        (lambda: path().per_edge(torch.zeros(2), oriented=None), ConfigError, "oriented"),  # type: ignore[arg-type]
    ],
)
def test_bad_input(call, error: type[GnnkitError], message: str):
    with pytest.raises(error, match=message):
        call()


def path() -> CliqueComplex:
    return CliqueComplex.from_edge_index(PATH, 2)
