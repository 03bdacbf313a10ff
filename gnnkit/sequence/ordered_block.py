"""Blocks that read the nodes of each graph in a given order."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gnnkit.errors import DtypeError, ShapeError
from gnnkit.ops._checks import describe, values_readable
from gnnkit.ops.segment import segment_of_row
from gnnkit.sequence.parts import Block


class OrderedBlock(torch.nn.Module):
    r"""A block on the nodes of each graph in a given order; every node gets back what the block says at its place.

    .. math:: y_{\pi(t)} = \mathrm{block}(x_{\pi(1)}, \dots, x_{\pi(n)})_t

    With several orders, the mean over these. Called as ``module(x, ptr, orders=...)``, as a ``global_layer`` of
    :class:`gnnkit.nn.GPSLayer` with ``global_arguments``.

    Args:
        block: A module with the interface of :class:`gnnkit.sequence.parts.Block`.

    Determinism: that of the block.
    Complexity: that of the block for each order, and ``O(N dim)``.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.dim = block.dim
        self.block = block

    def forward(self, x: Tensor, ptr: Tensor, *, orders: Sequence[Tensor]) -> Tensor:
        """Runs the block.

        Args:
            x: Node features, ``[N, dim]``.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``.
            orders: One or more orders, each as an :class:`gnnkit.sequence.parts.Ordering` returns it, int64 ``[N]``.

        Returns:
            ``[N, dim]``.

        Raises:
            ShapeError: If there is no order, or one is not a permutation of the nodes of each graph.
            DtypeError: If one is not int64.
        """
        if not orders:
            raise ShapeError("OrderedBlock needs at least one order, got none")
        out = [self._in_order(x, ptr, order) for order in orders]
        return out[0] if len(out) == 1 else torch.stack(out).mean(0)

    def _in_order(self, x: Tensor, ptr: Tensor, order: Tensor) -> Tensor:
        place = place_in_order(order, ptr, x.size(0))
        return self.block(x.index_select(0, order), ptr.long()).index_select(0, place)


def place_in_order(order: Tensor, ptr: Tensor, num_nodes: int) -> Tensor:
    """The inverse permutation: where in ``order`` each node stands, int64 ``[N]``.

    Raises:
        ShapeError: If ``order`` is not a permutation of the nodes of each graph (its values are checked on a CPU).
        DtypeError: If it is not int64.
    """
    if order.dtype != torch.int64:
        raise DtypeError(f"an order must be int64 [{num_nodes}], the nodes in reading order, got {describe(order)}")
    if order.shape != (num_nodes,):
        raise ShapeError(f"an order must have shape [{num_nodes}], one entry per node, got {describe(order)}")
    position = torch.arange(num_nodes, device=order.device)
    if not values_readable(order):
        return torch.empty_like(order).index_copy(0, order, position)
    place = torch.full_like(order, -1)
    inside = (order >= 0) & (order < num_nodes)
    if bool(inside.all()):
        place[order] = position
    graph_of_node = segment_of_row(ptr.long(), num_nodes)
    if bool((place < 0).any()) or not torch.equal(graph_of_node[order], graph_of_node):
        raise ShapeError(
            "an order must hold every node once, and those of graph g at places ptr[g] to ptr[g + 1] - 1; "
            "check the ordering's __call__"
        )
    return place
