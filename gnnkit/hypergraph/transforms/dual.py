"""The dual hypergraph transformation: edges become nodes, nodes become hyperedges, and back.

Jo et al., "Edge Representation Learning with Hypergraphs", NeurIPS 2021, https://arxiv.org/abs/2106.15845.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import ops
from gnnkit.compat.pyg import edge_attributes
from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.graph import Graph
from gnnkit.hypergraph.data import HyperData
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.ops._checks import check_flag, check_index, check_index_range, check_size
from gnnkit.transforms.base import GraphTransform

Pairs = Literal["both", "one"]

LOOPS = "hyperedge_is_loop"
_OF_GRAPH = {"edge_attr": "x", "edge_weight": "node_weight", "x": "hyperedge_attr", "node_weight": "hyperedge_weight"}
_OF_HYPERGRAPH = {
    "hyperedge_attr": "x",
    "hyperedge_weight": "node_weight",
    "x": "hyperedge_attr",
    "node_weight": "hyperedge_weight",
}
_BACK = {new: old for old, new in _OF_GRAPH.items()}


def dual_hyperedge_index(edge_index: Tensor, num_nodes: int, *, add_loops: bool = True) -> Tensor:
    r"""Incidences of the dual: column ``e`` of ``edge_index`` becomes node ``e``, node ``v`` hyperedge ``v``.

    .. math:: H^* = H^\top

    With ``add_loops``, incidences with a hyperedge that has no other are dropped, and every dual node ``e`` gets a
    hyperedge of its own, ``num_nodes + e``; the dual has ``num_nodes + E`` hyperedges then, else ``num_nodes``. No
    dual node is left without hyperedges, so that the rows of :math:`D^{-1} H^* B^{-1} H^{*\top}` add up to 1. The
    hyperedges of isolated nodes are empty, and stay.

    Args:
        edge_index: Ends of the edges, ``[2, E]``, int32 or int64.
        num_nodes: Number of nodes; the ids of loops follow from it, not from the largest index.
        add_loops: Whether to add them, as the paper does.

    Returns:
        ``[2, nnz]`` in the order of edges, source before destination, then the loops; of the dtype of ``edge_index``.

    Raises:
        ShapeError: If ``edge_index`` is not ``[2, E]`` of integers, or ``num_nodes`` is no size.
        IndexRangeError: If an edge leaves the range of the nodes.

    Determinism: bitwise.
    Complexity: ``O(E + N)`` time and memory.
    """
    num_nodes = check_size("num_nodes", num_nodes)
    check_flag("add_loops", add_loops)
    check_index("edge_index", edge_index, dim=2)
    if edge_index.size(0) != 2:
        raise ShapeError(f"edge_index must have shape [2, E], got {tuple(edge_index.shape)}")
    for row in (0, 1):
        check_index_range(f"edge_index[{row}]", edge_index[row], num_nodes, "num_nodes")
    num_edges = edge_index.size(1)
    edge = torch.arange(num_edges, dtype=edge_index.dtype, device=edge_index.device)
    incidences = torch.stack([edge.unsqueeze(1).expand(-1, 2), edge_index.t()]).flatten(1)
    return _with_loops(incidences, num_edges, num_nodes) if add_loops else incidences


def primal_edge_index(hyperedge_index: Tensor, num_nodes: int, num_hyperedges: int) -> Tensor:
    """The edges of which :func:`dual_hyperedge_index` without loops made this dual.

    Args:
        hyperedge_index: Incidences, ``[2, nnz]``; every node has two.
        num_nodes: Number of nodes of the dual, which are the edges.
        num_hyperedges: Number of its hyperedges, which are the nodes.

    Returns:
        ``[2, num_nodes]``: the hyperedge of a node's first incidence, and that of its second.

    Raises:
        DataError: If a node has not exactly two incidences; it names the node.
        ShapeError, IndexRangeError: As :meth:`Hypergraph.from_incidence`.

    Determinism: bitwise.
    Complexity: ``O(nnz + N + M)`` time and memory.
    """
    hypergraph = Hypergraph.from_incidence(hyperedge_index, num_nodes=num_nodes, num_hyperedges=num_hyperedges)
    ptr, order = ops.sort_index(hyperedge_index[0].contiguous(), hypergraph.num_nodes)
    count = ptr.diff()
    odd = (count != 2).nonzero()
    if odd.numel():
        where = int(odd[0, 0])
        raise DataError(
            f"every node of the dual of a graph is in two hyperedges, but node {where} has {int(count[where])} "
            "incidences; a dual with loops cannot be turned back, since it lacks those of nodes with one edge"
        )
    return hyperedge_index[1].index_select(0, order).reshape(-1, 2).t().contiguous()


def undirected_columns(edge_index: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Columns that hold each undirected edge once, and for each the column of the other direction.

    Args:
        edge_index: Both directions of every edge, ``[2, E]``; a self-loop is one column.
        num_nodes: Number of nodes.

    Returns:
        Ascending columns with ``source <= destination``, int64 ``[E']``; and their partners, the ``k``-th of several
        equal ones with the ``k``-th, a self-loop with itself.

    Raises:
        DataError: If a direction is missing; it names the edge.

    Determinism: bitwise.
    Complexity: ``O(E log E)``.
    """
    source, target = edge_index.long()
    key = torch.minimum(source, target) * max(num_nodes, 1) + torch.maximum(source, target)
    chosen, other = (source <= target).nonzero().flatten(), (source > target).nonzero().flatten()
    proper = (source < target).nonzero().flatten()
    # Where the two lists of sorted edges are equal, their positions pair the directions.
    forward, backward = (columns[key[columns].argsort(stable=True)] for columns in (proper, other))
    same = forward.numel() == backward.numel() and torch.equal(key[forward], key[backward])
    if not same:
        edges, number = torch.cat([key[forward], key[backward]]).unique(return_inverse=True)
        direction = torch.ones_like(number)
        direction[forward.numel() :] = -1
        surplus = torch.zeros_like(edges).index_add(0, number, direction)
        low, high = divmod(int(edges[surplus.nonzero()[0, 0]]), max(num_nodes, 1))
        raise DataError(
            f"pairs='one' needs both directions of every edge, as often each, which {low} - {high} has not; "
            "make the graph undirected, or use pairs='both'"
        )
    partner = torch.arange(source.numel(), device=source.device).index_copy(0, forward, backward)
    return chosen, partner[chosen]


