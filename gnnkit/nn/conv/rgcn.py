"""Relational graph convolution."""

import math

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import NodeFeatures, endpoint_features
from gnnkit.nn.conv._relations import Pairs, Relations, relations
from gnnkit.ops._checks import check_index, check_index_range

# What it costs to move one element of a row along an edge, in multiplications of a matrix product. Measured on one
# processor; a wrong value costs time, never correctness.
_MOVE = 8


class RGCNConv(torch.nn.Module):
    r"""Relational graph convolution.

    Schlichtkrull et al., "Modeling relational data with graph convolutional networks", 2018:

    .. math::
        x_i' = \Theta^\top x_i + \sum_{r = 1}^{R} W_r^\top \bigoplus_{j \in \mathcal N_r(i)} x_j + b

    where :math:`\mathcal N_r(i)` holds one entry per edge of relation ``r`` to ``i``. Weights and results are those of
    ``torch_geometric.nn.RGCNConv``.

    No row per edge is ever made. Sums and means are linear, so that the layer may transform one row per (relation,
    source) pair and then aggregate, or aggregate first and transform one row per (relation, destination) pair, which
    minima and maxima need; it takes the order that moves and multiplies less ("compact materialisation" and "linear
    operator reordering" of Wu et al., "Hector", 2024). Both give the same result, to rounding.

    Args:
        in_channels: Width of the input features, or of the sources' and of the destinations'; for nodes without
            features, the number of nodes.
        out_channels: Width of the output features.
        num_relations: Number of edge types ``R``.
        num_bases: Make each :math:`W_r` a combination ``comp[r]`` of so many matrices.
        num_blocks: Make each :math:`W_r` block-diagonal, of so many blocks.
        aggr: ``"mean"``, ``"sum"``, ``"min"`` or ``"max"`` over the edges of one relation; ``"add"`` is ``"sum"``.
        root_weight: Add :math:`\Theta^\top x_i`.
        bias: Add :math:`b`.

    Raises:
        ConfigError: If ``aggr`` is unknown, a number is not positive, both decompositions are asked for, or the blocks
            do not divide the widths.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(E F + P F F')`` time and ``O(P (F + F'))`` memory for ``P <= E`` pairs. The pairs are worked out
    once per graph and edge types, in ``O(E log E + N + R)``, and shared by all layers. Under ``torch.compile`` sizes
    may not follow from values: there the pairs are padded to ``E`` rows and worked out in every call.
    """

    edge_input = "types"

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        num_relations: int,
        *,
        num_bases: int | None = None,
        num_blocks: int | None = None,
        aggr: str = "mean",
        root_weight: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self._widths = in_channels if isinstance(in_channels, tuple) else (in_channels, in_channels)
        source, destination = self._widths
        _check_settings(source, out_channels, num_relations, num_bases, num_blocks, aggr)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_relations = num_relations
        self.num_bases = num_bases
        self.num_blocks = num_blocks
        self.aggr = "sum" if aggr == "add" else aggr
        blocks = num_blocks or 1
        matrix = (source // blocks, out_channels // blocks)
        lead = (
            (num_bases,)
            if num_bases is not None
            else (num_relations,)
            if num_blocks is None
            else (num_relations, blocks)
        )
        self.weight = torch.nn.Parameter(torch.empty(*lead, *matrix))
        self.comp = torch.nn.Parameter(torch.empty(num_relations, num_bases)) if num_bases is not None else None
        self.root = torch.nn.Parameter(torch.empty(destination, out_channels)) if root_weight else None
        self.bias = torch.nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights: Glorot uniform for each matrix, bias 0."""
        for weight in (self.weight, self.comp, self.root):
            if weight is not None:
                bound = math.sqrt(6.0 / (weight.size(-2) + weight.size(-1)))
                torch.nn.init.uniform_(weight, -bound, bound)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def forward(self, x: NodeFeatures | None, graph: Graph, edge_type: Tensor) -> Tensor:
        """Convolves ``x``.

        Args:
            x: Node features ``[N, in_channels]``, or ``(x_src, x_dst)`` of a bipartite graph, where ``x_dst`` may be
                None with ``root_weight=False``. Integers ``[N]`` stand for rows of the identity matrix, so that every
                weight is an embedding; None is all of these in order.
            graph: The topology.
            edge_type: Relation of each edge, ``[E]``, int32 or int64.

        Returns:
            ``[num_dst, out_channels]``.

        Raises:
            ShapeError: If ``x`` or ``edge_type`` does not fit the graph, or ``x_dst`` is missing.
            IndexRangeError: If a relation is not in ``[0, num_relations)``, or an integer not in ``[0, in_channels)``.
            ConfigError: If ``x`` holds no features and the weights are block-diagonal.
        """
        x_src, x_dst = self._inputs(x, graph)
        found = relations(graph, edge_type, self.num_relations, layer="RGCNConv")
        weight = self._matrices()
        out = self._convolve(x_src, found, weight) if x_src.is_floating_point() else self._look_up(x_src, found, weight)
        if self.root is not None and x_dst is not None:
            out = out + (x_dst @ self.root if x_dst.is_floating_point() else _rows(self.root, x_dst))
        return out if self.bias is None else out + self.bias

    def _convolve(self, x: Tensor, found: Relations, weight: Tensor) -> Tensor:
        sources, destinations = found.sources, found.destinations
        if self._transforms_first(found):
            rows = self._transform(ops.gather(sources.at_nodes, x, "dst"), sources, weight)
            return self._sum_over_relations(rows, found)
        rows = self._transform(ops.spmm(found.into_pairs, x, reduce=self.aggr), destinations, weight)
        return ops.aggregate(destinations.at_nodes, rows, "sum")

    def _look_up(self, x: Tensor, found: Relations, weight: Tensor) -> Tensor:
        """As :meth:`_convolve` with the rows of the identity matrix that ``x`` names."""
        sources, destinations = found.sources, found.destinations
        index = sources.relation.long() * weight.size(1) + x.long().index_select(0, sources.node)
        rows = _rows(weight.flatten(0, 1), index)
        if self.aggr in ("sum", "mean"):
            return self._sum_over_relations(rows, found)
        return ops.aggregate(destinations.at_nodes, ops.spmm(found.between_pairs(), rows, reduce=self.aggr), "sum")

    def _sum_over_relations(self, rows: Tensor, found: Relations) -> Tensor:
        """Aggregates the transformed rows of the source pairs at the destinations."""
        weight = found.mean_weights(rows.dtype) if self.aggr == "mean" else None
        return ops.spmm(found.from_pairs, rows, weight)

    def _transforms_first(self, found: Relations) -> bool:
        if self.aggr not in ("sum", "mean"):
            return False
        num_edges, width = found.from_pairs.num_edges, self._widths[0]
        product = width * self.out_channels // (self.num_blocks or 1)
        sources, destinations = found.sources.count, found.destinations.count
        first = sources * product + _MOVE * (num_edges * self.out_channels + sources * width)
        return first < destinations * product + _MOVE * (num_edges * width + destinations * self.out_channels)

    def _matrices(self) -> Tensor:
        """``[R, K, N]``, or ``[R, B, K / B, N / B]``."""
        if self.comp is None:
            return self.weight
        return (self.comp @ self.weight.flatten(1)).unflatten(1, self.weight.shape[1:])

    def _transform(self, rows: Tensor, pairs: Pairs, weight: Tensor) -> Tensor:
        """Multiplies the row of each pair by the matrix of its relation."""
        if self.num_blocks is None:
            return ops.segment_matmul(rows, pairs.ptr, weight)
        # Block by block of columns, as if each were a set of relations of its own: one call.
        blocks = rows.unflatten(1, (self.num_blocks, -1)).transpose(0, 1).flatten(0, 1)
        start = torch.arange(self.num_blocks, dtype=pairs.ptr.dtype, device=rows.device) * pairs.count
        ptr = torch.cat([pairs.ptr[:1], (start[:, None] + pairs.ptr[1:]).flatten()])
        out = ops.segment_matmul(blocks, ptr, weight.transpose(0, 1).flatten(0, 1))
        return out.unflatten(0, (self.num_blocks, pairs.count)).transpose(0, 1).flatten(1)

    def _inputs(self, x: NodeFeatures | None, graph: Graph) -> tuple[Tensor, Tensor | None]:
        if x is None:
            x = torch.arange(self._widths[0], device=graph.device)
        source = x if isinstance(x, Tensor) else x[0]
        if not isinstance(source, Tensor) or source.is_floating_point():
            found = endpoint_features(x, graph, layer="RGCNConv", widths=self._widths)
        else:
            if self.num_blocks is not None:
                raise ConfigError("block-diagonal weights need node features; give x, or leave num_blocks out")
            found = endpoint_features(x, graph, layer="RGCNConv")
            for name, index, width in zip(("x_src", "x_dst"), found, self._widths, strict=True):
                if index is not None:
                    check_index(name, index)
                    check_index_range(name, index, width, "in_channels")
        if self.root is not None and found[1] is None:
            raise ShapeError("RGCNConv needs features of the destinations, x_dst, for root_weight=True, got None")
        return found

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.in_channels}, {self.out_channels}, num_relations={self.num_relations}, "
            f"num_bases={self.num_bases}, num_blocks={self.num_blocks}, aggr={self.aggr!r}"
        )


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """``table[index]``; equal indices add their gradients in order, on every device."""
    ptr, perm = ops.sort_index(index, table.size(0))
    return ops.gather(Graph(ptr, perm, perm, index.size(0)), table, "dst")


def _check_settings(
    width: int, out_channels: int, num_relations: int, num_bases: int | None, num_blocks: int | None, aggr: str
) -> None:
    if aggr not in ("mean", "sum", "add", "min", "max"):
        raise ConfigError(f"aggr must be 'mean', 'sum', 'min' or 'max', got {aggr!r}")
    for name, value in (("num_relations", num_relations), ("num_bases", num_bases), ("num_blocks", num_blocks)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    if num_bases is not None and num_blocks is not None:
        raise ConfigError("give either num_bases or num_blocks: a weight has one decomposition")
    if num_blocks is not None and (width % num_blocks or out_channels % num_blocks):
        raise ConfigError(
            f"num_blocks must divide in_channels and out_channels, {width} and {out_channels}; got {num_blocks}"
        )
