"""Sparse products against SciPy, closed forms and dense masked products; the battery has the awkward sizes."""

import numpy as np
import pytest
import scipy.sparse
import torch

from gnnkit import Graph, ops
from gnnkit.errors import DtypeError, IndexRangeError, ShapeError
from tests.ops.kernels import EMULATED, needs_kernels
from tests.tolerances import assert_close

# More columns than a table by column is given to short rows, which are hashed instead.
MANY_COLUMNS = 200_000


def random_edges(rows: int, columns: int, entries: int, seed: int, exponent: float = 0.0) -> torch.Tensor:
    """Sources (columns) and destinations (rows), drawn with probability proportional to ``rank ** -exponent``."""
    rng = np.random.default_rng(seed)
    ends = []
    for size in (columns, rows):
        weight = np.arange(1, size + 1) ** -exponent
        ends.append(rng.choice(size, entries, p=weight / weight.sum()))
    return torch.from_numpy(np.stack(ends))


def hub_edges(rows: int, columns: int, entries: int, seed: int) -> torch.Tensor:
    """A full row and a full column on top of random entries."""
    full_row = torch.stack([torch.arange(columns), torch.zeros(columns, dtype=torch.int64)])
    full_column = torch.stack([torch.zeros(rows, dtype=torch.int64), torch.arange(rows)])
    return torch.cat([random_edges(rows, columns, entries, seed), full_row, full_column], 1)


# name: (rows of a, columns of a, columns of b, edges of a, edges of b); some entries occur twice in most of them.
PAIRS = {
    "uniform": (60, 60, 60, random_edges(60, 60, 400, 0), random_edges(60, 60, 400, 1)),
    "power-law": (300, 300, 300, random_edges(300, 300, 2000, 2, 0.9), random_edges(300, 300, 2000, 3, 0.9)),
    "hub": (90, 70, 110, hub_edges(90, 70, 50, 4), hub_edges(70, 110, 50, 5)),
    "rectangular": (7, 120, 33, random_edges(7, 120, 200, 6), random_edges(120, 33, 300, 7)),
    "no entries in a": (5, 6, 7, random_edges(5, 6, 0, 0), random_edges(6, 7, 20, 8)),
    "no entries in b": (5, 6, 7, random_edges(5, 6, 20, 9), random_edges(6, 7, 0, 0)),
    "no columns": (5, 6, 0, random_edges(5, 6, 20, 10), torch.zeros(2, 0, dtype=torch.int64)),
    "hashed": (50, 300, MANY_COLUMNS, random_edges(50, 300, 900, 11), random_edges(300, MANY_COLUMNS, 3000, 12)),
    # The row of b that has 20,000 entries takes the rows of the product that meet it to the table by column.
    "both tables": (
        50,
        300,
        MANY_COLUMNS,
        random_edges(50, 300, 900, 13),
        torch.cat([random_edges(300, MANY_COLUMNS, 3000, 14), random_edges(1, MANY_COLUMNS, 20_000, 15)], 1),
    ),
}
all_pairs = pytest.mark.parametrize("name", PAIRS)


def pair(name: str, index_dtype=torch.int64) -> tuple[Graph, Graph, torch.Tensor, torch.Tensor]:
    """The factors, and small whole numbers as weights, whose sums are exact in any order."""
    rows, inner, columns, a_edges, b_edges = PAIRS[name]
    a = Graph.from_edge_index(a_edges.to(index_dtype), num_src=inner, num_dst=rows)
    b = Graph.from_edge_index(b_edges.to(index_dtype), num_src=columns, num_dst=inner)
    return a, b, torch.randint(-4, 5, (a.num_edges,)).double(), torch.randint(-4, 5, (b.num_edges,)).double()


def scipy_matrix(graph: Graph, values: torch.Tensor) -> scipy.sparse.csr_array:
    source, destination = graph.edge_index.numpy()
    shape = (graph.num_dst, graph.num_src)
    return scipy.sparse.coo_array((values.detach().numpy(), (destination, source)), shape=shape).tocsr()


def pattern(graph: Graph) -> scipy.sparse.csr_array:
    matrix = scipy_matrix(graph, torch.ones(graph.num_edges))
    matrix.data[:] = 1
    return matrix


def entries(matrix: scipy.sparse.sparray, graph: Graph) -> np.ndarray:
    """Those of a matrix at the edges of a graph, in the caller's order; equal edges get the same one."""
    source, destination = graph.edge_index.numpy().copy()
    return matrix.tocsr()[destination, source] if len(source) else np.zeros(0)


