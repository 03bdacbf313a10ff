"""Surroundings of nodes as balls."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_count
from gnnkit.sequence._batch import graph_of_nodes
from gnnkit.sequence.tokens import Tokens


class HopTokens:
    r"""Per node the balls around it, the largest one first and the node itself last.

    .. math:: B_h(v) = \{u : d(v, u) \le h\}, \qquad h = H, H - 1, \ldots, 0

    with :math:`d(v, u)` the number of edges on a shortest path from ``v`` to ``u`` along the direction of the edges;
    for the other direction give ``graph.transpose()``. Sequences have :math:`H + 1` tokens. Beyond the largest distance
    balls are equal. ``kind`` is the radius ``h``. Members ascend.

    Args:
        num_hops: :math:`H`, at least 1.

    Attributes:
        is_random: False.

    Raises:
        ConfigError: If ``num_hops`` is below 1.

    Determinism: exact.
    Complexity: that of :func:`gnnkit.ops.k_hop`, and ``O(H P)`` time and at most ``(H + 1) P`` members, 8 bytes each,
    for :math:`P = \sum_v |B_H(v)|`; :math:`P` approaches :math:`N^2` as ``H`` approaches the diameter.
    """

    is_random = False

    def __init__(self, num_hops: int) -> None:
        self.num_hops = check_count("num_hops", num_hops, 1)

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        """The tokens of all nodes of a batch; see :class:`~gnnkit.sequence.parts.Tokenizer`.

        Raises:
            DataError, IndexRangeError, ShapeError: If ``graph`` and ``ptr`` are not those of a batch.
        """
        graph_of_nodes(graph, ptr)
        num_nodes, length = graph.num_nodes, self.num_hops + 1
        root, node, distance = _balls(graph, self.num_hops)
        radii = torch.arange(self.num_hops, -1, -1, device=graph.device)
        # The members of each token, ring by ring, so that a ball is what lies within its radius.
        ring = torch.bincount(root * length + distance, minlength=num_nodes * length).reshape(num_nodes, length)
        size = ring.cumsum(1).index_select(1, radii).reshape(-1)
        token_ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
        members = node.new_empty(int(token_ptr[-1]))
        for place, radius in enumerate(range(self.num_hops, -1, -1)):
            inside = (distance <= radius).nonzero()[:, 0]
            of = root.index_select(0, inside)
            count = size.reshape(num_nodes, length)[:, place]
            within = torch.arange(inside.size(0), device=graph.device) - (count.cumsum(0) - count).index_select(0, of)
            members[token_ptr.index_select(0, of * length + place) + within] = node.index_select(0, inside)
        offsets = torch.arange(num_nodes + 1, device=graph.device) * length
        return Tokens(members, token_ptr, offsets, "node", num_nodes, radii.repeat(num_nodes))

    def __repr__(self) -> str:
        """The settings."""
        return f"HopTokens({self.num_hops})"


def _balls(graph: Graph, num_hops: int) -> tuple[Tensor, Tensor, Tensor]:
    """Root, node and distance of all pairs within ``num_hops``, the root itself among them; by root, then node."""
    near, distance = ops.k_hop(graph.transpose(), num_hops)
    root, node = near.dst_of_position().long(), near.col.long()
    nodes = torch.arange(graph.num_nodes, device=graph.device)
    # A pair moves by one place for each root before it, and by one more behind its own.
    place = torch.arange(root.size(0), device=graph.device) + root + (node > root)
    total = root.size(0) + nodes.size(0)
    merged = [nodes.new_empty(total) for _ in range(3)]
    behind = torch.bincount(root[node < root], minlength=nodes.size(0))
    own = near.rowptr[:-1].long() + nodes + behind
    for out, pairs, roots in zip(merged, (root, node, distance), (nodes, nodes, torch.zeros_like(nodes)), strict=True):
        out[place] = pairs
        out[own] = roots
    return merged[0], merged[1], merged[2]
