"""What the layers share: checks, and sums over both ways of the incidences with constants of the hypergraph in them."""

from collections.abc import Callable

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import DtypeError, ShapeError
from gnnkit.graph import Graph
from gnnkit.hypergraph.hypergraph import Hypergraph, check_hyperedge_weight
from gnnkit.nn._inputs import check_rows
from gnnkit.ops._checks import check_float
from gnnkit.ops.segment import wide_dtype
from gnnkit.ops.spmm import spmm_by_position

# To read and add one number of a row costs as much as this many multiplications within a matrix product.
_COST_OF_A_READ = 16

Scales = tuple[Tensor | None, Tensor | None]
"""Factors of the destinations and of the sources; None: all ones."""


def node_features(x: Tensor, hypergraph: Hypergraph, *, layer: str, width: int) -> Tensor:
    """Checks the arguments that every layer has; returns ``x``.

    Raises:
        DtypeError: If ``hypergraph`` is none, or ``x`` is not of a supported floating dtype.
        ShapeError: If ``x`` is not ``[N, width]``.
    """
    check_hypergraph(hypergraph)
    rows_of_width("x", x, hypergraph.num_nodes, "node", layer=layer, width=width)
    return x


def check_hypergraph(hypergraph: object) -> None:
    """Raises DtypeError where ``hypergraph`` is none."""
    if not isinstance(hypergraph, Hypergraph):
        raise DtypeError(
            f"hypergraph must be a gnnkit.hypergraph.Hypergraph, got {type(hypergraph).__name__}; make one with "
            "Hypergraph.from_incidence or Hypergraph.from_data"
        )


def rows_of_width(name: str, value: Tensor, rows: int, what: str, *, layer: str, width: int) -> None:
    """Raises DtypeError or ShapeError where ``value`` is not floating ``[rows, width]``."""
    check_float(name, value)
    check_rows(name, value, rows, what)
    if value.dim() != 2 or value.size(1) != width:
        raise ShapeError(f"{layer} needs {name} of shape [{rows}, {width}], got {tuple(value.shape)}")


def hyperedge_weights(weight: Tensor | None, hypergraph: Hypergraph, dtype: torch.dtype) -> Tensor | None:
    """Checks one weight per hyperedge; returns them in ``dtype``, or None where there are none.

    Raises:
        ShapeError: If they are not floating ``[M]``.
    """
    if weight is None:
        return None
    check_hyperedge_weight("hyperedge_weight", weight, hypergraph.num_hyperedges)
    return weight.to(dtype)


def inverse_power(degree: Tensor, power: float) -> Tensor:
    r""":math:`d^{-p}`, and 0 where the degree is 0, with gradient 0 there."""
    empty = degree == 0
    return torch.where(empty, 0.0, torch.where(empty, 1.0, degree).pow(-power))


def inverse_count(graph: Graph, power: float = 1.0) -> Tensor:
    r""":math:`n^{-p}` of the number ``n`` of in-edges, float64, ``[num_dst]``; 0 where there are none."""
    return inverse_power(graph.in_degree().double(), power)


def inverse_count_rows(graph: Graph, like: Tensor) -> Tensor:
    """One over the number of in-edges, computed once per graph, shaped to multiply rows as those of ``like``."""
    found = graph.cached(f"inverse_count/{like.dtype}", lambda: inverse_count(graph).to(like.dtype))
    return as_column(found, like)


def as_column(factor: Tensor, like: Tensor) -> Tensor:
    """``factor``, one per row, shaped to multiply rows as those of ``like``."""
    return factor.reshape(-1, *(1,) * (like.dim() - 1))


