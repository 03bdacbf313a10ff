"""Degrees of a node and of its neighbours."""

from typing import Any

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.encodings._encoding import Encoding
from gnnkit.encodings._moments import mean_and_deviation
from gnnkit.errors import ConfigError
from gnnkit.geometry.simple_graph import check_range

_DIRECTIONS = ("out", "in")


class DegreeProfile(Encoding):
    r"""Local degree profile: the degree of a node, and minimum, maximum, mean and deviation of its neighbours'.

    .. math::
        [d_i, \min D_i, \max D_i, \mathrm{mean}\, D_i, \mathrm{std}\, D_i], \qquad D_i = \{\!\{ d_j : j \in N(i) \}\!\}

    `Cai and Wang, A simple yet effective baseline for non-attributed graph classification (2018)
    <https://arxiv.org/abs/1811.03508>`_. The deviation is that of the population (divided by :math:`|D_i|`), as in
    ``torch_geometric.transforms.LocalDegreeProfile``, which gives the same five columns, in ``data.x``.

    The degree is a number of edges. The columns of a multi-edge count as so many edges and neighbours, and a self-loop
    makes a node its own neighbour; weights are not read. In a directed graph, ``direction="out"`` takes the edges that
    leave a node, the nodes that they point to, and their out-degrees; ``"in"`` the same of the reversed graph. In an
    undirected graph, which holds both directions of every edge, both are the same. A node without such edges has zeros.
    On a ``Batch`` no graph sees another.

    Args:
        direction: ``"out"`` or ``"in"``.
        attr_name: Name of the node attribute that is written, float32 ``[N, 5]``.

    Raises:
        ConfigError: If ``direction`` is unknown.
        IndexRangeError: In a call, if an edge leaves the range of the nodes.

    Determinism: bitwise; computed in float64, and exact but for mean and deviation.
    Complexity: ``O(E + N)`` time and memory.
    """

    def __init__(self, *, direction: str = "out", attr_name: str = "degree_profile") -> None:
        if direction not in _DIRECTIONS:
            raise ConfigError(f"direction must be 'out' or 'in', got {direction!r}")
        self.direction = direction
        self.attr_name = attr_name

    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        """The profile."""
        edge_index = data.edge_index.cpu().long()
        check_range(edge_index, graph_of_node.numel())
        node, neighbour = edge_index if self.direction == "out" else edge_index.flip(0)
        ptr, by_node = ops.sort_index(node, graph_of_node.numel())
        degree = ptr.diff().double()
        around = degree[neighbour[by_node]]
        extremes = [ops.segment_reduce(around, ptr, reduce) for reduce in ("min", "max")]
        columns = [degree, *extremes, *mean_and_deviation(around, ptr)]
        return {self.attr_name: torch.stack(columns, dim=1).float()}
