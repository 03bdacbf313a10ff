"""Blocks that read the nodes of each graph in a given order."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gnnkit.errors import DtypeError, IndexRangeError, ShapeError
from gnnkit.ops._checks import check_count, describe, values_readable
from gnnkit.ops.segment import segment_of_row
from gnnkit.sequence._batch import BUCKETS, random_keys, regrouped
from gnnkit.sequence.parts import Block


class OrderedBlock(torch.nn.Module):
    r"""A block on the nodes of each graph in a given order; every node gets back what the block says at its place.

    .. math:: y_{\pi(t)} = \mathrm{block}(x_{\pi(1)}, \dots, x_{\pi(n)})_t

    With several orders, the mean over these. Called as ``module(x, ptr, orders=...)``, as a ``global_layer`` of
    :class:`gnnkit.nn.GPSLayer` with ``global_arguments``.

    Nodes may be in buckets: then those of one graph that share a bucket are a sequence of their own, in the order that
    is given, and the block, with one set of weights, reads each of these by itself. A bucket may be empty.

    Args:
        block: A module with the interface of :class:`gnnkit.sequence.parts.Block`.
        num_buckets: Number of buckets, at least 1.

    Raises:
        ConfigError: If ``num_buckets`` is no integer of at least 1.

    Determinism: that of the block.
    Complexity: that of the block for each order, and ``O(N dim + G num_buckets)``.
    """

    def __init__(self, block: Block, *, num_buckets: int = 1) -> None:
        super().__init__()
        self.dim = block.dim
        self.block = block
        self.num_buckets = check_count("num_buckets", num_buckets, 1)

    def forward(
        self, x: Tensor, ptr: Tensor, *, orders: Sequence[Tensor], buckets: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Runs the block.

        Args:
            x: Node features, ``[N, dim]``.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``.
            orders: One or more orders, each as an :class:`gnnkit.sequence.parts.Ordering` returns it, int64 ``[N]``.
            buckets: For each order the bucket of each node, in ``[0, num_buckets)``, int64 ``[N]``. None: all nodes of
                a graph are one sequence.

        Returns:
            ``[N, dim]``.

        Raises:
            ShapeError: If there is no order, one is not a permutation of the nodes of each graph, or buckets are not
                one ``[N]`` for each order.
            DtypeError: If one is not int64.
            IndexRangeError: If a bucket is out of range.
        """
        if not orders:
            raise ShapeError("OrderedBlock needs at least one order, got none")
        if buckets is not None and len(buckets) != len(orders):
            raise ShapeError(f"buckets must be given for each order, {len(orders)}, got {len(buckets)}")
        given = [None] * len(orders) if buckets is None else buckets
        out = [self._in_order(x, ptr, order, bucket) for order, bucket in zip(orders, given, strict=True)]
        return out[0] if len(out) == 1 else torch.stack(out).mean(0)

    def _in_order(self, x: Tensor, ptr: Tensor, order: Tensor, bucket: Tensor | None) -> Tensor:
        place, offsets = place_in_order(order, ptr, x.size(0)), ptr.long()
        if bucket is not None:
            check_buckets(bucket, x.size(0), self.num_buckets)
            group = segment_of_row(offsets, x.size(0)) * self.num_buckets + bucket
            num_groups = (ptr.size(0) - 1) * self.num_buckets
            # Whole graphs keep their places, so that the order remains one of the graphs of `ptr`.
            order = regrouped(order, group, num_groups)
            place = place_in_order(order, ptr, x.size(0))
            offsets = torch.cat([offsets[:1], torch.bincount(group, minlength=num_groups).cumsum(0)])
        return self.block(x.index_select(0, order), offsets).index_select(0, place)

    def extra_repr(self) -> str:
        """The settings."""
        return f"num_buckets={self.num_buckets}"


def drawn_buckets(num_nodes: int, num_buckets: int, seed: int, device: torch.device) -> Tensor:
    """A bucket for each node, int64 ``[N]``: each as likely as any other, for places in the batch.

    Raises:
        ConfigError: If ``seed`` is no integer.
    """
    return random_keys(num_nodes, seed, BUCKETS, device) % num_buckets


def check_buckets(bucket: Tensor, num_nodes: int, num_buckets: int) -> None:
    """Raises DtypeError, ShapeError or IndexRangeError where a bucket of each node is not given."""
    if bucket.dtype != torch.int64:
        raise DtypeError(f"buckets must be int64 [{num_nodes}], one per node, got {describe(bucket)}")
    if bucket.shape != (num_nodes,):
        raise ShapeError(f"buckets must have shape [{num_nodes}], one per node, got {describe(bucket)}")
    if num_nodes > 0 and values_readable(bucket):
        low, high = (int(bound) for bound in bucket.aminmax())
        if low < 0 or high >= num_buckets:
            raise IndexRangeError(
                f"buckets must lie in [0, {num_buckets - 1}], got {low} to {high}; num_buckets says how many there are"
            )


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
