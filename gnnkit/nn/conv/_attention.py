"""What the attention layers share: self-loops, the way that needs the weights of the edges, and dropout on them."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import dropout, leaky_relu, linear

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import values_readable


class Looped(NamedTuple):
    """A graph to which one self-loop per node has been appended, in the order of the nodes."""

    graph: Graph
    is_loop: Tensor | None
    """Which original edges are self-loops, ``[E]``: masked, since the appended ones replace them. None: none is."""
    num_loops: int


def with_self_loops(graph: Graph) -> Looped:
    """Appends self-loops, for as many nodes as are sources and destinations both; computed once per graph."""
    return graph.cached("attention_loops", lambda: _with_self_loops(graph))


def _with_self_loops(graph: Graph) -> Looped:
    src, dst = graph.edge_index
    edge_index = torch.cat([graph.edge_index, _loops(graph)], dim=1)
    num_loops = edge_index.size(1) - graph.num_edges
    looped = Graph.from_edge_index(edge_index, num_src=graph.num_src, num_dst=graph.num_dst)
    is_loop = src == dst
    if values_readable(src) and not bool(is_loop.any()):
        return Looped(looped, None, num_loops)
    return Looped(looped, is_loop, num_loops)


def _loops(graph: Graph) -> Tensor:
    """One self-loop for each node that is a source and a destination, ``[2, N]``."""
    count = min(graph.num_src, graph.num_dst)
    return torch.arange(count, dtype=graph.col.dtype, device=graph.device).expand(2, -1)


def loops_without_features(graph: Graph, dtype: torch.dtype) -> tuple[Graph, Tensor | None]:
    """The graph with exactly one self-loop per node, for layers that look at no edge by its number.

    Returns:
        The graph, and a mask of its edges as :func:`loop_mask` makes it: None where the original loops could be taken
        out, which they cannot while tracing, since no size may depend on the data.
    """
    if not values_readable(graph.col):
        looped = with_self_loops(graph)
        return looped.graph, loop_mask(looped, dtype)

    def replaced() -> Graph:
        src, dst = graph.edge_index
        edge_index = torch.cat([graph.edge_index[:, src != dst], _loops(graph)], dim=1)
        return Graph.from_edge_index(edge_index, num_src=graph.num_src, num_dst=graph.num_dst)

    return graph.cached("attention_replaced_loops", replaced), None


def head_products(rows: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
    """``<rows[n, h], vector[h]>``, ``[N, H]``, for each vector: one matrix product with them on block diagonals."""
    heads, width = vectors[0].shape
    eye = torch.eye(heads, dtype=rows.dtype, device=rows.device).unsqueeze(1)
    diagonals = [(vector.unsqueeze(-1) * eye).reshape(heads * width, heads) for vector in vectors]
    return (rows.reshape(-1, heads * width) @ torch.cat(diagonals, dim=1)).split(heads, dim=1)


def turned_map(weight: Tensor, vectors: Tensor) -> Tensor:
    """``W[h]' vectors[h]``, ``[H, D]``, of a map's weight ``[H F, D]`` and ``[H, F]``."""
    return (per_head(weight, vectors.size(0)) * vectors.unsqueeze(-1)).sum(1)


def mapped_products(rows: Tensor, weight: Tensor, vectors: Tensor, dtype: torch.dtype) -> Tensor:
    """``<(W rows[n])[h], vectors[h]>``, ``[N, H]``, by ``<W x, a> = <x, W' a>``: without the mapped rows."""
    return linear(rows.to(dtype), turned_map(weight, vectors).to(dtype))


def loop_mask(looped: Looped, dtype: torch.dtype) -> Tensor | None:
    """Minus infinity at the original self-loops, zero elsewhere, ``[E + N]``; None where there are none."""
    if looped.is_loop is None:
        return None
    zeros = looped.is_loop.new_zeros(looped.is_loop.size(0) + looped.num_loops, dtype=dtype)
    return zeros.masked_fill(torch.cat([looped.is_loop, looped.is_loop.new_zeros(looped.num_loops)]), -torch.inf)


def extend_edges(graph: Graph, looped: Looped, value: Tensor, fill: Tensor | str) -> Tensor:
    """Rows of the edges followed by those of the loops, ``[E + N, H]``.

    Args:
        graph: The graph without added loops.
        looped: The graph with them.
        value: Rows of the edges, ``[E, H]``.
        fill: The row of every loop, ``[H]``; or ``"mean"`` or ``"add"`` of the rows that arrive at the node.
    """
    if isinstance(fill, Tensor):
        return torch.cat([value, fill.expand(looped.num_loops, -1)])
    kept = value if looped.is_loop is None else value.masked_fill(looped.is_loop.unsqueeze(-1), 0.0)
    total = ops.aggregate(graph, kept)
    if fill == "mean":
        count = graph.in_degree()
        if looped.is_loop is not None:
            count = ops.aggregate(graph, (~looped.is_loop).to(torch.float32))
        total = total / count.clamp(min=1).to(total.dtype).unsqueeze(-1)
    return torch.cat([value, total[: looped.num_loops]])