class DualHypergraph(GraphTransform):
    r"""Turns a graph into its dual hypergraph: edges become nodes and nodes become hyperedges.

    Jo et al., "Edge Representation Learning with Hypergraphs", NeurIPS 2021; :func:`dual_hyperedge_index` is the
    transformation itself. A :class:`HyperData` becomes the hypergraph of its transposed incidence matrix, so that
    without loops the dual of the dual is the hypergraph again; ``pairs`` says nothing there. :class:`PrimalGraph`
    gives back the graph.

    Attributes move with what they belong to: ``edge_attr`` to ``x``, ``edge_weight`` to ``node_weight``, ``x`` to
    ``hyperedge_attr``, ``node_weight`` to ``hyperedge_weight`` (of a hypergraph, ``hyperedge_attr`` and
    ``hyperedge_weight`` to ``x`` and ``node_weight``). All others keep name and rows, but a cached
    :class:`~gnnkit.Graph`, which goes. With loops there is a bool attribute ``hyperedge_is_loop``,
    ``[num_hyperedges]``; loops get zeros in ``hyperedge_attr`` and ones in ``hyperedge_weight``.

    Args:
        pairs: What is a dual node. ``"both"``: every column of ``edge_index``, so two for each undirected edge, as the
            authors have it. ``"one"``: each undirected edge, in the order of the columns with
            ``source <= destination``; attributes of edges must then be the same in both directions.
        add_loops: Whether every dual node gets a hyperedge of its own, and hyperedges of one node are emptied.

    Raises:
        ConfigError: If an argument is none of those named.

    Determinism: bitwise.
    Complexity: ``O(E + N)``, for ``"one"`` ``O(E log E)``, time and memory; a ``Batch`` graph by graph.
    """

    def __init__(self, pairs: Pairs = "both", add_loops: bool = True) -> None:
        self.pairs = _checked_pairs(pairs)
        check_flag("add_loops", add_loops)
        self.add_loops = add_loops

    def check(self, data: Any) -> None:
        """Raises DataError where ``data`` is no graph or hypergraph, or holds indices of nodes besides its edges."""
        is_hypergraph = isinstance(data, HyperData)
        if not is_hypergraph:
            super().check(data)
        elif LOOPS in data:
            raise DataError("a dual with loops has no dual: use DualHypergraph(add_loops=False) for the one before")
        _check_no_other_index(data, "hyperedge_index" if is_hypergraph else "edge_index", type(self).__name__)

    def transform(self, data: Any) -> HyperData:
        """The dual of one graph or hypergraph.

        Raises:
            DataError: If ``pairs="one"`` and a direction is missing, or the two differ in an attribute.
        """
        if isinstance(data, HyperData):
            hypergraph = Hypergraph.from_data(data)
            num_nodes, num_hyperedges = hypergraph.num_hyperedges, hypergraph.num_nodes
            index, held = hypergraph.hyperedge_index.flip(0), _renamed(data, _OF_HYPERGRAPH)
            if self.add_loops:
                index = _with_loops(index, num_nodes, num_hyperedges)
        else:
            edge_index, held = data.edge_index, _renamed(data, _OF_GRAPH)
            num_hyperedges = int(data.num_nodes)
            if self.pairs == "one":
                edge_index, of_edges = _undirected(data, edge_index, num_hyperedges)
                held |= {_OF_GRAPH.get(key, key): value for key, value in of_edges.items()}
            num_nodes = edge_index.size(1)
            index = dual_hyperedge_index(edge_index, num_hyperedges, add_loops=self.add_loops)
        if self.add_loops:
            held[LOOPS] = torch.arange(num_hyperedges + num_nodes, device=index.device) >= num_hyperedges
            for key, fill in (("hyperedge_attr", 0), ("hyperedge_weight", 1)):
                if isinstance(value := held.get(key), Tensor):
                    held[key] = torch.cat([value, value.new_full((num_nodes, *value.shape[1:]), fill)])
            num_hyperedges += num_nodes
        return HyperData(hyperedge_index=index, num_nodes=num_nodes, num_hyperedges=num_hyperedges, **held)


