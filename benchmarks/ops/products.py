"""Aggregation over neighbours, and products of the ends of edges."""

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from benchmarks.ops import reference
from benchmarks.ops.entry import CANCELLING_SUM, FORWARD, Call, Leaves, OpBenchmark, Pass, Peer, backward
from benchmarks.ops.workload import Data, curve, kinds, widths
from gnnkit import ops

TO_X, TO_WEIGHT = backward("x"), backward("weight")
NODES = tuple(dict.fromkeys(curve(64) + widths() + kinds(64)))


def csr(data: Data, values: Tensor) -> Tensor:
    """The adjacency matrix with destinations as rows; ``values`` in CSR order."""
    topology = data.topology
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its CSR support a beta
        return torch.sparse_csr_tensor(
            topology.rowptr, topology.sorted_edge_index[0], values, (topology.num_nodes, topology.num_nodes)
        )


def back_to_edges(data: Data) -> Callable[[Tensor], Tensor]:
    """From the order of CSR to that of the edges."""
    return lambda by_position: torch.empty_like(by_position).index_copy_(0, data.topology.order, by_position)


class SpmmCalls:
    """All ways to aggregate, for one reduction and one way to give weights."""

    def __init__(self, reduce: str, weighted: bool, in_order: bool) -> None:
        """``in_order``: edges and weights come in the order of CSR."""
        self.reduce, self.weighted, self.in_order = reduce, weighted, in_order

    def ours(self, data: Data) -> Call:
        """What is measured."""
        graph = data.topology.sorted_graph if self.in_order else data.topology.graph
        x, reduce = data.node_rows("x"), self.reduce
        if not self.weighted:
            return Call(lambda: ops.spmm(graph, x, reduce=reduce), {"x": x})
        weight, restore = self._weights(data, sort=self.in_order)
        return Call(lambda: ops.spmm(graph, x, weight, reduce), {"x": x, "weight": weight}, restore=restore)

    def torch_csr(self, data: Data) -> Call:
        """The matrix of torch itself, sorted and, where only ``x`` has gradients, made beforehand."""
        x, reduce = data.node_rows("x"), self.reduce
        named = {"mean": "mean", "max": "amax"}
        if not self.weighted:
            matrix = csr(data, torch.ones(data.topology.num_edges))
            if reduce == "sum":
                return Call(lambda: matrix @ x, {"x": x})
            return Call(lambda: torch.sparse.mm(matrix, x, named[reduce]), {"x": x})
        weight, restore = self._weights(data, sort=True)

        def run() -> Tensor:
            return csr(data, weight) @ x

        return Call(run, {"x": x, "weight": weight}, restore=restore)

    def torch_reduce(self, data: Data) -> Call:
        """Another kernel of torch for the same product: the one whose gradient to the weights stays sparse."""
        x = data.node_rows("x")
        weight, restore = self._weights(data, sort=True)
        return Call(lambda: torch.sparse.mm(csr(data, weight), x, "sum"), {"x": x, "weight": weight}, restore=restore)

    def gather_add(self, data: Data) -> Call:
        """What a framework without sparse kernels does."""
        src, dst = data.topology.sorted_edge_index if self.in_order else data.topology.edge_index
        x, size = data.node_rows("x"), data.topology.num_nodes
        weight, restore = self._weights(data, sort=self.in_order) if self.weighted else (None, {})
        count = reference.degree(data).float().unsqueeze(1)

        def run() -> Tensor:
            messages = x.index_select(0, src)
            if weight is not None:
                messages = messages * weight.unsqueeze(1)
            out = x.new_zeros(size, x.size(1))
            if self.reduce == "max":
                return out.scatter_reduce_(
                    0, dst.unsqueeze(1).expand_as(messages), messages, "amax", include_self=False
                )
            out = out.index_add_(0, dst, messages)
            return out / count if self.reduce == "mean" else out

        return Call(run, {"x": x} if weight is None else {"x": x, "weight": weight}, restore=restore)

    def torch_sparse(self, data: Data) -> Call:
        """Matrix of the package torch_sparse, its transpose cached as PyTorch Geometric does."""
        module = importlib.import_module("torch_sparse")
        topology, x = data.topology, data.node_rows("x")
        weight, restore = self._weights(data, sort=True) if self.weighted else (None, {})
        matrix = module.SparseTensor(
            rowptr=topology.rowptr,
            col=topology.sorted_edge_index[0],
            sparse_sizes=(topology.num_nodes, topology.num_nodes),
            is_sorted=True,
            trust_data=True,
        )
        matrix.fill_cache_()

        def run() -> Tensor:
            return module.matmul(matrix if weight is None else matrix.set_value(weight, layout="csr"), x, self.reduce)

        return Call(run, {"x": x} if weight is None else {"x": x, "weight": weight}, restore=restore)

    def scipy(self, data: Data) -> Call:
        """SciPy, forward only and on one thread."""
        topology, x = data.topology, data.node_rows("x")
        weight = self._weights(data, sort=True)[0] if self.weighted else torch.ones(topology.num_edges)
        arrays = weight.numpy(), topology.sorted_edge_index[0].numpy(), topology.rowptr.numpy()
        matrix = csr_matrix(arrays, shape=(topology.num_nodes, topology.num_nodes))
        return Call(lambda: torch.from_numpy(matrix @ x.numpy()), {"x": x})

    def expected(self, data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
        """The result in float64."""
        weight = leaves["weight"].double() if self.weighted else None
        return reference.aggregate(data, weight, leaves["x"].double(), self.reduce)

    def _weights(self, data: Data, sort: bool) -> tuple[Tensor, dict[str, Callable[[Tensor], Tensor]]]:
        weight = data.edge_weight()
        if not sort:
            return weight, {}
        return weight[data.topology.order], {"weight": back_to_edges(data)}


def spmm(name: str, title: str, calls: SpmmCalls, *, main: tuple[Pass, ...], more: tuple[Pass, ...]) -> OpBenchmark:
    """One line per reduction and way to give weights."""
    # The gradient of `@` to the values of a matrix is a dense matrix: 40 GB for 100,000 nodes.
    peers = [
        Peer("torch.sparse CSR", "torch", calls.torch_csr, passes=(FORWARD.name, TO_X.name)),
        Peer("gather, " + ("scatter_reduce_" if calls.reduce == "max" else "index_add_"), "torch", calls.gather_add, 3),
        Peer("torch_sparse.matmul", "torch_sparse", calls.torch_sparse),
    ]
    if calls.weighted:
        peers.append(Peer("torch.sparse.mm, reduce", "torch", calls.torch_reduce))
    if calls.reduce == "sum":
        peers.append(Peer("SciPy CSR", "scipy", calls.scipy, passes=(FORWARD.name,)))
    return OpBenchmark(
        name=name,
        title=title,
        needs=("ops.spmm",),
        ours=calls.ours,
        peers=tuple(peers),
        reference=calls.expected,
        main=main,
        more=more,
        workloads=NODES,
        tolerance=CANCELLING_SUM if calls.weighted else OpBenchmark.tolerance,
    )


def sddmm() -> OpBenchmark:
    """One number per edge."""

    def ours(data: Data) -> Call:
        graph, a, b = data.topology.graph, data.node_rows("a"), data.node_rows("b")
        return Call(lambda: ops.sddmm(graph, a, b), {"a": a, "b": b})

    def gather_multiply(data: Data) -> Call:
        a, b = data.node_rows("a"), data.node_rows("b")
        src, dst = data.topology.edge_index
        return Call(lambda: (a[dst] * b[src]).sum(-1), {"a": a, "b": b})

    def sampled(data: Data) -> Call:
        pattern, a, b = csr(data, torch.ones(data.topology.num_edges)), data.node_rows("a"), data.node_rows("b")
        unsort = back_to_edges(data)
        multiply: Any = torch.sparse.sampled_addmm  # its stub lacks what its documentation has
        return Call(
            lambda: multiply(pattern, a, b.t(), beta=0.0),
            {"a": a, "b": b},
            result=lambda out: unsort(out.values()),
        )

    def expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
        return reference.edge_products(data.topology.src, data.topology.dst, leaves["a"], leaves["b"])

    return OpBenchmark(
        name="sddmm",
        title="`sddmm`",
        needs=("ops.sddmm",),
        ours=ours,
        peers=(
            Peer("gather, multiply, sum", "torch", gather_multiply, temporaries=5),
            Peer("torch.sparse.sampled_addmm", "torch", sampled, passes=(FORWARD.name,)),
        ),
        reference=expected,
        main=(FORWARD,),
        more=(backward("a", "b"),),
        workloads=NODES,
    )


OPS = (
    spmm("spmm_sum", "`spmm`, sum, no weights", SpmmCalls("sum", False, False), main=(FORWARD,), more=(TO_X,)),
    spmm("spmm_mean", "`spmm`, mean, no weights", SpmmCalls("mean", False, False), main=(FORWARD,), more=(TO_X,)),
    spmm("spmm_max", "`spmm`, max, no weights", SpmmCalls("max", False, False), main=(FORWARD,), more=(TO_X,)),
    spmm(
        "spmm_weighted_in_order",
        "`spmm`, sum, edges and weights in the order of CSR",
        SpmmCalls("sum", True, True),
        main=(FORWARD, TO_X),
        more=(TO_WEIGHT,),
    ),
    spmm(
        "spmm_weighted",
        "`spmm`, sum, edges and weights in any order",
        SpmmCalls("sum", True, False),
        main=(FORWARD,),
        more=(TO_X, TO_WEIGHT),
    ),
    sddmm(),
)
