import pytest
import torch

from gnnkit import Graph, ops
from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError

GRAPH = Graph.from_edge_index(torch.tensor([[0, 1, 2], [1, 0, 0]]), num_nodes=3)
SHORT = Graph.from_edge_index(GRAPH.edge_index.int(), num_nodes=3)
SMALL = Graph.from_edge_index(torch.tensor([[0], [1]]), num_nodes=2)
BIPARTITE = Graph.from_edge_index(torch.tensor([[0], [1]]), num_src=1, num_dst=2)
X = torch.zeros(3, 4)
ROWS = torch.zeros(3, 2, 2)
INDEX = torch.tensor([0, 1, 1])


def ptr(*values):
    return torch.tensor(values)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ops.segment_reduce(X, ptr(0, 2), "sum"), IndexRangeError, "ends at 2"),
        (lambda: ops.segment_reduce(X, ptr(1, 3), "sum"), IndexRangeError, "starts at 1"),
        (lambda: ops.segment_reduce(X, ptr(0, 2, 1, 3), "sum"), IndexRangeError, r"ptr\[1\] = 2 and ptr\[2\] = 1"),
        (lambda: ops.segment_reduce(X, ptr(0, 3), "prod"), ShapeError, "one of sum, mean, min, max"),
        (lambda: ops.segment_reduce(X, ptr(0, 3).float(), "sum"), DtypeError, "int32 or int64"),
        (lambda: ops.segment_reduce(X.long(), ptr(0, 3), "sum"), DtypeError, "float32, float64 or bfloat16"),
        (lambda: ops.segment_reduce(X.half(), ptr(0, 3), "sum"), DtypeError, r"x?\.float\(\)"),
        (lambda: ops.segment_reduce(torch.tensor(1.0), ptr(0), "sum"), ShapeError, "at least one dimension"),
        (lambda: ops.segment_reduce(X, torch.zeros(0, dtype=torch.long), "sum"), ShapeError, "at least one boundary"),
        (lambda: ops.segment_reduce(X, ptr(0, 3)[None], "sum"), ShapeError, "1 dimension"),
        (lambda: ops.segment_softmax(X, ptr(0, 4)), IndexRangeError, "ends at 4"),
        (lambda: ops.scatter(X, INDEX, 1), IndexRangeError, r"index\[1\] = 1"),
        (lambda: ops.scatter(X, INDEX - 1, 5), IndexRangeError, r"index\[0\] = -1"),
        (lambda: ops.scatter(X, INDEX[:2], 5), ShapeError, "one row per index"),
        (lambda: ops.scatter(X, INDEX, -1), ShapeError, "must not be negative"),
        (lambda: ops.scatter([1.0], INDEX, 1), DtypeError, r"torch\.as_tensor"),  # type: ignore[arg-type]
        (lambda: ops.sort_index(INDEX, 1), IndexRangeError, "dim_size = 1"),
        (lambda: ops.spmm(GRAPH, X[:2]), ShapeError, "num_src = 3"),
        (lambda: ops.spmm(GRAPH, X, torch.ones(2)), ShapeError, "num_edges = 3"),
        (lambda: ops.spmm(GRAPH, X, torch.ones(3).double()), DtypeError, "one dtype"),
        (lambda: ops.spmm(GRAPH, X, torch.ones(3, 4)), ShapeError, r"\[E, H\] with x"),
        (lambda: ops.spmm(GRAPH, X[..., None], torch.ones(3, 2)), ShapeError, r"\[E, H\] with x"),
        (lambda: ops.spmm(GRAPH, X.to("meta")), ShapeError, "one device"),
        (lambda: ops.sddmm(GRAPH, X, X[:, :2]), ShapeError, "equal trailing sizes"),
        (lambda: ops.sddmm(GRAPH, X[:, 0], X[:, 0]), ShapeError, r"\[N, F\]"),
        (lambda: ops.edge_softmax(GRAPH, X[:2, 0]), ShapeError, "num_edges = 3"),
        (lambda: ops.attend(GRAPH, X, X, X), ShapeError, "head by head"),
        (lambda: ops.attend(GRAPH, ROWS, ROWS[:2], ROWS), ShapeError, "num_src = 3"),
        (lambda: ops.attend(GRAPH, ROWS, ROWS[..., :1], ROWS), ShapeError, r"one shape, \[H, D\]"),
        (lambda: ops.attend(GRAPH, ROWS[:, :1], ROWS[:, :1], ROWS), ShapeError, "with one H"),
        (lambda: ops.attend(GRAPH, ROWS, ROWS, ROWS, bias=X[:2]), ShapeError, "num_edges = 3"),
        (lambda: ops.attend(GRAPH, ROWS, ROWS, ROWS, bias=X), ShapeError, "H = 2"),
        (lambda: ops.attend(GRAPH, ROWS, ROWS.double(), ROWS), DtypeError, "one dtype"),
        (lambda: ops.gat(GRAPH, ROWS, ROWS, ROWS), ShapeError, "one number per node and head"),
        (lambda: ops.gat(GRAPH, X, X, ROWS), ShapeError, "with one H"),
        (lambda: ops.gatv2(GRAPH, ROWS, ROWS, X), ShapeError, r"\[H, F\]"),
        (lambda: ops.spgemm(GRAPH, X), DtypeError, "b must be a gnnkit.Graph, got Tensor"),  # type: ignore[call-overload]
        (lambda: ops.spgemm(GRAPH, SMALL), ShapeError, "a.num_src = 3 and b.num_dst = 2"),
        (lambda: ops.spgemm(GRAPH, GRAPH, torch.ones(2)), ShapeError, "num_edges = 3"),
        (lambda: ops.spgemm(GRAPH, GRAPH, None, torch.ones(3, 1)), ShapeError, r"one number per edge, \[E\]"),
        (lambda: ops.spgemm(GRAPH, GRAPH, torch.ones(3), torch.ones(3).double()), DtypeError, "one dtype"),
        (lambda: ops.spgemm(GRAPH, GRAPH, INDEX), DtypeError, "float32, float64 or bfloat16"),
        (lambda: ops.spgemm(GRAPH, GRAPH, torch.ones(3).to("meta")), ShapeError, "one device"),
        (lambda: ops.spgemm(GRAPH, SHORT), DtypeError, "one dtype"),
        (lambda: ops.masked_spgemm(X, GRAPH, GRAPH), DtypeError, "mask must be"),  # type: ignore[arg-type]
        (lambda: ops.masked_spgemm(SMALL, GRAPH, GRAPH), ShapeError, "a.num_dst = 3"),
        (lambda: ops.masked_spgemm(SHORT, GRAPH, GRAPH), DtypeError, "one dtype"),
        (lambda: ops.masked_spgemm(GRAPH, GRAPH, GRAPH, torch.ones(4)), ShapeError, "num_edges = 3"),
        (lambda: ops.k_hop(GRAPH, 0), ConfigError, "at least 1, got 0"),
        (lambda: ops.k_hop(BIPARTITE, 1), ShapeError, "no single number of nodes"),
        (lambda: ops.k_hop(INDEX, 1), DtypeError, "graph must be a gnnkit.Graph"),  # type: ignore[arg-type]
        (lambda: ops.gather(GRAPH, X, "up"), ShapeError, '"src" or "dst"'),  # type: ignore[arg-type]
        (lambda: ops.gather(GRAPH, X[:1], "dst"), ShapeError, "num_dst = 3"),
        (lambda: ops.aggregate(GRAPH, X[:1]), ShapeError, "num_edges = 3"),
        (lambda: ops.aggregate(GRAPH, X, "median"), ShapeError, "one of"),
        (lambda: ops.segment_matmul(X, ptr(0, 2), torch.ones(1, 4, 2)), IndexRangeError, "ends at 2"),
        (lambda: ops.segment_matmul(X, ptr(0, 2, 1, 3), torch.ones(3, 4, 2)), IndexRangeError, r"ptr\[2\] = 1"),
        (lambda: ops.segment_matmul(X, ptr(0, 3), torch.ones(2, 4, 2)), ShapeError, "than weight has matrices, 3"),
        (lambda: ops.segment_matmul(X, ptr(0, 3), torch.ones(1, 3, 2)), ShapeError, r"with one K, got \(3, 4\)"),
        (lambda: ops.segment_matmul(X, ptr(0, 3), torch.ones(4, 2)), ShapeError, r"\[R, K, N\]"),
        (lambda: ops.segment_matmul(X[0], ptr(0, 3), torch.ones(1, 4, 2)), ShapeError, r"\[E, K\]"),
        (lambda: ops.segment_matmul(X, ptr(0, 3), torch.ones(1, 4, 2).double()), DtypeError, "one dtype"),
        (lambda: ops.segment_matmul(X, ptr(0, 3).float(), torch.ones(1, 4, 2)), DtypeError, "int32 or int64"),
        (lambda: ops.segment_matmul(X, ptr(0, 3), torch.ones(1, 4, 2).to("meta")), ShapeError, "one device"),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_compiled_calls_do_not_read_out_of_bounds():
    """Python cannot read values while tracing: then the kernels refuse."""
    compiled = torch.compile(lambda x, p: ops.segment_reduce(x, p, "sum"), backend="aot_eager", fullgraph=True)
    with pytest.raises(RuntimeError):
        compiled(X, ptr(0, 99))
    compiled = torch.compile(lambda x, i: ops.scatter(x, i, 3), backend="aot_eager", fullgraph=True)
    with pytest.raises(RuntimeError):
        compiled(X, torch.tensor([0, 1, 77]))