def check_fill_value(fill_value: float | str) -> None:
    """Raises ConfigError where self-loops cannot be given such features."""
    if isinstance(fill_value, str) and fill_value not in ("mean", "add"):
        raise ConfigError(f"fill_value must be a number, 'mean' or 'add', got {fill_value!r}")


def check_probability(dropout: float) -> None:
    """Raises ConfigError where ``dropout`` is no probability."""
    if not 0.0 <= dropout <= 1.0:
        raise ConfigError(f"dropout must be a probability in [0, 1], got {dropout}")


def edges_as_sources(graph: Graph) -> Graph:
    """The graph in which every edge is a source of its own that points to its destination."""

    def compute() -> Graph:
        edge = torch.arange(graph.num_edges, dtype=graph.col.dtype, device=graph.device)
        return Graph(graph.rowptr, edge if graph.edge_id is None else graph.edge_id, graph.edge_id, graph.num_edges)

    return graph.cached("edges_as_sources", compute)


def edge_products(graph: Graph, rows: Tensor, edge_attr: Tensor) -> Tensor:
    """``<rows[dst, h], edge_attr[e]>``, ``[E, H]``, with rows ``[num_dst, H, D]``: head by head, no ``[E, H, D]``."""
    incidence = edges_as_sources(graph)
    return torch.stack([ops.sddmm(incidence, rows[:, head], edge_attr) for head in range(rows.size(1))], dim=1)


def weighted_edges(graph: Graph, weight: Tensor, edge_attr: Tensor) -> Tensor:
    """Sums of ``weight[e, h] edge_attr[e]`` at the destinations, ``[num_dst, H, D]``: head by head."""
    incidence = edges_as_sources(graph)
    return torch.stack(
        [ops.spmm(incidence, edge_attr, weight[:, head].contiguous()) for head in range(weight.size(1))], dim=1
    )


def weights(graph: Graph, score: Tensor, p: float) -> Tensor:
    """Softmax of the scores, ``[E, H]``, entries dropped with probability ``p``."""
    weight = ops.edge_softmax(graph, score)
    return dropout(weight, p) if p > 0 else weight


def additive(
    graph: Graph,
    a_dst: Tensor,
    a_src: Tensor,
    value: Tensor,
    *,
    negative_slope: float,
    dropout: float,
    bias: Tensor | None = None,
) -> Tensor:
    """:func:`gnnkit.ops.gat`, with weights dropped with probability ``dropout``, which are stored then.

    Where ``bias`` is minus infinity, an edge is masked.
    """
    if dropout == 0.0:
        return ops.gat(graph, a_dst, a_src, value, negative_slope=negative_slope, bias=bias)
    score = ops.gather(graph, a_dst, "dst") + ops.gather(graph, a_src, "src")
    if bias is None:
        score = leaky_relu(score, negative_slope)
    else:
        score = score + (bias if bias.dim() == 2 else bias.unsqueeze(-1))
        masked = score == -torch.inf
        score = leaky_relu(score.masked_fill(masked, 0.0), negative_slope).masked_fill(masked, -torch.inf)
    return ops.spmm(graph, value, weights(graph, score, dropout))


def join_heads(out: Tensor, concat: bool) -> Tensor:
    """``[N, H, F]`` to ``[N, H F]``, or to the mean over heads, ``[N, F]``."""
    return out.flatten(1) if concat else out.mean(dim=1)


def per_head(weight: Tensor, heads: int) -> Tensor:
    """A map's weight, ``[H F, D]``, as ``[H, F, D]``."""
    return weight.reshape(heads, -1, weight.size(1))


def destination(x_dst: Tensor | None, layer: str) -> Tensor:
    """``x_dst``.

    Raises:
        ShapeError: If it is None.
    """
    if x_dst is None:
        raise ShapeError(f"{layer} needs features of the destinations, got (x_src, None)")
    return x_dst


__all__ = [
    "Looped",
    "additive",
    "check_fill_value",
    "check_probability",
    "destination",
    "edge_products",
    "edges_as_sources",
    "extend_edges",
    "join_heads",
    "loop_mask",
    "mapped_products",
    "per_head",
    "turned_map",
    "weighted_edges",
    "weights",
    "with_self_loops",
]