@all_pairs
@pytest.mark.parametrize("index_dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("sort", [False, True])
def test_product_equals_that_of_scipy(name, index_dtype, sort):
    a, b, a_weight, b_weight = pair(name, index_dtype)
    product, values = ops.spgemm(a, b, a_weight, b_weight, sort=sort)
    expected = scipy_matrix(a, a_weight) @ scipy_matrix(b, b_weight)
    structure = pattern(a) @ pattern(b)
    assert (product.num_dst, product.num_src, product.edge_id) == (a.num_dst, b.num_src, None)
    assert product.col.dtype == product.rowptr.dtype == index_dtype
    assert values.shape == (product.num_edges,)
    assert np.array_equal(product.rowptr.numpy(), structure.indptr), "what cancels or is zero stays in the pattern"
    assert (scipy_matrix(product, values) != expected).nnz == 0
    Graph(product.rowptr, product.col, None, product.num_src)  # checks it
    key = product.dst_of_position().long() * max(product.num_src, 1) + product.col.long()
    assert key.unique().numel() == product.num_edges
    if sort:
        assert bool((key.diff() > 0).all())


@all_pairs
def test_columns_stand_in_the_order_in_which_the_product_meets_them(name):
    a, b, *_ = pair(name)
    product, _ = ops.spgemm(a, b)
    rows_of_b = [b.col[b.rowptr[k] : b.rowptr[k + 1]].tolist() for k in range(b.num_dst)]
    for i in range(a.num_dst):
        met = dict.fromkeys(
            j for k in a.col[a.rowptr[i] : a.rowptr[i + 1]].tolist() for j in rows_of_b[k]
        )  # a dict keeps the first of equal keys, in order
        assert product.col[product.rowptr[i] : product.rowptr[i + 1]].tolist() == list(met)


@all_pairs
def test_gradients_equal_masked_products(name):
    a, b, a_weight, b_weight = pair(name)
    a_weight.requires_grad_()
    b_weight.requires_grad_()
    product, values = ops.spgemm(a, b, a_weight, b_weight)
    grad = torch.randint(-4, 5, values.shape).double()
    found = torch.autograd.grad(values, (a_weight, b_weight), grad)
    g = scipy_matrix(product, grad)
    assert np.array_equal(found[0].numpy(), entries(g @ scipy_matrix(b, b_weight).T, a))
    assert np.array_equal(found[1].numpy(), entries(scipy_matrix(a, a_weight).T @ g, b))


@all_pairs
def test_masked_product_and_its_gradients(name):
    a, b, a_weight, b_weight = pair(name)
    a_weight.requires_grad_()
    b_weight.requires_grad_()
    generator = torch.Generator().manual_seed(0)
    # Half of the mask lies on the pattern of the product, most of the rest off it; what comes twice counts twice.
    inside = ops.spgemm(a, b)[0].edge_index
    inside = inside[:, torch.randperm(inside.size(1), generator=generator)[:500]]
    count = 500 if b.num_src else 0
    outside = torch.stack(
        [torch.randint(max(size, 1), (count,), generator=generator) for size in (b.num_src, a.num_dst)]
    )
    edges = torch.cat([inside, outside, inside], 1)
    mask = Graph.from_edge_index(edges, num_src=b.num_src, num_dst=a.num_dst)
    values = ops.masked_spgemm(mask, a, b, a_weight, b_weight)
    whole = scipy_matrix(a, a_weight) @ scipy_matrix(b, b_weight)
    assert np.array_equal(values.detach().numpy(), entries(whole, mask))
    grad = torch.randint(-4, 5, values.shape).double()
    grad_a, grad_b = torch.autograd.grad(values, (a_weight, b_weight), grad)
    g = scipy_matrix(mask, grad)
    assert np.array_equal(grad_a.numpy(), entries(g @ scipy_matrix(b, b_weight).T, a))
    assert np.array_equal(grad_b.numpy(), entries(scipy_matrix(a, a_weight).T @ g, b))


@needs_kernels
def test_both_tables_give_the_same_bits():
    a, b, *_ = pair("both tables")
    a_weight, b_weight = torch.randn(a.num_edges, requires_grad=True), torch.randn(b.num_edges, requires_grad=True)
    # The same matrix without the columns that hold nothing is narrow enough for the table by column.
    kept, numbers = b.edge_index[0].unique(return_inverse=True)
    assert len(kept) < 2**17 < MANY_COLUMNS
    narrow = Graph.from_edge_index(torch.stack([numbers, b.edge_index[1]]), num_src=len(kept), num_dst=b.num_dst)
    results = []
    for right in (b, narrow):
        product, values = ops.spgemm(a, right, a_weight, b_weight)
        masked = ops.masked_spgemm(product, a, right, a_weight, b_weight)
        weights = torch.linspace(-1, 1, len(values))
        results.append([values, masked, *torch.autograd.grad(values, (a_weight, b_weight), weights)])
        results[-1].append(product.col if right is b else kept[product.col])
    for wide, compact in zip(*results, strict=True):
        assert torch.equal(wide, compact)


def test_path_squared():
    n = 9
    forth = torch.stack([torch.arange(n - 1), torch.arange(1, n)])
    path = Graph.from_edge_index(torch.cat([forth, forth.flip(0)], 1), n)
    product, values = ops.spgemm(path, path, sort=True)
    expected = np.diag(path.in_degree().numpy()) + np.eye(n, k=2) + np.eye(n, k=-2)
    assert np.array_equal(scipy_matrix(product, values).toarray(), expected)
    assert values[product.col == product.dst_of_position()].sum() == path.num_edges


def test_permutations():
    n = 50
    first, second = torch.randperm(n), torch.randperm(n)
    a, b = (Graph.from_edge_index(torch.stack([p, torch.arange(n)]), n) for p in (first, second))
    product, values = ops.spgemm(a, b)
    assert torch.equal(product.col, second[first])
    assert torch.equal(values, torch.ones(n))


def test_triangles_of_complete_graphs():
    for n in (3, 4, 7):
        edges = torch.tensor([(i, j) for i in range(n) for j in range(n) if i != j]).t()
        graph = Graph.from_edge_index(edges, n)
        common = ops.masked_spgemm(graph, graph, graph)
        assert torch.equal(common, torch.full((n * (n - 1),), n - 2.0))
        triangles = ops.aggregate(graph, common) / 2
        assert torch.equal(triangles, torch.full((n,), (n - 1) * (n - 2) / 2))


def test_zeros_stay_and_no_weight_means_one():
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]]), 2)
    product, values = ops.spgemm(graph, graph, torch.tensor([1.0, -1.0, 1.0, 1.0]), torch.tensor([1.0, 0.0, 1.0, 0.0]))
    assert product.num_edges == 4
    assert values.tolist() == [0.0, 0.0, 2.0, 0.0]
    assert ops.spgemm(graph, graph)[1].tolist() == [2.0] * 4
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        assert ops.spgemm(graph, graph)[1].dtype == torch.float64
        assert ops.masked_spgemm(graph, graph, graph).dtype == torch.float64
    finally:
        torch.set_default_dtype(before)