def test_softmax_of_infinities_is_no_nan():
    src = torch.tensor([[-torch.inf], [-torch.inf], [0.0], [-torch.inf]])
    assert ops.segment_softmax(src, ptr(0, 2, 4)).flatten().tolist() == [0.0, 0.0, 1.0, 0.0]
    shifted = torch.randn(6, 2)
    torch.testing.assert_close(ops.segment_softmax(shifted + 1e4, ptr(0, 6)).sum(0), torch.ones(2))


def test_attention_masks_shifts_and_leaves_empty_rows_at_zero():
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 0], [0, 0, 0, 1]]), num_src=3, num_dst=3)
    v = torch.randn(3, 1, 2)
    inf = torch.inf
    for slope in (0.2, 0.0):
        bias = torch.tensor([0.0, -inf, 0.0, -inf], requires_grad=True)
        zeros = torch.zeros(3, 1, requires_grad=True)
        out = ops.gat(graph, zeros, zeros, v, negative_slope=slope, bias=bias)
        torch.testing.assert_close(out, torch.stack([(v[0] + v[2]) / 2, v[0] * 0, v[0] * 0]))
        for grad in torch.autograd.grad(out.square().sum(), (zeros, bias)):
            assert bool(grad.isfinite().all())
    q = torch.randn(3, 1, 4)
    shifted = [ops.attend(graph, q, q, v, bias=torch.full((4,), shift)) for shift in (0.0, 1e3)]
    torch.testing.assert_close(shifted[0], shifted[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("reduce", ["min", "max"])
def test_extremum_ties_and_nan(reduce):
    x = torch.tensor([1.0, 1.0, float("nan"), 3.0], requires_grad=True)
    out = ops.segment_reduce(x, ptr(0, 2, 4), reduce)
    assert out[0] == 1
    assert out[1].isnan()
    assert torch.autograd.grad(out.sum(), x)[0].tolist() == [1, 0, 1, 0]
