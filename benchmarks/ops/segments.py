"""Reductions of rows by segment or index, rows sent to edges, and the sort behind them."""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric import utils as pyg_utils

from benchmarks.ops import reference
from benchmarks.ops.entry import CANCELLING_SUM, FORWARD, Call, Leaves, OpBenchmark, Peer, forward_and_backward
from benchmarks.ops.workload import Data, curve, kinds, widths
from gnnkit import ops

# Ten million rows of 64 numbers and their gradient do not fit beside anything else: the curve takes 16.
ROWS = tuple(dict.fromkeys(curve(16) + widths() + kinds(16)))


def empty_is_zero(out: Tensor, ptr: Tensor) -> Tensor:
    """What torch gives for an empty segment is minus infinity."""
    return torch.where((ptr.diff() > 0).unsqueeze(1), out, 0)


def segment_reduce(reduce: str) -> OpBenchmark:
    """Rows that are sorted by segment."""

    def ours(data: Data) -> Call:
        src, ptr = data.edge_rows("src"), data.topology.rowptr
        return Call(lambda: ops.segment_reduce(src, ptr, reduce), {"src": src})

    def by_torch(data: Data) -> Call:
        src, ptr = data.edge_rows("src"), data.topology.rowptr

        def run() -> Tensor:
            # Without unsafe=True, it compares lengths and rows; ours checks its boundaries too.
            out = torch.segment_reduce(src, reduce, offsets=ptr, axis=0)
            return empty_is_zero(out, ptr) if reduce == "max" else out

        return Call(run, {"src": src})

    def by_torch_scatter(data: Data) -> Call:
        module = importlib.import_module("torch_scatter")
        src, ptr = data.edge_rows("src"), data.topology.rowptr
        return Call(lambda: module.segment_csr(src, ptr, reduce=reduce), {"src": src})

    def expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
        return reference.reduce_rows(data, leaves["src"], torch.arange(data.topology.num_edges), reduce)

    return OpBenchmark(
        name=f"segment_reduce_{reduce}",
        title=f"`segment_reduce`, {reduce}",
        needs=("ops.segment_reduce",),
        ours=ours,
        peers=(
            Peer("torch.segment_reduce", "torch", by_torch, temporaries=1),
            Peer("torch_scatter.segment_csr", "torch_scatter", by_torch_scatter, temporaries=1),
        ),
        reference=expected,
        main=(FORWARD,),
        more=(forward_and_backward("src"),),
        workloads=ROWS,
        tolerance=CANCELLING_SUM if reduce == "sum" else OpBenchmark.tolerance,
    )


def scatter(reduce: str) -> OpBenchmark:
    """Rows in any order."""

    def bind(function: Callable[[Tensor, Tensor, int], Tensor]) -> Callable[[Data], Call]:
        def build(data: Data) -> Call:
            src, index, size = data.edge_rows("src"), data.topology.dst, data.topology.num_nodes
            return Call(lambda: function(src, index, size), {"src": src})

        return build

    def index_add(src: Tensor, index: Tensor, size: int) -> Tensor:
        out = src.new_zeros(size, src.size(1)).index_add_(0, index, src)
        if reduce == "sum":
            return out
        return out / torch.bincount(index, minlength=size).clamp(min=1).unsqueeze(1)

    def scatter_reduce(src: Tensor, index: Tensor, size: int) -> Tensor:
        out, wide = src.new_zeros(size, src.size(1)), index.unsqueeze(1).expand_as(src)
        return out.scatter_reduce_(0, wide, src, "amax", include_self=False)

    def by_torch_scatter(src: Tensor, index: Tensor, size: int) -> Tensor:
        module = importlib.import_module("torch_scatter")
        return module.scatter(src, index, dim=0, dim_size=size, reduce=reduce)

    def by_pyg(src: Tensor, index: Tensor, size: int) -> Tensor:
        return pyg_utils.scatter(src, index, 0, size, reduce)

    def expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
        return reference.reduce_rows(data, leaves["src"], data.topology.order, reduce)

    plain = "scatter_reduce_ amax" if reduce == "max" else "index_add_"
    peers = [Peer(f"torch {plain}", "torch", bind(scatter_reduce if reduce == "max" else index_add), temporaries=1)]
    if reduce != "max":  # for a maximum, PyTorch Geometric calls scatter_reduce_ itself
        peers.append(Peer("PyG utils.scatter", "torch_geometric", bind(by_pyg), temporaries=1))
    peers.append(Peer("torch_scatter.scatter", "torch_scatter", bind(by_torch_scatter), temporaries=1))
    return OpBenchmark(
        name=f"scatter_{reduce}",
        title=f"`scatter`, {reduce}",
        needs=("ops.scatter",),
        ours=bind(lambda src, index, size: ops.scatter(src, index, size, reduce)),
        peers=tuple(peers),
        reference=expected,
        main=(FORWARD,),
        more=(forward_and_backward("src"),),
        workloads=ROWS,
    )


def gather() -> OpBenchmark:
    """Rows of the sources, one copy per edge."""

    def ours(data: Data) -> Call:
        graph, x = data.topology.graph, data.node_rows("x")
        return Call(lambda: ops.gather(graph, x, "src"), {"x": x})

    def by_torch(data: Data) -> Call:
        index, x = data.topology.src, data.node_rows("x")
        return Call(lambda: x.index_select(0, index), {"x": x})

    return OpBenchmark(
        name="gather",
        title="`gather` of source rows",
        needs=("ops.gather",),
        ours=ours,
        peers=(Peer("torch index_select", "torch", by_torch, temporaries=2),),
        reference=lambda data, leaves, _: leaves["x"].double()[data.topology.src],
        main=(FORWARD,),
        more=(forward_and_backward("x"),),
        # The result itself has a row per edge, and so has its reference, in float64.
        workloads=tuple(dict.fromkeys(curve(16) + widths(values=(1, 16, 64)) + kinds(16))),
    )


def sort_index() -> OpBenchmark:
    """The counting sort that makes CSR of an edge list; widths have no meaning here."""

    def ours(data: Data) -> Call:
        index, size = data.topology.dst, data.topology.num_nodes
        return Call(lambda: ops.sort_index(index, size), result=torch.cat)

    def by_torch(data: Data) -> Call:
        index, size = data.topology.dst, data.topology.num_nodes

        def run() -> tuple[Tensor, Tensor]:
            ptr = index.new_zeros(size + 1)
            torch.cumsum(torch.bincount(index, minlength=size), 0, out=ptr[1:])
            return ptr, torch.sort(index, stable=True).indices

        return Call(run, result=torch.cat)

    def expected(data: Data, leaves: Leaves, _: Tensor | None) -> Tensor:
        positions = data.topology.dst.numpy().argsort(kind="stable")
        return torch.cat([data.topology.rowptr, torch.from_numpy(positions)]).double()

    return OpBenchmark(
        name="sort_index",
        title="`sort_index`",
        needs=("ops.sort_index",),
        ours=ours,
        peers=(Peer("torch.sort, bincount, cumsum", "torch", by_torch),),
        reference=expected,
        main=(FORWARD,),
        workloads=curve(1) + widths(values=(1,)) + kinds(1),
        detailed=(),
        # Integers: the smallest difference that can be is far above it, relative to ten million.
        tolerance=1e-9,
    )


OPS = (
    *(segment_reduce(reduce) for reduce in ("sum", "max")),
    *(scatter(reduce) for reduce in ("sum", "mean", "max")),
    gather(),
    sort_index(),
)
