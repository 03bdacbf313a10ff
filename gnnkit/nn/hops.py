"""Graphs that are parts of one graph: the pairs at each distance, or the edges of each type."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph, _trusted
from gnnkit.ops._checks import check_graphs, check_index, check_index_range, check_integer, check_same_device


class EdgePart(NamedTuple):
    """Some edges of a graph, as a graph on the same nodes."""

    graph: Graph
    edge: Tensor
    """The whole graph's number of each edge of the part, ``[E']``: rows of edge features are taken by it."""


def hop_graphs(graph: Graph, max_hops: int) -> tuple[Graph, ...]:
    r"""The pairs of nodes at distance exactly 1, 2, ..., ``max_hops``, one graph for each.

    .. math:: E_k = \{(j, i) : d(j, i) = k\}, \qquad k = 1, \dots, K

    with :math:`d(j, i)` the number of edges on a shortest path from ``j`` to ``i`` along the direction of the edges.
    Self-loops and multi-edges of ``graph`` leave no trace. Beyond the diameter the graphs have no edges.

    The graphs are kept with ``graph``, so that all layers share them; a smaller ``max_hops`` later takes the first of
    them. Under ``torch.compile`` they are never part of a trace, since their sizes follow from values: compute them
    before a model is compiled with ``fullgraph=True``; otherwise the trace breaks there.

    Args:
        graph: Topology; sources and destinations are the same nodes.
        max_hops: :math:`K`, at least 1.

    Returns:
        ``max_hops`` graphs. In-edges of a node are in order of the source; all share the storage of one ``col``.

    Raises:
        ConfigError: If ``max_hops`` is below 1.
        ShapeError: If ``graph`` is bipartite or on the meta device, or ``max_hops`` is no integer.

    Determinism: exact.
    Complexity: one :func:`gnnkit.ops.k_hop` and ``O(E' + K N)`` time and memory for :math:`E' = \sum_k |E_k|`.
    """
    check_graphs(graph=graph)
    max_hops = _checked_hops(max_hops)
    kept = graph.cached("hop_graphs", _KeptHops)
    if len(kept.graphs) >= max_hops:
        return kept.graphs[:max_hops]
    return _hop_graphs(graph, max_hops)


@dataclass
class _KeptHops:
    """What a graph keeps: as many hops as have been asked for."""

    graphs: tuple[Graph, ...] = ()


def _find_hop_graphs(graph: Graph, max_hops: int) -> tuple[Graph, ...]:
    kept = graph.cached("hop_graphs", _KeptHops)
    pairs, distance = ops.k_hop(graph, max_hops)
    kept.graphs = hops_of_pairs(pairs, distance, max_hops)
    return kept.graphs


# Outside of any trace, where sizes may follow from values.
_hop_graphs = cast(Callable[[Graph, int], tuple[Graph, ...]], torch.compiler.disable(_find_hop_graphs))


def hops_of_pairs(pairs: Graph, distance: Tensor, max_hops: int) -> tuple[Graph, ...]:
    """As :func:`hop_graphs`, from pairs and distances that are there already.

    ``gnnkit.rewire.KHop(k, distance_attr="edge_distance")`` as a ``pre_transform`` searches each graph of a dataset
    once; of a batch, ``hops_of_pairs(Graph.from_edge_index(data.edge_index, data.num_nodes), data.edge_distance, k)``
    then only splits what was found.

    Args:
        pairs: One edge per pair, of all pairs within ``max_hops``: that none is missing cannot be seen here.
        distance: Distance of each pair in the caller's edge order, int32 or int64 ``[E']``, 1 to ``max_hops`` or more;
            pairs farther apart than ``max_hops`` are left out.
        max_hops: Number of graphs, at least 1.

    Raises:
        ConfigError: If ``max_hops`` is below 1.
        ShapeError: If ``distance`` has not one integer per pair, or an argument has the wrong type.
        IndexRangeError: If a distance is below 1 (checked on the CPU only).

    Complexity: ``O(E' + K N)`` time and memory.
    """
    check_graphs(pairs=pairs)
    max_hops = _checked_hops(max_hops)
    _check_labels("distance", distance, pairs)
    check_index_range("distance - 1", distance - 1, torch.iinfo(distance.dtype).max, "max_hops")
    label = (distance - 1).clamp(max=max_hops)  # what lies beyond goes into one more part, which is dropped
    return tuple(part.graph for part in _split(pairs, label, max_hops + 1)[:max_hops])


def split_edges(graph: Graph, edge_type: Tensor, num_types: int) -> tuple[EdgePart, ...]:
    r"""The edges of each type, :math:`E_t = \{e \in E : \mathrm{type}(e) = t\}`, as graphs on the same nodes.

    They are kept with ``graph`` until another ``edge_type`` comes, which is told by its values. Under ``torch.compile``
    as :func:`hop_graphs`: never part of a trace.

    Args:
        graph: Topology.
        edge_type: Type of each edge in the caller's edge order, ``[E]``, int32 or int64, on the device of the graph.
        num_types: Number of types.

    Returns:
        ``num_types`` parts, some of which may have no edges.

    Raises:
        ConfigError: If ``num_types`` is below 1.
        ShapeError: If there is not one integer type per edge.
        IndexRangeError: If a type is not in ``[0, num_types)``.

    Determinism: exact.
    Complexity: ``O(E + T N)`` time and memory the first time, then a comparison of the types.
    """
    check_graphs(graph=graph)
    num_types = check_integer("num_types", num_types)
    if num_types < 1:
        raise ConfigError(f"num_types must be at least 1, got {num_types}")
    return _split_edges(graph, edge_type, num_types)


@dataclass
class _KeptParts:
    """What a graph keeps: a copy of the types last seen, and the parts."""

    edge_type: Tensor | None = None
    parts: tuple[EdgePart, ...] = ()


def _find_parts(graph: Graph, edge_type: Tensor, num_types: int) -> tuple[EdgePart, ...]:
    _check_labels("edge_type", edge_type, graph)
    kept = graph.cached(f"edge_parts/{num_types}", _KeptParts)
    if kept.edge_type is None or not torch.equal(kept.edge_type, edge_type.long()):
        # On any device: the sizes of the parts have to be read anyway.
        check_index_range("edge_type", edge_type.cpu(), num_types, "num_types")
        kept.parts = tuple(_split(graph, edge_type, num_types))
        kept.edge_type = edge_type.long().clone()
    return kept.parts


_split_edges = cast(Callable[[Graph, Tensor, int], tuple[EdgePart, ...]], torch.compiler.disable(_find_parts))


def _split(graph: Graph, label: Tensor, num_labels: int) -> list[EdgePart]:
    """One stable counting sort by (label, destination); the parts are slices of what it gives."""
    by_position = label if graph.edge_id is None else label.index_select(0, graph.edge_id)
    key = by_position.long() * graph.num_dst + graph.dst_of_position().long()
    ptr, order = ops.sort_index(key, num_labels * graph.num_dst)
    col = graph.col.index_select(0, order)
    edge = order if graph.edge_id is None else graph.edge_id.index_select(0, order)
    start = torch.arange(num_labels + 1, device=ptr.device) * graph.num_dst
    bounds = ptr.index_select(0, start).tolist()
    parts = []
    for number in range(num_labels):
        first, last = bounds[number], bounds[number + 1]
        row = number * graph.num_dst
        rowptr = (ptr[row : row + graph.num_dst + 1] - first).to(col.dtype)
        parts.append(EdgePart(_trusted(rowptr, col[first:last], None, graph.num_src), edge[first:last]))
    return parts


def _check_labels(name: str, label: Tensor, graph: Graph) -> None:
    check_index(name, label)
    check_same_device(**{name: label, "graph": graph.col})
    if label.size(0) != graph.num_edges:
        raise ShapeError(f"{name} must hold one integer per edge, {graph.num_edges}, got shape {tuple(label.shape)}")


def _checked_hops(max_hops: int) -> int:
    max_hops = check_integer("max_hops", max_hops)
    if max_hops < 1:
        raise ConfigError(f"max_hops must be at least 1, got {max_hops}")
    return max_hops


def as_hops(hops: Graph | Sequence[Graph], num_hops: int, *, layer: str) -> Sequence[Graph]:
    """The first ``num_hops`` hop graphs: computed from a graph, or as given.

    Raises:
        ShapeError: If fewer are given, or they have different nodes.
    """
    if isinstance(hops, Graph):
        return hop_graphs(hops, num_hops)
    if len(hops) < num_hops:
        raise ShapeError(f"{layer} needs the graphs of {num_hops} hops, got {len(hops)}; use nn.hop_graphs(graph, K)")
    check_graphs(**{f"hops[{number}]": hop for number, hop in enumerate(hops)})
    sizes = {(hop.num_src, hop.num_dst) for hop in hops}
    if len(sizes) > 1:
        raise ShapeError(f"{layer} needs hop graphs of the same nodes, got (sources, destinations) {sorted(sizes)}")
    return hops[:num_hops]
