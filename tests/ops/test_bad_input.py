import pytest
import torch

from gnnkit import Graph, ops
from gnnkit.errors import ConfigError, DeviceError, DtypeError, IndexRangeError, ShapeError
from tests.ops.kernels import needs_checking_kernels

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
        (lambda: ops.gatv2(GRAPH, ROWS, X[:, 0], X), ShapeError, "head by head"),
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
        (lambda: ops.induced_subgraphs(GRAPH, ptr(0, 3), ptr(0, 2)), IndexRangeError, r"members\[1\] = 3"),
        (lambda: ops.induced_subgraphs(GRAPH, ptr(0, 1), ptr(0, 3)), IndexRangeError, "ends at 3"),
        (lambda: ops.induced_subgraphs(GRAPH, ptr(0, 1, 1), ptr(0, 1, 3)), IndexRangeError, "set 1 has node 1 again"),
        (lambda: ops.induced_subgraphs(GRAPH, X[0], ptr(0, 2)), DtypeError, "members must be int32 or int64"),
        (lambda: ops.induced_subgraphs(BIPARTITE, ptr(0), ptr(0, 1)), ShapeError, "no single number of nodes"),
        (lambda: ops.induced_subgraphs(INDEX, ptr(0), ptr(0, 1)), DtypeError, "must be a gnnkit.Graph"),  # type: ignore[arg-type]
        (lambda: ops.induced_subgraphs(GRAPH, ptr(0).to("meta"), ptr(0, 1)), DeviceError, "one device"),
        (lambda: ops.gather(GRAPH, X, "up"), ShapeError, "end must be one of src, dst"),  # type: ignore[arg-type]
        (lambda: ops.gather(GRAPH, X[:1], "dst"), ShapeError, "num_dst = 3"),
        (lambda: ops.aggregate(GRAPH, X[:1]), ShapeError, "num_edges = 3"),
        (lambda: ops.aggregate(GRAPH.edge_index, X), DtypeError, r"graph must be a gnnkit\.Graph, got Tensor"),  # type: ignore[arg-type]
        (lambda: ops.spmm(GRAPH, X, [1.0, 2.0, 3.0]), DtypeError, r"weight must be a torch\.Tensor"),  # type: ignore[arg-type]
        (lambda: ops.spmm(GRAPH, X.to_sparse()), DtypeError, "x must be a dense tensor"),
        (lambda: ops.spmm(GRAPH, X, reduce=["sum"]), ShapeError, "one of sum"),  # type: ignore[arg-type]
        (lambda: ops.scatter(X, INDEX, 2.0), ShapeError, "dim_size must be an integer"),  # type: ignore[arg-type]
        (lambda: ops.scatter(X, INDEX, 2**63), ShapeError, "fit in 64 bits"),
        (lambda: ops.scatter(X, INDEX.int() - 1, 2**40), IndexRangeError, r"index\[0\] = -1"),
        (lambda: ops.attend(GRAPH, ROWS, ROWS, ROWS, scale="1"), ConfigError, "scale must be a real number"),  # type: ignore[arg-type]
        (lambda: ops.k_hop(GRAPH.to("meta"), 2), DeviceError, "must hold values"),
        (lambda: ops.spgemm(GRAPH, GRAPH, sort="yes"), ConfigError, "True or False"),  # type: ignore[call-overload]
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
    """Python cannot read values while tracing: then the kernels refuse, and so do the references."""
    compiled = torch.compile(lambda x, p: ops.segment_reduce(x, p, "sum"), backend="aot_eager", fullgraph=True)
    with pytest.raises((RuntimeError, IndexRangeError)):
        compiled(X, ptr(0, 99))
    compiled = torch.compile(lambda x, i: ops.scatter(x, i, 3), backend="aot_eager", fullgraph=True)
    with pytest.raises((RuntimeError, IndexRangeError)):
        compiled(X, torch.tensor([0, 1, 77]))


