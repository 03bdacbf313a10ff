"""Which (relation, node) pairs a relational graph has: worked out once per graph and edge types, then kept."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_index, check_index_range, check_same_device


@dataclass(frozen=True)
class Pairs:
    """The distinct (relation, node) pairs at one end of the edges, sorted by relation.

    Attributes:
        ptr: Pairs of each relation, ``[R + 1]``.
        node: Node of each pair, ``[P]``.
        relation: Relation of each pair, ``[P]``.
        edge_ptr: Edges of each pair, as positions in ``order``, ``[P + 1]``.
        order: The caller's edges sorted by pair, ``[E]``.
        of_edge: Pair of each of the caller's edges, ``[E]``.
        at_nodes: One edge from each pair to its node, in the order of the pairs.
    """

    ptr: Tensor
    node: Tensor
    relation: Tensor
    edge_ptr: Tensor
    order: Tensor
    of_edge: Tensor
    at_nodes: Graph

    @property
    def count(self) -> int:
        """Number of pairs, ``P``."""
        return self.node.size(0)


@dataclass(frozen=True)
class Relations:
    """A graph whose edges have types, seen from both ends.

    Attributes:
        sources: Pairs of relation and source.
        destinations: Pairs of relation and destination.
        into_pairs: The edges from the sources to the destination pairs.
        from_pairs: The edges from the source pairs to the destinations, in the order of their positions in the graph.
        destination_pair: Destination pair of each edge of ``from_pairs``, ``[E]``.
    """

    sources: Pairs
    destinations: Pairs
    into_pairs: Graph
    from_pairs: Graph
    destination_pair: Tensor
    _means: dict[torch.dtype, Tensor] = field(default_factory=dict)

    def between_pairs(self) -> Graph:
        """The edges from the source pairs to the destination pairs."""
        col = self.sources.of_edge.index_select(0, self.destinations.order)
        return Graph(self.destinations.edge_ptr, col, None, self.sources.count)

    def mean_weights(self, dtype: torch.dtype) -> Tensor:
        r""":math:`1 / |\mathcal N_r(i)|` for each edge of ``from_pairs``, of relation ``r`` to ``i``, ``[E]``."""
        if dtype in self._means:
            return self._means[dtype]
        share = self.destinations.edge_ptr.diff().clamp(min=1).double().reciprocal().to(dtype)
        weights = share.index_select(0, self.destination_pair)
        if not torch.compiler.is_compiling():
            self._means[dtype] = weights
        return weights


@dataclass
class _Kept:
    """What a graph keeps: a copy of the edge types last seen, and what followed from them."""

    edge_type: Tensor | None = None
    relations: Relations | None = None


def relations(graph: Graph, edge_type: Tensor, num_relations: int, *, layer: str) -> Relations:
    """The pairs of ``graph`` under ``edge_type``, kept with the graph until another ``edge_type`` comes.

    They are found again by the values of ``edge_type``, not by its identity: a tensor that has been changed, by any
    means, is seen to be another one. The comparison is one pass over the types.

    Raises:
        ShapeError: If there is not one integer type per edge, on the device of the graph.
        IndexRangeError: If a type is not in ``[0, num_relations)``.
    """
    check_index("edge_type", edge_type)
    check_same_device(edge_type=edge_type, graph=graph.col)
    if edge_type.size(0) != graph.num_edges:
        raise ShapeError(f"{layer} needs one edge_type per edge, {graph.num_edges}, got shape {tuple(edge_type.shape)}")
    if torch.compiler.is_compiling():
        return _relations(graph, edge_type.to(graph.col.dtype), num_relations)
    kept = graph.cached(f"relations/{num_relations}", _Kept)
    given = edge_type.to(graph.col.dtype)
    if kept.relations is None or kept.edge_type is None or not torch.equal(kept.edge_type, given):
        # On any device: the sizes of the tables have to be read anyway.
        check_index_range("edge_type", edge_type.cpu(), num_relations, "num_relations")
        kept.relations = _relations(graph, given, num_relations)
        kept.edge_type = given.clone()
    return kept.relations


def _relations(graph: Graph, edge_type: Tensor, num_relations: int) -> Relations:
    src, dst = graph.edge_index
    sources = _pairs(graph.transpose(), src, edge_type, num_relations)
    destinations = _pairs(graph, dst, edge_type, num_relations)
    into_pairs = Graph(destinations.edge_ptr, src.index_select(0, destinations.order), None, graph.num_src)
    source_pair, destination_pair = sources.of_edge, destinations.of_edge
    if graph.edge_id is not None:
        source_pair = source_pair.index_select(0, graph.edge_id)
        destination_pair = destination_pair.index_select(0, graph.edge_id)
    from_pairs = Graph(graph.rowptr, source_pair, None, sources.count)
    return Relations(sources, destinations, into_pairs, from_pairs, destination_pair)


def _pairs(by_node: Graph, node: Tensor, edge_type: Tensor, num_relations: int) -> Pairs:
    """Pairs at that end of the edges by which ``by_node`` lists them; ``node`` is that end of each edge."""
    num_edges = node.size(0)
    listed = edge_type if by_node.edge_id is None else edge_type.index_select(0, by_node.edge_id)
    relation_ptr, order = ops.sort_index(listed, num_relations)
    if by_node.edge_id is not None:
        order = by_node.edge_id.index_select(0, order)
    # The edges by relation and, within one, by node: a pair starts where either changes.
    node, relation = node.index_select(0, order), edge_type.index_select(0, order)
    starts = torch.ones_like(order, dtype=torch.bool)
    starts[1:] = (relation[1:] != relation[:-1]) | (node[1:] != node[:-1])
    started = torch.cat([order.new_zeros(1), starts.cumsum(0).to(order.dtype)])
    pair = started[1:] - 1
    ptr = started.index_select(0, relation_ptr)
    # While tracing, no size may follow from values: then there are as many pairs as edges, the rest of them empty.
    count = num_edges if torch.compiler.is_compiling() else int(ptr[-1])
    if torch.compiler.is_compiling():
        ptr = torch.cat([ptr[:-1], ptr.new_full((1,), count)])
    edge_ptr = torch.searchsorted(pair, torch.arange(count + 1, dtype=pair.dtype, device=pair.device))
    edge_ptr = edge_ptr.to(order.dtype)
    of_edge = torch.empty_like(order).index_copy(0, order.long(), pair)
    first = edge_ptr[:-1].clamp(max=max(num_edges - 1, 0))
    node, relation = node.index_select(0, first), relation.index_select(0, first)
    node_ptr, pair_of_node = ops.sort_index(node, by_node.num_dst)
    at_nodes = Graph(node_ptr, pair_of_node, pair_of_node, count)
    return Pairs(ptr, node, relation, edge_ptr, order, of_edge, at_nodes)