def test_gradient_of_one_factor_alone():
    a, b, a_weight, b_weight = pair("power-law")
    a_weight.requires_grad_()
    b_weight.requires_grad_()
    both = torch.autograd.grad(ops.spgemm(a, b, a_weight, b_weight)[1].square().sum(), (a_weight, b_weight))
    (only_a,) = torch.autograd.grad(ops.spgemm(a, b, a_weight, b_weight.detach())[1].square().sum(), a_weight)
    (only_b,) = torch.autograd.grad(ops.spgemm(a, b, a_weight.detach(), b_weight)[1].square().sum(), b_weight)
    assert torch.equal(both[0], only_a)
    assert torch.equal(both[1], only_b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_for_any_number_of_threads(dtype):
    """Large enough for several blocks of rows in the gradient to b."""
    edges = random_edges(2000, 2000, 20_000, 20, 0.7)
    graph = Graph.from_edge_index(edges, 2000)
    a_weight = torch.randn(graph.num_edges, dtype=dtype, requires_grad=True)
    b_weight = torch.randn(graph.num_edges, dtype=dtype, requires_grad=True)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8, 2):
            torch.set_num_threads(threads)
            product, values = ops.spgemm(graph, graph, a_weight, b_weight)
            grads = torch.autograd.grad(values.float().sin().sum(), (a_weight, b_weight))
            masked = ops.masked_spgemm(graph, graph, graph, a_weight, b_weight)
            results.append([product.rowptr, product.col, values, *grads, masked])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_compiled_values():
    compiled = torch.compile(
        lambda a, b, x, y: ops.spgemm(a, b, x, y, sort=True)[1] * 2, backend="aot_eager", fullgraph=True, dynamic=True
    )
    for name in ("uniform", "power-law"):
        a, b, a_weight, b_weight = pair(name)
        assert torch.equal(compiled(a, b, a_weight, b_weight), ops.spgemm(a, b, a_weight, b_weight, sort=True)[1] * 2)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")
