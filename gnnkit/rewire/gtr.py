"""Greedy total resistance: the edges that lower the total effective resistance most."""

import torch
from torch import Tensor

from gnnkit.errors import DataError
from gnnkit.geometry.laplacian import inverse_of_positive, members_by_label
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.rewire._rewiring import Change, Fill, Rewiring, check_edge_count, edge_count

_LARGEST = 2**14
_EDGES_PER_INVERSE = 256


class GTR(Rewiring):
    r"""Adds edges one after the other, each where it lowers the total effective resistance most.

    Black et al., "Understanding oversquashing in GNNs through the lens of effective resistance", 2023. An edge between
    ``s`` and ``t`` lowers the total resistance of a component of ``n`` nodes by exactly

    .. math::
        \frac{n B_{st}^2}{1 + R_{st}}, \qquad R_{st} = (e_s - e_t)^\top L^+ (e_s - e_t), \quad
        B_{st}^2 = (e_s - e_t)^\top (L^+)^2 (e_s - e_t)

    Every step takes the pair without an edge, within one component, for which this is largest; of several that differ
    by less than a relative 1e-9, the lowest. Weights are not looked at. It stops early where all components are
    complete. What else happens to the data is said at the base class, ``Rewiring``.

    After each step the two matrices are brought up to date, ``L^+`` by a correction of rank 1 and its square by one of
    rank 2 that does not lose digits; after 256 edges they are computed afresh.

    Args:
        num_edges: Number of undirected edges to add: a count, or a fraction of the edges there are.
        edge_fill: What added edges get in edge attributes.
        seed: Not used; the method knows no chance.

    Raises:
        ConfigError: If ``num_edges`` is neither a count nor a fraction.
        DataError: Where applied, if a component with a pair to join has more than 16384 nodes; else as the base class.

    Determinism: the same edges for any number of threads.
    Complexity: ``O(n^3)`` time per component of ``n`` nodes, then two passes over its matrices per edge;
    ``32 n^2`` bytes.
    """

    def __init__(self, *, num_edges: float, edge_fill: Fill | None = None, seed: int = 0) -> None:
        super().__init__(edge_fill=edge_fill, seed=seed)
        self.num_edges = check_edge_count("num_edges", num_edges)

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        """The edges to add."""
        left = edge_count(self.num_edges, graph.num_edges)
        parts = [torch.zeros(2, 0, dtype=torch.int64)]
        while left > 0:
            asked = min(left, _EDGES_PER_INVERSE)
            parts.append(_added(graph, asked))
            left -= asked
            if parts[-1].size(1) < asked:
                break
            if left > 0:
                graph = SimpleGraph.from_ends(torch.cat([graph.ends, parts[-1]], dim=1), graph.num_nodes)
        return Change(torch.cat(parts, dim=1))


def _added(graph: SimpleGraph, count: int) -> Tensor:
    members = [nodes for nodes in members_by_label(graph.components()) if not _is_complete(graph, nodes)]
    if not members:
        return torch.zeros(2, 0, dtype=torch.int64)
    inverses = [_pseudo_inverse(graph, nodes) for nodes in members]
    sizes = torch.tensor([0, *(nodes.numel() for nodes in members)])
    return torch.ops.gnnkit.gtr(
        graph.rowptr,
        graph.col,
        torch.cat(members),
        sizes.cumsum(0),
        torch.cat([inverse.flatten() for inverse in inverses]),
        torch.cat([(inverse @ inverse).flatten() for inverse in inverses]),
        count,
    )


def _is_complete(graph: SimpleGraph, nodes: Tensor) -> bool:
    return bool((graph.degree[nodes] == nodes.numel() - 1).all())


def _pseudo_inverse(graph: SimpleGraph, nodes: Tensor) -> Tensor:
    """``L^+`` of one component: ``(L + c J / n)^-1 - J / (c n)``."""
    size = nodes.numel()
    if size > _LARGEST:
        raise DataError(
            f"GTR keeps two dense matrices per component and serves up to {_LARGEST} nodes, but one has {size}; "
            "FoSR serves larger ones"
        )
    local = torch.full((graph.num_nodes,), -1).scatter_(0, nodes, torch.arange(size))
    row, col = local[graph.ends[:, local[graph.ends[0]] >= 0]]
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix[row, col] = matrix[col, row] = -1.0
    degree = -matrix.sum(1)
    scale = float(degree.mean())
    matrix.diagonal().copy_(degree)
    return inverse_of_positive(matrix + scale / size) - 1 / (scale * size)
