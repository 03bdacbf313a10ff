"""Pairs of nodes that a learned rewiring may choose from."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.nn.pool import graph_boundaries
from gnnkit.ops._checks import check_has_values, check_integer


def longest_path_candidates(
    edge_index: Tensor, num_nodes: int, pool: int, *, batch: Tensor | None = None, num_graphs: int | None = None
) -> Tensor:
    r"""The ``pool`` pairs of nodes of each graph that are farthest apart (as in PR-MPNN, Qian et al., 2024).

    Of all :math:`u < v` with :math:`2 \le d(u, v) < \infty`, those with the largest :math:`d(u, v)`; of pairs equally
    far apart the lexicographically first. Pairs in different components are no candidates, and neither are edges.

    As ``candidate_index`` of a ``Data``, the result is batched as ``edge_index`` is:

    >>> import torch
    >>> from torch_geometric.data import Data
    >>> from gnnkit.nn import longest_path_candidates
    >>> path = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    >>> data = Data(edge_index=path, num_nodes=4)
    >>> data.candidate_index = longest_path_candidates(data.edge_index, 4, pool=2)
    >>> data.candidate_index.tolist()
    [[0, 0], [3, 2]]

    Args:
        edge_index: Both directions of every edge, ``[2, E]``. Self-loops and multi-edges change nothing.
        num_nodes: Number of nodes.
        pool: Largest number of pairs of one graph.
        batch: Graph of each node, ``[N]``, non-decreasing. None: one graph.
        num_graphs: Number of graphs, with ``batch``.

    Returns:
        ``[2, C]``, of the dtype of ``edge_index``, graph by graph, the farthest first.

    Raises:
        ConfigError: If ``pool`` is negative.
        ShapeError, IndexRangeError: If the edges or ``batch`` do not fit ``num_nodes``.

    Determinism: exact.
    Complexity: a breadth-first search from every node, ``O(\sum_g N_g E_g)`` time; ``O(\sum_g N_g^2)`` memory.
    """
    pool = check_integer("pool", pool)
    if pool < 0:
        raise ConfigError(f"pool must not be negative, got {pool}")
    graph = Graph.from_edge_index(edge_index, num_nodes)
    check_has_values(edge_index=edge_index)
    pairs, distance = ops.k_hop(graph, max(graph.num_nodes, 1))
    first, second = pairs.dst_of_position(), pairs.col
    kept = ((first < second) & (distance > 1)).nonzero().squeeze(1)
    first, second, distance = first[kept], second[kept], distance[kept]
    node = torch.empty((graph.num_nodes, 0), device=edge_index.device)
    ptr = graph_boundaries(node, batch, num_graphs=num_graphs)
    owner = torch.searchsorted(ptr.to(first.dtype), first, right=True) - 1
    # The pairs are in lexicographic order already, and so is the order of the graphs: both survive a stable sort.
    farthest = int(distance.max()) if distance.numel() > 0 else 0
    order = (owner * (farthest + 1) + farthest - distance).sort(stable=True).indices
    owner = owner[order]
    start = torch.searchsorted(owner, torch.arange(ptr.size(0), device=owner.device))
    rank = torch.arange(owner.size(0), device=owner.device) - start[owner]
    chosen = order[rank < pool]
    return torch.stack([first[chosen], second[chosen]])