TRACED = {
    "spmm": lambda graph, x: ops.spmm(graph, x),
    "spmm-max": lambda graph, x: ops.spmm(graph, x, reduce="max"),
    "sddmm": lambda graph, x: ops.sddmm(graph, x, x),
    "attend": lambda graph, x: ops.attend(graph, x[:, None], x[:, None], x[:, None]),
    "gated_aggregate": lambda graph, x: ops.gated_aggregate(graph, x, x, x)[0],
    "k_hop": lambda graph, x: ops.k_hop(graph, 2)[1],
    "induced_subgraphs": lambda graph, x: ops.induced_subgraphs(graph, torch.arange(3), ptr(0, 3))[1],
}


@needs_checking_kernels
@pytest.mark.parametrize("call", TRACED.values(), ids=TRACED)
@pytest.mark.parametrize("source", [-1, 99, 2**40])
def test_graphs_changed_after_their_checks_are_found_out(call, source):
    """Tensors of a graph can be written to, and a trace cannot read them: kernels look at them again."""
    col, rowptr = torch.tensor([1, 2, 0]), torch.tensor([0, 2, 3, 3])
    graph = Graph(rowptr, col, None, num_src=3)
    call(graph, X)
    col[1] = source
    with pytest.raises((RuntimeError, IndexError)):
        call(graph, X)
    col[1], rowptr[1] = 2, 5
    with pytest.raises((RuntimeError, IndexError)):
        call(graph, X)


@needs_checking_kernels
def test_a_graph_built_in_a_trace_is_checked():
    compiled = torch.compile(
        lambda edges, x: ops.spmm(Graph.from_edge_index(edges, num_nodes=3), x), backend="aot_eager", fullgraph=True
    )
    edges = torch.tensor([[0, 1, 2], [1, 0, 0]])
    torch.testing.assert_close(compiled(edges, X + 1), ops.spmm(GRAPH, X + 1))
    with pytest.raises((RuntimeError, IndexError)):
        compiled(torch.tensor([[0, 1, 77], [1, 0, 0]]), X)


@needs_checking_kernels
def test_raw_operators_check_what_they_index_by():
    """Shapes that hold fewer elements than their first size says, and statistics of a narrower dtype."""
    raw, boundaries = torch.ops.gnnkit, ptr(0, 1, 3)
    hollow = torch.zeros(3, 0, dtype=torch.int64)
    topology = (boundaries, ptr(0, 1, 1), None)
    rows, statistic = torch.zeros(2, 2, 2), torch.zeros(2, 2, dtype=torch.bfloat16)
    turned, nobody = torch.zeros(1, 4), torch.zeros(0, dtype=torch.int64)
    for call in (
        lambda: raw.segment_sum(X, boundaries, hollow, False),
        lambda: raw.segment_softmax(X, ptr(0, 1, 2), ptr(0, 1)),
        lambda: raw.spmm(boundaries, ptr(0, 1, 1), hollow, None, None, None, torch.ones(3), None, X[:2], False),
        lambda: raw.sort_index(INDEX, 2**63 - 1),
        lambda: raw.attention_backward_dst(
            *topology, rows, rows, rows, None, None, rows, rows, statistic, statistic, "product", 1.0, False
        ),
        lambda: raw.attention_backward_dst(
            *topology, rows, rows, rows, None, None, rows, rows, turned, turned, "product", 1.0, False
        ),
        lambda: raw.segment_expand(X[:0], ptr(0), nobody, -(2**63), False),
    ):
        with pytest.raises((RuntimeError, IndexError)):
            call()


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
    # What has no edges has no gradient, not even infinity times zero.
    att = torch.full((1, 2), inf)
    lonely = Graph.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), num_src=3, num_dst=3)
    rows = v.clone().requires_grad_()
    assert torch.autograd.grad(ops.gatv2(lonely, rows, rows, att).sum(), rows)[0].abs().sum() == 0
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
