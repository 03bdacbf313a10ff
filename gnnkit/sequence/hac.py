r"""Hierarchical affinity clustering: clusters of nodes, clusters of clusters, up to whole graphs.

The method of GSM++ has no public code. What is computed here, after Borůvka's algorithm for spanning trees and the
affinity clustering of Bateni et al., "Affinity clustering: hierarchical clustering at scale", NeurIPS 2017:

1. Every node is a cluster.
2. In a round, every cluster chooses, of the clusters that an edge joins it to, the most similar one; of equally similar
   ones, that with the lowest node. Clusters that are joined by choices, directly or over others, become one cluster,
   their parent. Every cluster with a neighbour takes part, so that a round at least halves their number.
3. Rounds end where no edge joins two clusters: what is left are the connected components. Those of a graph with more
   than one become children of a root, whose level is one above the highest of them.

Edges are taken in both directions, whatever is given, and self-loops are left out.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_tensor, describe
from gnnkit.sequence._batch import graph_of_nodes, simple_graph
from gnnkit.sequence.hierarchy import Hierarchy

SIMILARITIES = ("cosine", "jaccard")
LINKAGES = ("mean", "max")
# Similarities of magnitude at most 1 are whole multiples of 2^-32: their sums, over up to 2^31 edges, are exact.
_UNIT = 2.0**32


def hierarchical_affinity_clustering(
    graph: Graph,
    ptr: Tensor,
    x: Tensor | None = None,
    *,
    similarity: str | Tensor | None = None,
    linkage: str = "mean",
) -> Hierarchy:
    r"""Clusters the nodes of each graph of a batch by itself; the module says how.

    The similarity of the ends ``u`` and ``v`` of an edge is one of

    - ``"cosine"``: :math:`\langle x_u, x_v \rangle / (\lVert x_u \rVert \lVert x_v \rVert)`; 0 for a node without
      features other than 0;
    - ``"jaccard"``: :math:`|N[u] \cap N[v]| / |N[u] \cup N[v]| = (t + 2) / (d_u + d_v - t)` for ``t`` common
      neighbours, with :math:`N[u]` the neighbours of ``u`` and ``u`` itself, so that it is greater in dense surroundings
      and, where there are no triangles, at ends of low degree;
    - numbers that are given; several edges between two nodes, of either direction, count as one edge with their mean or
      maximum.

    The similarity of two clusters is the mean or the maximum over the edges between them. With ``"max"``, the clusters
    are those of Borůvka's algorithm for a spanning tree of greatest similarity.

    Args:
        graph: All graphs of the batch.
        ptr: First node of each, and ``N`` at the end, ``[G + 1]``.
        x: Node features, ``[N, F]``, real numbers.
        similarity: ``"cosine"``, which needs ``x``; ``"jaccard"``; or one number per edge in the caller's order,
            ``[E]``. None: ``"cosine"`` where ``x`` is given, ``"jaccard"`` where not.
        linkage: ``"mean"`` or ``"max"``.

    Returns:
        The hierarchy, on the device of ``graph``. Clusters are numbered by round, then by lowest node.

    Raises:
        ConfigError: If an option is unknown, or cosines are wanted without ``x``.
        DataError: If an edge joins two graphs, or features or similarities are not finite.
        DtypeError, IndexRangeError, ShapeError: If tensors do not fit together.

    Determinism: exact, for any number of threads and any order of the edges, and a graph gives the same tree in every
    batch. Similarities are rounded to multiples of 2^-32 (those given: of 2^-32 of the largest magnitude in the graph)
    and added up as integers, so that equal ones are equal. Nodes numbered otherwise have the same tree where no two
    similarities of a cluster are equal.
    Complexity: at most :math:`\log_2 N` rounds of ``O(E)`` each, on the CPU, after ``O(E F)`` for cosines or the sum
    over edges of the smaller degree of both ends for Jaccard indices.
    """
    check_options(similarity, linkage)
    number = graph_of_nodes(graph, ptr).cpu()
    simple = simple_graph(graph)
    if similarity is None:
        similarity = "jaccard" if x is None else "cosine"
    if isinstance(similarity, Tensor):
        value = _given(similarity, graph, simple, number, ptr.numel() - 1, linkage)
    elif similarity == "jaccard":
        value = _jaccard(simple)
    elif x is None:
        raise ConfigError('similarity "cosine" needs node features x; give them, or choose "jaccard"')
    else:
        value = _cosine(x, simple)
    parent, level = _merged_in_rounds(simple, value, number, linkage)
    return Hierarchy(parent.to(graph.device), level.to(graph.device), ptr.long())


def check_options(similarity: object, linkage: object) -> None:
    """Raises ConfigError where an option is unknown."""
    if not (similarity is None or isinstance(similarity, Tensor) or similarity in SIMILARITIES):
        raise ConfigError(f"similarity must be one of {', '.join(SIMILARITIES)}, a tensor or None, got {similarity!r}")
    if linkage not in LINKAGES:
        raise ConfigError(f"linkage must be one of {', '.join(LINKAGES)}, got {linkage!r}")


def _rounded(similarity: Tensor) -> Tensor:
    """Numbers of magnitude at most 1 as integers."""
    return (similarity * _UNIT).round().long()


def _cosine(x: Tensor, simple: SimpleGraph) -> Tensor:
    check_tensor("x", x)
    if x.dim() != 2 or x.size(0) != simple.num_nodes or x.is_complex():
        raise ShapeError(
            f"x must hold real node features, [{simple.num_nodes}, F], for cosine similarities; got {describe(x)}"
        )
    value = x.detach().cpu().double()
    # Scaled first, squares neither overflow nor vanish.
    largest = value.abs().amax(1, keepdim=True) if value.size(1) > 0 else value.new_zeros(value.size(0), 1)
    if not bool(largest.isfinite().all()):
        where = int((~largest.isfinite()).nonzero()[0, 0])
        raise DataError(f"x must be finite, but the features of node {where} are not")
    value = value / torch.where(largest > 0, largest, 1.0)
    norm = value.norm(dim=1, keepdim=True)
    value = value / torch.where(norm > 0, norm, 1.0)
    one_way = Graph.from_edge_index(simple.ends, simple.num_nodes)
    return _rounded(ops.sddmm(one_way, value, value))


def _jaccard(simple: SimpleGraph) -> Tensor:
    common = torch.ops.gnnkit.edge_cycles(simple.rowptr, simple.col, 3).double()
    total = simple.degree.double()[simple.ends].sum(0)
    return _rounded((common + 2) / (total - common))


def _given(
    similarity: Tensor, graph: Graph, simple: SimpleGraph, number: Tensor, num_graphs: int, linkage: str
) -> Tensor:
    """Numbers of the edges as numbers of pairs of nodes, relative to the largest magnitude of each graph."""
    check_tensor("similarity", similarity)
    if similarity.shape != (graph.num_edges,) or similarity.is_complex():
        raise ShapeError(
            f"similarity must hold one real number per edge, [{graph.num_edges}], got {describe(similarity)}"
        )
    value = similarity.detach().cpu().double()
    if not bool(value.isfinite().all()):
        where = int((~value.isfinite()).nonzero()[0, 0])
        raise DataError(f"similarity must be finite, but that of edge {where} is {float(value[where])}")
    pair = simple.column_edge
    value, pair = value[pair >= 0], pair[pair >= 0]
    graph_of_value = number[simple.ends[0][pair]]
    largest = value.new_zeros(num_graphs).scatter_reduce_(0, graph_of_value, value.abs(), "amax")[graph_of_value]
    value = _rounded(torch.where(largest > 0, value / largest, 0.0))
    if linkage == "max":
        return value.new_full((simple.num_edges,), torch.iinfo(torch.int64).min).scatter_reduce_(0, pair, value, "amax")
    total = value.new_zeros(simple.num_edges).index_add_(0, pair, value)
    count = torch.bincount(pair, minlength=simple.num_edges)
    return torch.div(2 * total + count, 2 * count, rounding_mode="floor")


class _Clusters(NamedTuple):
    """The clusters that edges still join, ``C`` of them, numbered in order of their lowest nodes."""

    tree: Tensor
    """Tree node of each, ``[C]``."""
    lowest: Tensor
    """Lowest node of each, ``[C]``."""
    ends: Tensor
    """Pairs of neighbours, the lower one first, each pair once, ``[2, M]``."""
    value: Tensor
    """Sum or largest of the similarities between them, ``[M]``."""
    count: Tensor
    """Number of edges that a sum is of, ``[M]``."""


def _merged_in_rounds(simple: SimpleGraph, value: Tensor, number: Tensor, linkage: str) -> tuple[Tensor, Tensor]:
    """Parent and level of every tree node."""
    num_nodes = simple.num_nodes
    nodes = torch.arange(num_nodes)
    parents, levels, lowest = [torch.full_like(nodes, -1)], [torch.zeros_like(nodes)], [nodes]
    clusters = _with_neighbours(_Clusters(nodes, nodes, simple.ends, value, torch.ones_like(value)))
    size = num_nodes
    while clusters.tree.numel() > 0:
        group = _joined(_most_similar(clusters))
        previous, clusters = clusters, _contracted(clusters, group, size, linkage)
        first = size
        parents.append(torch.full_like(clusters.tree, -1))
        levels.append(torch.full_like(clusters.tree, len(levels)))
        lowest.append(clusters.lowest)
        size += clusters.tree.numel()
        # Children were made in the round before, and stand in the last but one of the lists.
        parents[-2][previous.tree - (first - parents[-2].numel())] = first + group
        clusters = _with_neighbours(clusters)
    return _with_one_root(torch.cat(parents), torch.cat(levels), number[torch.cat(lowest)])


def _most_similar(clusters: _Clusters) -> Tensor:
    """The neighbour that each cluster chooses, ``[C]``."""
    # Both are whole numbers: equal ratios have equal quotients.
    mean = clusters.value.double() / clusters.count
    cluster, neighbour = torch.cat([clusters.ends, clusters.ends.flip(0)], 1)
    score = torch.cat([mean, mean])
    num_clusters = clusters.tree.numel()
    best = score.new_full((num_clusters,), -torch.inf).scatter_reduce_(0, cluster, score, "amax")
    wins = (score == best[cluster]).nonzero()[:, 0]
    lowest = torch.full_like(clusters.tree, num_clusters)
    return lowest.scatter_reduce_(0, cluster[wins], neighbour[wins], "amin")


def _joined(choice: Tensor) -> Tensor:
    """Group of each cluster ``[C]``, numbered in order of their lowest clusters.

    Choices run in a circle only between two clusters that choose each other: around a longer one, no similarity could
    be less than the one before, so that all were equal; but then the neighbour that its lowest cluster has chosen would
    have chosen this cluster.
    """
    number = torch.arange(choice.numel())
    label = torch.where((choice[choice] == number) & (number < choice), number, choice)
    while bool((label != label[label]).any()):
        label = label[label]
    lowest = torch.full_like(number, choice.numel()).scatter_reduce_(0, label, number, "amin")[label]
    return ((lowest == number).cumsum(0) - 1)[lowest]


def _contracted(clusters: _Clusters, group: Tensor, first: int, linkage: str) -> _Clusters:
    """What is left of clusters and edges when groups have become one each, as tree nodes from ``first`` on."""
    num_groups = int(group.max()) + 1
    lowest = torch.full((num_groups,), torch.iinfo(torch.int64).max).scatter_reduce_(0, group, clusters.lowest, "amin")
    tree = torch.arange(first, first + num_groups)
    ends = group[clusters.ends]
    apart = (ends[0] != ends[1]).nonzero()[:, 0]
    low, high = ends[:, apart].amin(0), ends[:, apart].amax(0)
    order = ops.sort_index(high, num_groups)[1]
    order = order[ops.sort_index(low[order], num_groups)[1]]
    low, high, edge = low[order], high[order], apart[order]
    begins = torch.ones_like(low, dtype=torch.bool)
    begins[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    pair, num_pairs = begins.cumsum(0) - 1, int(begins.sum())
    value, count = clusters.value[edge], clusters.count[edge]
    if linkage == "max":
        value = value.new_full((num_pairs,), torch.iinfo(torch.int64).min).scatter_reduce_(0, pair, value, "amax")
        count = torch.ones_like(value)
    else:
        value = value.new_zeros(num_pairs).index_add_(0, pair, value)
        count = count.new_zeros(num_pairs).index_add_(0, pair, count)
    return _Clusters(tree, lowest, torch.stack([low[begins], high[begins]]), value, count)


def _with_neighbours(clusters: _Clusters) -> _Clusters:
    """Without the clusters that no edge joins to another."""
    joined = torch.zeros(clusters.tree.numel(), dtype=torch.bool)
    joined[clusters.ends.reshape(-1)] = True
    number = joined.cumsum(0) - 1
    return clusters._replace(tree=clusters.tree[joined], lowest=clusters.lowest[joined], ends=number[clusters.ends])


def _with_one_root(parent: Tensor, level: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Roots of graphs that have several trees, after all other tree nodes; ``number``: graph of each tree node."""
    root = (parent < 0).nonzero()[:, 0]
    several, place, count = torch.unique(number[root], return_inverse=True, return_counts=True)
    new = torch.where(count > 1, parent.numel() + (count > 1).cumsum(0) - 1, -1)
    highest = torch.zeros_like(several).scatter_reduce_(0, place, level[root], "amax")
    parent = parent.clone()
    parent[root] = new[place]
    added = highest[count > 1] + 1
    return torch.cat([parent, torch.full_like(added, -1)]), torch.cat([level, added])