@pytest.mark.parametrize("layout", ["csr", "coo"])
def test_sparse_tensors(layout):
    dense_a = torch.where(torch.rand(8, 12) < 0.4, torch.randn(8, 12), 0).requires_grad_()
    dense_b = torch.where(torch.rand(12, 9) < 0.4, torch.randn(12, 9), 0).requires_grad_()
    convert = torch.Tensor.to_sparse_csr if layout == "csr" else lambda dense: dense.to_sparse().coalesce()
    product = ops.spgemm(convert(dense_a), convert(dense_b))
    assert product.layout == torch.sparse_csr
    torch.sparse_csr_tensor(
        product.crow_indices(), product.col_indices(), product.values(), product.shape, check_invariants=True
    )
    assert_close(product.to_dense(), dense_a @ dense_b)
    weights = torch.randn(8, 9)
    found = torch.autograd.grad((product.to_dense() * weights).sum(), (dense_a, dense_b))
    expected = torch.autograd.grad(((dense_a @ dense_b) * weights).sum(), (dense_a, dense_b))
    for dense, actual, wanted in zip((dense_a, dense_b), found, expected, strict=True):
        # A gradient may come back sparse; it holds the entries of the pattern alone.
        assert_close(
            actual.to_dense() if actual.layout != torch.strided else actual, torch.where(dense != 0, wanted, 0)
        )


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")
def test_sparse_tensors_that_do_not_fit():
    eye = torch.eye(3).to_sparse_csr()
    with pytest.raises(ShapeError, match="with graphs only"):
        ops.spgemm(eye, eye, torch.ones(3))  # type: ignore[call-overload]
    with pytest.raises(ShapeError, match=r"to_sparse_csr\(\)"):
        ops.spgemm(eye, torch.eye(3))
    with pytest.raises(ShapeError, match=r"to_sparse_csr\(\)"):
        ops.spgemm(torch.sparse_coo_tensor(torch.zeros(2, 2, dtype=torch.long), torch.ones(2), (3, 3)), eye)
    with pytest.raises(ShapeError, match="one number per entry"):
        ops.spgemm(eye, torch.ones(2, 3, 3).to_sparse_csr())
    with pytest.raises(DtypeError, match="float32, float64 or bfloat16"):
        ops.spgemm(eye.to(torch.int64), eye.to(torch.int64))
    broken = torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([77]), torch.ones(1), (1, 3))
    with pytest.raises(IndexRangeError, match="77"):
        ops.spgemm(broken, eye)


def test_a_size_without_entries_costs_nothing():
    """Neither time nor memory grows with the number of columns beyond those that are taken."""
    size = 2**40
    edges = torch.tensor([[5, size - 1, 5], [0, 1, 1]])
    wide = Graph.from_edge_index(edges, num_src=size, num_dst=2)
    square = Graph.from_edge_index(torch.tensor([[0, 1, 1], [0, 0, 1]]), 2)
    weight = torch.ones(3, requires_grad=True)
    if EMULATED:
        with pytest.raises(RuntimeError, match="fewer than 2\\^31 columns"):
            ops.spgemm(square, wide, None, weight)
        return
    product, values = ops.spgemm(square, wide, None, weight, sort=True)
    assert product.col.tolist() == [5, size - 1, 5, size - 1]
    assert values.tolist() == [2.0, 1.0, 1.0, 1.0]
    assert torch.autograd.grad(values.sum(), weight)[0].tolist() == [1.0, 2.0, 2.0]
    assert ops.masked_spgemm(product, square, wide).tolist() == [2.0, 1.0, 1.0, 1.0]


@needs_kernels
def test_kernels_refuse_what_python_cannot_read():
    good = (torch.tensor([0, 1, 2]), torch.tensor([1, 0]), None)
    ones = torch.ones(2)
    bad = {
        "column": (good[0], torch.tensor([1, 2]), None),
        "negative": (good[0], torch.tensor([-1, 0]), None),
        "boundaries": (torch.tensor([0, 7, 2]), good[1], None),
        "edge_id": (*good[:2], torch.tensor([0, 9])),
    }
    for factor in bad.values():
        with pytest.raises(RuntimeError):
            torch.ops.gnnkit.spgemm(*factor, ones, *good, ones, 2, False)
        with pytest.raises(RuntimeError):
            torch.ops.gnnkit.spgemm(*good, ones, *factor, ones, 2, False)
        with pytest.raises(RuntimeError):
            torch.ops.gnnkit.spgemm_backward(*good, ones, *factor, ones, *good[:2], ones, 2, True, True)
        with pytest.raises(RuntimeError):
            torch.ops.gnnkit.masked_spgemm(*good, ones, *good, ones, *factor, 2)
    with pytest.raises(RuntimeError):
        torch.ops.gnnkit.spgemm_backward(*good, ones, *good, ones, *bad["column"][:2], ones, 2, True, True)


@needs_kernels
@pytest.mark.slow
def test_more_entries_than_int32_counts():
    n = 46_341  # its square is the first above 2 ** 31 - 1
    column = Graph.from_edge_index(
        torch.zeros(2, n, dtype=torch.int32).index_copy(0, torch.tensor([1]), torch.arange(n, dtype=torch.int32)[None]),
        num_src=1,
        num_dst=n,
    )
    with pytest.raises(RuntimeError, match="2147488281"):
        ops.spgemm(column, column.transpose())
