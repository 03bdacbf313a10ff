"""The simple undirected graph that curvature, resistance and rewiring are defined on, made from any ``edge_index``."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_index, check_index_range, check_size, describe


@dataclass(frozen=True, eq=False)
class SimpleGraph:
    """Undirected, without self-loops and without multi-edges; on the CPU, with int64 indices.

    Attributes:
        num_nodes: ``N``.
        ends: The two ends of each edge, ``[2, M]``, ``ends[0] < ends[1]``, in lexicographic order.
        rowptr: Boundaries of the nodes in ``col``, ``[N + 1]``.
        col: Neighbours of each node in ascending order, ``[2 M]``.
        edge: The edge at each position of ``col``, ``[2 M]``.
        column_edge: The edge of each column of the ``edge_index`` that was given, ``[E]``; -1 for a self-loop.
        weight: Weight of each edge, float64 ``[M]``. None: no weights were given.
    """

    num_nodes: int
    ends: Tensor
    rowptr: Tensor
    col: Tensor
    edge: Tensor
    column_edge: Tensor
    weight: Tensor | None = None

    @classmethod
    def from_edge_index(
        cls,
        edge_index: Tensor,
        num_nodes: int,
        *,
        weight: Tensor | None = None,
        parallel: str = "sum",
        allow_self_loops: bool = False,
    ) -> "SimpleGraph":
        """Checks an ``edge_index`` that holds both directions of every edge, and merges multi-edges.

        Args:
            edge_index: ``[2, E]``, int32 or int64, on any device.
            num_nodes: Number of nodes, isolated ones included.
            weight: One number per column, ``[E]``, finite and positive, the same for both directions.
            parallel: Weight of an edge that stands in several columns of one direction: their ``"sum"`` (conductances)
                or their ``"min"`` (lengths).
            allow_self_loops: Set self-loops aside instead of raising.

        Raises:
            DataError: If a direction of an edge is missing, or is there less often than the other; if a weight is not
                finite, not positive or differs between directions; or if there is a self-loop and none are allowed.
            IndexRangeError: If an edge leaves the range of the nodes.
            ShapeError: If a tensor has the wrong shape or dtype.

        Complexity: ``O(E log E)`` time, ``O(E + N)`` memory.
        """
        num_nodes = check_size("num_nodes", num_nodes)
        check_index("edge_index", edge_index, dim=2)
        if edge_index.size(0) != 2:
            raise ShapeError(f"edge_index must have shape [2, E], got {describe(edge_index)}")
        edge_index = edge_index.detach().cpu().long()
        check_range(edge_index, num_nodes)
        source, target = edge_index
        loop = source == target
        if not allow_self_loops and bool(loop.any()):
            where = int(loop.nonzero()[0, 0])
            raise DataError(
                f"column {where} of edge_index is a self-loop at node {int(source[where])}, for which this is not "
                "defined; take self-loops out with torch_geometric.utils.remove_self_loops"
            )
        key = torch.minimum(source, target) * num_nodes + torch.maximum(source, target)
        pairs, column_edge = torch.unique(key[~loop], return_inverse=True)
        all_columns = torch.full_like(source, -1)
        all_columns[~loop] = column_edge
        ends = torch.stack([pairs // max(num_nodes, 1), pairs % max(num_nodes, 1)])
        _check_both_directions(source[~loop], target[~loop], column_edge, pairs.numel())
        merged = None
        if weight is not None:
            given = checked_weight(weight, source.numel())
            merged = _merged_weight(given[~loop], source[~loop] < target[~loop], column_edge, ends, parallel)
        return cls._with_neighbours(num_nodes, ends, all_columns, merged)

    @classmethod
    def from_ends(cls, ends: Tensor, num_nodes: int, weight: Tensor | None = None) -> "SimpleGraph":
        """From pairs ``[2, M]`` of different nodes, each edge once, in any order and direction; not checked.

        ``column_edge`` tells where each column has gone.
        """
        key = ends.amin(0) * num_nodes + ends.amax(0)
        order = key.argsort()
        place = torch.empty_like(order)
        place[order] = torch.arange(order.numel())
        ordered = torch.stack([ends.amin(0), ends.amax(0)])[:, order]
        return cls._with_neighbours(num_nodes, ordered, place, None if weight is None else weight[order])

    @classmethod
    def from_graph(cls, graph: Graph) -> "SimpleGraph":
        """The pairs of nodes that some edge joins, in whatever direction and however often, self-loops left out.

        Raises:
            ShapeError: If the graph is bipartite.
            IndexRangeError: If it has ``2^31`` nodes or more.

        Determinism: bitwise.
        Complexity: ``O(E + N)`` time and memory.
        """
        num_nodes = graph.num_nodes
        _check_num_nodes(num_nodes)
        source, target = graph.edge_index.cpu().long()
        column = (source != target).nonzero()[:, 0]
        low, high = (end(source, target)[column] for end in (torch.minimum, torch.maximum))
        order = ops.sort_index(high, num_nodes)[1]
        order = order[ops.sort_index(low[order], num_nodes)[1]]
        low, high, column = low[order], high[order], column[order]
        first = torch.ones_like(low, dtype=torch.bool)
        first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
        column_edge = torch.full_like(source, -1)
        column_edge[column] = first.cumsum(0) - 1
        return cls._with_neighbours(num_nodes, torch.stack([low[first], high[first]]), column_edge, None)

    @classmethod
    def _with_neighbours(
        cls, num_nodes: int, ends: Tensor, column_edge: Tensor, weight: Tensor | None
    ) -> "SimpleGraph":
        # Edges are in order of their lower end: of each node, the lower neighbours come first, then the higher ones.
        row, col = torch.cat([ends.flip(0), ends], dim=1)
        rowptr, order = ops.sort_index(row, num_nodes)
        edge = order % max(ends.size(1), 1)
        return cls(num_nodes, ends, rowptr, col[order], edge, column_edge, weight)

    @property
    def num_edges(self) -> int:
        """Number of undirected edges ``M``."""
        return self.ends.size(1)

    @property
    def degree(self) -> Tensor:
        """Number of neighbours of each node, int64 ``[N]``."""
        return self.rowptr.diff()

    @property
    def edge_weight(self) -> Tensor:
        """Weight of each edge, float64 ``[M]``; 1 where none were given."""
        return torch.ones(self.num_edges, dtype=torch.float64) if self.weight is None else self.weight

    @property
    def position_weight(self) -> Tensor:
        """Weight at each position of ``col``, float64 ``[2 M]``; 1 where none were given."""
        return self.edge_weight[self.edge]

    def per_column(self, value: Tensor, *, self_loop: float | None = None) -> Tensor:
        """One row per edge, ``[M, *]``, as one per column of the ``edge_index`` given.

        ``self_loop`` is what columns of self-loops get. None: there must not be any.
        """
        if self_loop is not None:
            # Number -1, of a self-loop, reads the last row.
            value = torch.cat([value, value.new_full((1, *value.shape[1:]), self_loop)])
            return value[self.column_edge]
        return value.index_select(0, self.column_edge)

    def edge_index(self) -> Tensor:
        """Both directions of every edge in order of source, then target, ``[2, 2 M]``."""
        return torch.stack([torch.arange(self.num_nodes).repeat_interleave(self.degree), self.col])

    def find(self, pairs: Tensor) -> Tensor:
        """The edge between the two nodes of each pair ``[2, P]``, in either direction; -1 where there is none."""
        if self.num_edges == 0:
            return torch.full_like(pairs[0], -1)
        key = pairs.amin(0) * self.num_nodes + pairs.amax(0)
        keys = self.ends[0] * self.num_nodes + self.ends[1]
        place = torch.searchsorted(keys, key).clamp_(max=self.num_edges - 1)
        return torch.where(keys[place] == key, place, -1)

    def components(self) -> Tensor:
        """Number of the connected component of each node, int64 ``[N]``, numbered by their smallest node."""
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import connected_components

        ones = torch.ones(self.col.numel(), dtype=torch.int8)
        shape = (self.num_nodes, self.num_nodes)
        matrix = csr_array((ones.numpy(), self.col.numpy(), self.rowptr.numpy()), shape=shape)
        return torch.from_numpy(connected_components(matrix, directed=False)[1]).long()


def check_range(edge_index: Tensor, num_nodes: int) -> None:
    """Raises IndexRangeError, naming the first offender, where an edge leaves the range of the nodes."""
    for row, name in enumerate(("edge_index[0]", "edge_index[1]")):
        check_index_range(name, edge_index[row], num_nodes, "num_nodes")
    _check_num_nodes(num_nodes)


def _check_num_nodes(num_nodes: int) -> None:
    if num_nodes >= 2**31:
        raise IndexRangeError(f"graphs of fewer than 2^31 nodes are served, got {num_nodes}")


def checked_weight(weight: Tensor, num_columns: int, *, name: str = "weight") -> Tensor:
    """Float64 ``[E]`` on the CPU; raises where there is not one finite, positive weight per column."""
    if not isinstance(weight, Tensor) or weight.numel() != num_columns or weight.dim() > 2:
        given = describe(weight) if isinstance(weight, Tensor) else type(weight).__name__
        raise ShapeError(f"{name} must hold one number per column of edge_index, [{num_columns}], got {given}")
    if weight.is_complex() or weight.dtype == torch.bool:
        raise ShapeError(f"{name} must hold real numbers, got {describe(weight)}")
    value = weight.detach().cpu().double().reshape(-1)
    bad = ~(value.isfinite() & (value > 0))
    if bool(bad.any()):
        where = int(bad.nonzero()[0, 0])
        raise DataError(
            f"{name} must be finite and positive, but column {where} has {float(value[where])}; "
            "take out the edges that carry no weight"
        )
    return value


def _check_both_directions(source: Tensor, target: Tensor, edge: Tensor, num_edges: int) -> None:
    forward = torch.bincount(edge[source < target], minlength=num_edges)
    backward = torch.bincount(edge[source > target], minlength=num_edges)
    uneven = (forward != backward)[edge]
    if bool(uneven.any()):
        where = int(uneven.nonzero()[0, 0])
        u, v = int(source[where]), int(target[where])
        raise DataError(
            f"edge_index must hold both directions of every edge equally often, but of nodes {u} and {v} this is not "
            f"so (the graph is directed); make it undirected with torch_geometric.utils.to_undirected"
        )


def _merged_weight(weight: Tensor, forward: Tensor, edge: Tensor, ends: Tensor, parallel: str) -> Tensor:
    if parallel not in ("sum", "min"):
        raise ConfigError(f"parallel must be 'sum' or 'min', got {parallel!r}")
    num_edges = ends.size(1)
    merged = []
    for columns in (forward, ~forward):
        if parallel == "sum":
            total = weight.new_zeros(num_edges).index_add_(0, edge[columns], weight[columns])
        else:
            none = weight.new_full((num_edges,), torch.inf)
            total = none.scatter_reduce_(0, edge[columns], weight[columns], "amin")
        merged.append(total)
    differs = (merged[0] - merged[1]).abs() > 1e-12 * merged[0].abs()
    if bool(differs.any()):
        where = int(differs.nonzero()[0, 0])
        u, v = (int(end) for end in ends[:, where])
        raise DataError(
            f"both directions of an edge must have one weight, but ({u}, {v}) has {float(merged[0][where])} and "
            f"({v}, {u}) has {float(merged[1][where])}; symmetrise them, for example with "
            "torch_geometric.utils.to_undirected(edge_index, weight, reduce='mean')"
        )
    return merged[0]
