"""Results in float64 by SciPy, NumPy and plain PyTorch: slow, in blocks, and without a line of gnnkit."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from benchmarks.ops.workload import Data

_BLOCK = 1 << 22  # elements of a temporary


def blocks(num_rows: int, width: int) -> Iterator[slice]:
    """Slices of rows, small enough to be copied."""
    step = max(_BLOCK // max(width, 1), 1)
    return (slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step))


def multiply(src: Tensor, dst: Tensor, num_dst: int, weight: Tensor | None, x: Tensor) -> Tensor:
    """Weighted sums of the rows of ``x`` at the destinations, with a weight per edge, ``[num_dst, F]``."""
    values = np.ones(len(src)) if weight is None else weight.numpy()
    matrix = csr_matrix((values, (dst.numpy(), src.numpy())), shape=(num_dst, x.size(0)))
    return torch.from_numpy(matrix @ x.numpy())


def aggregate(data: Data, weight: Tensor | None, x: Tensor, reduce: str = "sum") -> Tensor:
    """Weighted sum, mean or maximum of neighbours, ``[N, F]``."""
    topology = data.topology
    if reduce == "max":
        return maximum(topology.rowptr, x, topology.sorted_edge_index[0])
    out = multiply(topology.src, topology.dst, topology.num_nodes, weight, x)
    return out / degree(data).unsqueeze(1) if reduce == "mean" else out


def degree(data: Data) -> Tensor:
    """Number of in-edges of each node, at least one, ``[N]``."""
    return torch.bincount(data.topology.dst, minlength=data.topology.num_nodes).clamp(min=1).double()


def reduce_rows(data: Data, src: Tensor, rows: Tensor, reduce: str) -> Tensor:
    """Rows of edges reduced by destination: edge ``rows[p]`` lies at CSR position ``p``."""
    rowptr = data.topology.rowptr
    if reduce == "max":
        return maximum(rowptr, src, rows)
    number = len(rows)
    matrix = csr_matrix((np.ones(number), rows.numpy(), rowptr.numpy()), shape=(len(rowptr) - 1, number))
    # Few columns at a time: the values of a wide workload do not fit twice, in twice the width.
    parts = [torch.from_numpy(matrix @ part.double().numpy()) for part in src.split(16, dim=1)]
    out = torch.cat(parts, dim=1)
    return out / degree(data).unsqueeze(1) if reduce == "mean" else out


def maximum(rowptr: Tensor, x: Tensor, rows: Tensor) -> Tensor:
    """Largest value of each column among ``x[rows]`` of every segment; 0 where it is empty."""
    full = rowptr.diff() > 0
    starts = rowptr[:-1][full].numpy()
    out = torch.zeros(len(rowptr) - 1, x.size(1), dtype=torch.float64)
    for start in range(0, x.size(1), 16):
        columns = slice(start, start + 16)
        out[full, columns] = torch.from_numpy(np.maximum.reduceat(x[rows, columns].double().numpy(), starts))
    return out


def edge_products(src: Tensor, dst: Tensor, a_dst: Tensor, b_src: Tensor) -> Tensor:
    """Dot products over the last dimension of the two ends of each edge."""
    width = a_dst[0].numel()
    return torch.cat(
        [(a_dst[dst[part]].double() * b_src[src[part]].double()).sum(-1) for part in blocks(len(src), width)]
    )


def softmax(dst: Tensor, num_dst: int, score: Tensor) -> Tensor:
    """Softmax over the edges of each destination, ``[E, H]``."""
    power = (score.double() - score.max()).exp()
    total = torch.zeros(num_dst, score.size(1), dtype=torch.float64).index_add_(0, dst, power)
    return power / total[dst]


def attention(src: Tensor, dst: Tensor, score: Tensor, v: Tensor) -> Tensor:
    """Values ``[N, H, F]`` weighed by the softmax of ``score``, ``[E, H]``."""
    weight = softmax(dst, v.size(0), score)
    heads = [
        multiply(src, dst, v.size(0), weight[:, head], v[:, head].double().contiguous()) for head in range(v.size(1))
    ]
    return torch.stack(heads, dim=1)


def with_loops(data: Data) -> tuple[Tensor, Tensor]:
    """Sources and destinations with exactly one self-loop per node."""
    src, dst = data.topology.edge_index
    kept = src != dst
    nodes = torch.arange(data.topology.num_nodes)
    return torch.cat([src[kept], nodes]), torch.cat([dst[kept], nodes])


def leaky(value: Tensor, slope: float = 0.2) -> Tensor:
    """The rectifier with a slope below zero."""
    return torch.where(value > 0, value, slope * value)
