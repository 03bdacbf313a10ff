"""The pairs of nodes of each graph of a batch, side by side without padding."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit.errors import DataError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_same_device, check_segments
from gnnkit.ops.segment import segment_of_row


class NodePairs(NamedTuple):
    """Pairs ``(i, j)`` of nodes of one graph each, as rows: those of one column ``j`` together, ``i`` ascending.

    Either all pairs of a batch (:meth:`of`), or those of some consecutive columns. ``P`` pairs, ``C`` columns, of
    ``G`` graphs with ``N`` nodes together.

    Attributes:
        pairs: Edge ``p`` leads from the column ``j`` of pair ``p`` to its node ``i``, ``C`` sources and ``N``
            destinations.
        topology: The graph once more for each column, on the pairs: ``(i', j) -> (i, j)`` for every edge ``i' -> i``.
        column_ptr: First column of each graph, and ``C`` at the end, ``[G + 1]``.
        columns: First column and the one after the last, among the nodes of the batch.
        nodes: Likewise for the nodes ``i``: all those of the graphs that have a column here.
        graphs: Likewise for these graphs.
    """

    pairs: Graph
    topology: Graph
    column_ptr: Tensor
    columns: tuple[int, int]
    nodes: tuple[int, int]
    graphs: tuple[int, int]

    @classmethod
    def of(cls, graph: Graph, ptr: Tensor) -> "NodePairs":
        """All pairs of the graphs ``ptr`` of a batch.

        Args:
            graph: The graphs side by side.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``.

        Raises:
            IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
            DataError: If an edge leaves its graph.

        Determinism: bitwise.
        Complexity: ``O(sum over graphs of n (n + m))`` time and memory for graphs of ``n`` nodes and ``m`` edges. Reads
        numbers from the device.
        """
        return PairLayout(graph, ptr).pairs(0, graph.num_nodes)


class PairLayout:
    """Where the pairs of each graph of a batch lie; gives them out by columns.

    Args:
        graph: The graphs side by side.
        ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``.

    Raises:
        IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
        DataError: If an edge leaves its graph.
    """

    def __init__(self, graph: Graph, ptr: Tensor) -> None:
        check_segments(ptr, graph.num_nodes)
        check_same_device(ptr=ptr, graph=graph.col)
        self.graph = graph
        self.ptr = ptr.long()
        self.graph_of_node = segment_of_row(self.ptr, graph.num_nodes)
        _check_edges(graph, self.graph_of_node)
        # Counts that sizes of tensors follow from, read from the device once.
        edge_ptr = graph.rowptr.index_select(0, self.ptr).long()
        self._host_ptr, self._host_edge_ptr = torch.stack([self.ptr, edge_ptr]).cpu()

    def blocks(self, column_block: int | None) -> Iterator[tuple[int, int]]:
        """Ranges of columns, each of at most as many pairs as ``column_block`` columns of the largest graph have."""
        num_nodes = self.graph.num_nodes
        if column_block is None or num_nodes == 0:
            yield 0, num_nodes
            return
        sizes = self._host_ptr.diff()
        ends = sizes.repeat_interleave(sizes).cumsum(0)
        limit = column_block * int(sizes.max())
        begin = before = 0
        while begin < num_nodes:
            end = int(torch.searchsorted(ends, before + limit, right=True))
            yield begin, end
            begin, before = end, int(ends[end - 1])

    def node_range(self, begin: int, end: int) -> tuple[int, int]:
        """First node, and the one after the last, of the graphs that have one of the columns ``begin:end``."""
        first, last = self._graph_range(begin, end)
        return int(self._host_ptr[first]), int(self._host_ptr[last])

    def _graph_range(self, begin: int, end: int) -> tuple[int, int]:
        if end - begin == self.graph.num_nodes:
            return 0, self._host_ptr.size(0) - 1
        first = torch.searchsorted(self._host_ptr, begin, right=True) - 1
        return int(first), int(torch.searchsorted(self._host_ptr, end))

    def pairs(self, begin: int, end: int) -> NodePairs:
        """The pairs of columns ``begin:end``."""
        first, last = self._graph_range(begin, end)
        num_columns = self._host_ptr[first : last + 1].clamp(begin, end).diff()
        num_pairs = int(num_columns @ self._host_ptr[first : last + 1].diff())
        num_edges = int(num_columns @ self._host_edge_ptr[first : last + 1].diff())

        size, of_column = self.ptr.diff(), self.graph_of_node[begin:end]
        row_ptr = _boundaries(size[of_column])
        column = torch.repeat_interleave(size[of_column], output_size=num_pairs)
        # What to add to a node to have its row in a column.
        offset = row_ptr[:-1] - self.ptr[of_column]
        node = torch.arange(num_pairs, device=column.device) - offset[column]

        def copies(graph: Graph) -> Graph:
            return _copies(graph, graph.rowptr[self.ptr].long(), of_column, offset, node, num_edges)

        topology = copies(self.graph)
        if torch.is_grad_enabled():
            topology.cached("transpose", lambda: copies(self.graph.transpose()))
        low, high = self.node_range(begin, end)
        pairs = Graph(row_ptr, node - low, None, high - low).transpose()
        column_ptr = self.ptr[first : last + 1].clamp(begin, end) - begin
        return NodePairs(pairs, topology, column_ptr, (begin, end), (low, high), (first, last))


def _copies(graph: Graph, edge_ptr: Tensor, of_column: Tensor, offset: Tensor, node: Tensor, num_edges: int) -> Graph:
    """The part of ``graph`` that is the graph of a column, once per column."""
    count = edge_ptr.diff()[of_column]
    column = torch.repeat_interleave(count, output_size=num_edges)
    position = torch.arange(num_edges, device=column.device) + (edge_ptr[of_column] - _boundaries(count)[:-1])[column]
    rowptr = _boundaries(graph.rowptr.diff().long()[node])
    return Graph(rowptr, graph.col[position].long() + offset[column], None, node.size(0))


def _boundaries(count: Tensor) -> Tensor:
    return torch.cat([count.new_zeros(1), count.cumsum(0)])


def _check_edges(graph: Graph, graph_of_node: Tensor) -> None:
    source, target = graph_of_node[graph.col.long()], graph_of_node[graph.dst_of_position().long()]
    crosses = source != target
    if bool(crosses.any()):
        position = int(crosses.nonzero()[0])
        raise DataError(
            f"an edge leads from graph {int(source[position])} of the batch to graph {int(target[position])}; check "
            "ptr, which must hold the first node of each graph"
        )
