"""Numbers of hops between nodes."""

from typing import Any

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.encodings._local import LocalEncoding
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_count, check_flag

_LARGEST = 2**20


class HopDistances(LocalEncoding):
    r"""Shortest-path distances between all pairs of nodes up to ``max_distance``, and how many there are at each.

    .. math::
        \{(j, i, d(j, i)) : 1 \le d(j, i) \le K\}, \qquad c_{i, \ell} = |\{j : d(j, i) = \ell\}|

    :math:`d(j, i)` is the number of edges on a shortest path from ``j`` to ``i`` along the direction of the edges;
    weights are not read. Pairs without a path, and those farther apart, are left out: a model gives them a value of
    their own. The distances are the relative encoding of `Ying et al., Do transformers really perform badly for graph
    representation? (Graphormer, NeurIPS 2021) <https://arxiv.org/abs/2106.05234>`_ and `Li et al., Distance encoding
    (NeurIPS 2020) <https://arxiv.org/abs/2009.00142>`_, in sparse form.

    Written: ``attr_name + "_index"``, the pairs ``(j, i)``, ``[2, P]`` of the dtype of ``edge_index``, each once, in
    order of ``i``, then ``j``; ``attr_name``, their distances, int64 ``[P]`` (to look embeddings up by); and the node
    attribute ``attr_name + "_count"``, :math:`c_{i, 1}` to :math:`c_{i, K}`, float32 ``[N, max_distance]``: in a
    directed graph, of the nodes that reach ``i``. Multi-edges are one edge; a self-loop changes nothing; an isolated
    node has no pairs (but with itself) and zeros. On a ``Batch`` no pair joins two graphs.

    Args:
        max_distance: :math:`K`, at least 1. From the diameter on, all pairs that a path joins are found.
        pairs: Whether to write the pairs and their distances; else the counts alone.
        self_pairs: Whether the pairs hold every node with itself, at distance 0.
        attr_name: Name of the distances, and part of the other names.

    Raises:
        ConfigError: If ``max_distance`` is out of range, or ``pairs`` or ``self_pairs`` no bool.
        IndexRangeError: In a call, if an edge leaves the range of the nodes.

    Determinism: exact.
    Complexity: a breadth-first search per node; ``O(P + N max_distance)`` memory, where ``P`` approaches :math:`N^2` as
    ``max_distance`` approaches the diameter, and comes into being also where the counts alone are wanted.
    """

    def __init__(
        self, max_distance: int, *, pairs: bool = True, self_pairs: bool = False, attr_name: str = "hop_distance"
    ) -> None:
        if check_count("max_distance", max_distance, 1) > _LARGEST:
            raise ConfigError(f"max_distance must be at most {_LARGEST}, got {max_distance}")
        check_flag("pairs", pairs)
        check_flag("self_pairs", self_pairs)
        self.max_distance = max_distance
        self.pairs = pairs
        self.self_pairs = self_pairs
        self.attr_name = attr_name

    def encode(self, data: Any) -> dict[str, Tensor]:
        """Pairs, distances and counts."""
        size = int(data.num_nodes)
        graph = Graph.from_edge_index(data.edge_index.cpu().long(), num_nodes=size)
        near, distance = ops.k_hop(graph, self.max_distance)
        pairs = near.edge_index
        cell = pairs[1] * self.max_distance + distance - 1
        count = torch.bincount(cell, minlength=size * self.max_distance).reshape(size, self.max_distance)
        found = {f"{self.attr_name}_count": count.float()}
        if self.pairs:
            if self.self_pairs:
                pairs, distance = _with_self_pairs(pairs, distance, size)
            found |= {f"{self.attr_name}_index": pairs.to(data.edge_index.dtype), self.attr_name: distance}
        return found


def _with_self_pairs(pairs: Tensor, distance: Tensor, size: int) -> tuple[Tensor, Tensor]:
    node = torch.arange(size)
    pairs = torch.cat([torch.stack([node, node]), pairs], dim=1)
    order = (pairs[1] * size + pairs[0]).argsort()
    return pairs[:, order], torch.cat([torch.zeros_like(node), distance])[order]