class PrimalGraph(GraphTransform):
    """Turns a dual hypergraph back into its graph; the inverse of :class:`DualHypergraph` without loops.

    Nodes become edges and hyperedges nodes, and attributes move back. Where the dual has both directions as nodes,
    ``edge_index`` is again the one of the graph, column by column; from a dual with each edge once, both directions are
    written next to each other, the smaller node first, and a self-loop once.

    Args:
        pairs: What is a dual node: ``"both"`` directions, or ``"one"`` undirected edge, as in :class:`DualHypergraph`.

    Raises:
        ConfigError: If ``pairs`` is none of those.

    Determinism: bitwise.
    Complexity: ``O(E + N)`` time and memory; a ``Batch`` graph by graph.
    """

    def __init__(self, pairs: Pairs = "both") -> None:
        self.pairs = _checked_pairs(pairs)

    def check(self, data: Any) -> None:
        """Raises DataError where ``data`` is no hypergraph, or a dual with loops."""
        if LOOPS in data:
            raise DataError(
                "a dual with loops lacks the incidences of nodes with one edge, so that the graph cannot be told; "
                "make the dual with DualHypergraph(add_loops=False)"
            )
        _check_no_other_index(data, "hyperedge_index", type(self).__name__)

    def transform(self, data: Any) -> Data:
        """The graph of one dual.

        Raises:
            DataError: If a node is not in exactly two hyperedges.
        """
        hypergraph = Hypergraph.from_data(data)
        edge_index = primal_edge_index(hypergraph.hyperedge_index, hypergraph.num_nodes, hypergraph.num_hyperedges)
        held = _renamed(data, _BACK)
        if self.pairs == "one":
            edge_index = edge_index.sort(0).values
            proper = edge_index[0] != edge_index[1]
            copies = torch.ones_like(edge_index[0]) + proper
            column = torch.arange(copies.numel(), device=copies.device).repeat_interleave(copies)
            second = torch.zeros_like(column, dtype=torch.bool)
            second[1:] = column[1:] == column[:-1]
            both = edge_index[:, column]
            for key in [key for key, value in held.items() if _of_edges(key, value, edge_index.size(1))]:
                held[key] = held[key].index_select(0, column)
            edge_index = torch.where(second, both.flip(0), both)
        return Data(edge_index=edge_index, num_nodes=hypergraph.num_hyperedges, **held)