def scaled_spmm(graph: Graph, x: Tensor, name: str, scales: Callable[[], Scales]) -> Tensor:
    r"""Sums of source rows with constant factors at both ends: :math:`y_i = a_i \sum_{e : j \to i} b_j x_j`.

    The factors are multiplied into one weight per incidence once per graph, in the order in which forward and backward
    pass read them: four bytes per incidence, where scaled rows would be written and read again.

    Args:
        graph: The topology.
        x: Source rows, ``[num_src, F]``.
        name: Of these factors, for the cache: they follow from the graph and the name.
        scales: Gives :math:`a`, ``[num_dst]``, and :math:`b`, ``[num_src]``.
    """

    def weight(turned: bool) -> Tensor:
        def compute() -> Tensor:
            dst, src = scales()
            by_row = graph
            if turned:
                by_row, dst, src = graph.transpose(), src, dst
            dtype = wide_dtype(x.dtype)
            factors = [] if dst is None else [dst.to(dtype).index_select(0, by_row.dst_of_position())]
            factors += [] if src is None else [src.to(dtype).index_select(0, by_row.col)]
            product = factors[0] if len(factors) == 1 else factors[0] * factors[1]
            return product.to(x.dtype)

        return graph.cached(f"scaled_spmm/{name}/{turned}/{x.dtype}", compute)

    return spmm_by_position(graph, x, weight(turned=False), lambda: weight(turned=True))


def mean_of_hyperedges(hypergraph: Hypergraph, sums: Tensor) -> Tensor:
    r""":math:`D^{-1} H B^{-1} Z`: the mean over the hyperedges of each node, of means, given the sums ``Z``."""
    nodes, hyperedges = hypergraph.to_nodes, hypergraph.to_hyperedges
    return scaled_spmm(nodes, sums, "mean_of_means", lambda: (inverse_count(nodes), inverse_count(hyperedges)))


def sum_of_hyperedges(hypergraph: Hypergraph, sums: Tensor) -> Tensor:
    r""":math:`H B^{-1} Z`: the sum over the hyperedges of each node, of means, given the sums ``Z``."""
    hyperedges = hypergraph.to_hyperedges
    return scaled_spmm(hypergraph.to_nodes, sums, "sum_of_means", lambda: (None, inverse_count(hyperedges)))


def convolve(
    x: Tensor,
    hypergraph: Hypergraph,
    lin: torch.nn.Linear,
    gather: Callable[[Tensor], Tensor],
    scatter: Callable[[Tensor], Tensor],
) -> Tensor:
    """``scatter(gather(lin(x)))``, where all are linear, with the map of the features put where it costs least.

    Args:
        x: ``[N, in]``.
        hypergraph: The topology.
        lin: Without bias.
        gather: From nodes to hyperedges.
        scatter: From hyperedges to nodes.
    """
    num_nodes, num_hyperedges = hypergraph.num_nodes, hypergraph.num_hyperedges
    read = _COST_OF_A_READ * hypergraph.num_incidences
    entries = lin.in_features * lin.out_features
    before = num_nodes * entries + 2 * read * lin.out_features
    between = num_hyperedges * entries + read * (lin.in_features + lin.out_features)
    after = num_nodes * entries + 2 * read * lin.in_features
    if between <= before and between <= after:
        return scatter(lin(gather(x)))
    return scatter(gather(lin(x))) if before <= after else lin(scatter(gather(x)))


def mapped_means(x: Tensor, hypergraph: Hypergraph, lin: torch.nn.Linear) -> Tensor:
    r""":math:`B^{-1} H^\top X W`, ``[M, out]``: the mean of the nodes of each hyperedge, mapped where it costs less."""
    hyperedges = hypergraph.to_hyperedges
    entries, read = lin.in_features * lin.out_features, _COST_OF_A_READ * hypergraph.num_incidences
    before = hypergraph.num_nodes * entries + read * lin.out_features
    if before < hypergraph.num_hyperedges * entries + read * lin.in_features:
        return ops.spmm(hyperedges, lin(x), reduce="mean")
    return lin(ops.spmm(hyperedges, x, reduce="mean"))


def sums_of_nodes(hypergraph: Hypergraph) -> Callable[[Tensor], Tensor]:
    r""":math:`X \mapsto H^\top X`."""
    return lambda x: ops.spmm(hypergraph.to_hyperedges, x)


def with_bias(out: Tensor, bias: Tensor | None) -> Tensor:
    """``out + bias``, or ``out``."""
    return out if bias is None else out + bias