def _with_loops(hyperedge_index: Tensor, num_nodes: int, num_hyperedges: int) -> Tensor:
    node, hyperedge = hyperedge_index
    if node.dtype == torch.int32 and num_hyperedges + num_nodes > torch.iinfo(torch.int32).max:
        raise ShapeError(f"{num_hyperedges} hyperedges and {num_nodes} loops need int64 indices, got int32")
    size = node.new_zeros(num_hyperedges).index_add(0, hyperedge, torch.ones_like(hyperedge))
    shared = hyperedge_index[:, size.index_select(0, hyperedge) > 1]
    own = torch.arange(num_nodes, dtype=node.dtype, device=node.device)
    return torch.cat([shared, torch.stack([own, own + num_hyperedges])], dim=1)


def _undirected(data: Any, edge_index: Tensor, num_nodes: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The columns of each undirected edge once, and the attributes of edges there."""
    chosen, partner = undirected_columns(edge_index, num_nodes)
    attributes = {}
    for key, value in edge_attributes(data).items():
        rows, others = value.index_select(0, chosen), value.index_select(0, partner)
        differs = (rows != others).unsqueeze(-1).flatten(1).any(1)
        if bool(differs.any()):
            where = int(differs.nonzero()[0, 0])
            raise DataError(
                f"columns {int(chosen[where])} and {int(partner[where])} of edge_index are the two directions of one "
                f"edge with different {key}; make them equal, or use pairs='both'"
            )
        attributes[key] = rows
    return edge_index.index_select(1, chosen), attributes


def _renamed(data: Any, names: dict[str, str]) -> dict[str, Any]:
    left_out = ("edge_index", "hyperedge_index", "num_nodes", "num_hyperedges")
    held: dict[str, Any] = data.to_dict()
    return {
        names.get(key, key): value
        for key, value in held.items()
        if key not in left_out and not isinstance(value, Graph)
    }


def _of_edges(key: str, value: Any, num_edges: int) -> bool:
    return (
        "edge" in key
        and "hyperedge" not in key
        and isinstance(value, Tensor)
        and value.dim() > 0
        and value.size(0) == num_edges
    )


def _check_no_other_index(data: Any, own: str, name: str) -> None:
    for key in data.keys():  # noqa: SIM118
        if "index" in key and key != own:
            raise DataError(f"{name}: data.{key} counts nodes, which are hyperedges in the dual; remove it first")


def _checked_pairs(pairs: Any) -> Pairs:
    if pairs not in ("both", "one"):
        raise ConfigError(f"pairs must be 'both' or 'one', got {pairs!r}")
    return pairs
