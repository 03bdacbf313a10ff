"""Between a :class:`Graph` and NetworkX."""

from collections.abc import Hashable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gnnkit.errors import DataError, ShapeError
from gnnkit.graph import Graph

if TYPE_CHECKING:
    import networkx


class FromNetworkX(NamedTuple):
    """What :func:`from_networkx` returns."""

    graph: Graph
    node_attributes: dict[str, Tensor]
    edge_attributes: dict[str, Tensor]
    nodes: list[Hashable]
    """The NetworkX node of each index."""


def from_networkx(
    source: "networkx.Graph",
    *,
    nodes: Sequence[Hashable] | None = None,
    node_attributes: Sequence[str] | None = None,
    edge_attributes: Sequence[str] | None = None,
) -> FromNetworkX:
    """The topology of a NetworkX graph, with its numeric attributes.

    An edge ``(u, v)`` of a directed graph is an edge ``u -> v``. Each edge of an undirected graph becomes two: first
    all edges as NetworkX lists them, then all but the self-loops the other way round. Multi-edges are kept.

    Args:
        source: ``Graph``, ``DiGraph``, ``MultiGraph`` or ``MultiDiGraph``.
        nodes: The order of the nodes: a permutation of ``source.nodes``. None: the order of ``source.nodes``.
        node_attributes: Names of the node attributes to keep. None: all.
        edge_attributes: Names of the edge attributes to keep. None: all.

    Returns:
        The graph, its node attributes ``[N, *]``, its edge attributes ``[E, *]``, and the order of the nodes. Python
        floats become float32, integers int64, booleans bool; NumPy and torch values keep their dtype.

    Raises:
        DataError: If an attribute is missing somewhere, is not numeric, or varies in shape; if ``nodes`` is no
            permutation of the nodes.
    """
    order: list[Hashable] = list(source.nodes if nodes is None else nodes)
    position = {node: index for index, node in enumerate(order)}
    if len(position) != source.number_of_nodes() or len(order) != len(position) or set(position) != set(source.nodes):
        raise DataError("nodes must list every node of the graph exactly once")
    edges = list(source.edges(data=True))
    if not source.is_directed():
        edges += [(v, u, values) for u, v, values in edges if u != v]
    ends = np.fromiter(chain.from_iterable((position[u], position[v]) for u, v, _ in edges), np.int64, 2 * len(edges))
    graph = Graph.from_edge_index(torch.from_numpy(ends.reshape(-1, 2).T.copy()), num_nodes=len(order))
    node_values = [source.nodes[node] for node in order]
    edge_values = [values for _, _, values in edges]
    return FromNetworkX(
        graph,
        _collect("node", order, node_values, node_attributes),
        _collect("edge", [(u, v) for u, v, _ in edges], edge_values, edge_attributes),
        order,
    )


def to_networkx(
    graph: Graph,
    node_attributes: dict[str, Tensor] | None = None,
    edge_attributes: dict[str, Tensor] | None = None,
    *,
    multigraph: bool | None = None,
) -> "networkx.DiGraph":
    """A directed NetworkX graph with nodes ``0 .. N - 1`` and an edge ``(u, v)`` for every edge ``u -> v``.

    Args:
        graph: Not bipartite.
        node_attributes: ``[N, *]`` by name. A row of one number becomes a Python number, a longer one a list.
        edge_attributes: ``[E, *]`` by name, in the caller's edge order.
        multigraph: Whether to make a ``MultiDiGraph``. None: where the graph has multi-edges.

    Returns:
        The graph; its edges are inserted in the caller's edge order.

    Raises:
        ShapeError: If the graph is bipartite, or an attribute has another number of rows.
        DataError: If ``multigraph`` is False and there are multi-edges, which would be lost.
    """
    import networkx

    num_nodes = graph.num_nodes
    ends = list(map(tuple, graph.edge_index.T.tolist()))
    repeated = len(set(ends)) < len(ends)
    if repeated and multigraph is False:
        raise DataError("the graph has multi-edges, which a DiGraph cannot hold; use multigraph=True")
    target = networkx.MultiDiGraph() if (repeated if multigraph is None else multigraph) else networkx.DiGraph()
    node_rows = _rows("node", node_attributes, num_nodes)
    edge_rows = _rows("edge", edge_attributes, len(ends))
    target.add_nodes_from(zip(range(num_nodes), node_rows, strict=True))
    target.add_edges_from((u, v, values) for (u, v), values in zip(ends, edge_rows, strict=True))
    return target


def _collect(
    what: str, owners: list[Any], values: list[dict[str, Any]], names: Sequence[str] | None
) -> dict[str, Tensor]:
    if names is None:
        names = list(dict.fromkeys(chain.from_iterable(values)))
    return {name: _column(what, name, owners, values) for name in names}


def _column(what: str, name: str, owners: list[Any], values: list[dict[str, Any]]) -> Tensor:
    missing = next((owner for owner, found in zip(owners, values, strict=True) if name not in found), None)
    if missing is not None:
        raise DataError(
            f"{what} {missing!r} has no attribute {name!r}, which others have; set it everywhere, or leave it out with "
            f"{what}_attributes=[...]"
        )
    rows = [found[name] for found in values]
    try:
        if rows and isinstance(rows[0], Tensor):
            return torch.stack(rows)
        column = np.asarray(rows)
        # NumPy widens Python floats to float64; models work in torch's default.
        narrow = column.dtype == np.float64 and not isinstance(rows[0], np.generic | np.ndarray)
        return torch.from_numpy(column.astype(np.float32) if narrow else column)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{what} attribute {name!r} does not make one numeric tensor ({error}); convert it, or leave it out with "
            f"{what}_attributes=[...]"
        ) from error


def _rows(what: str, attributes: dict[str, Tensor] | None, count: int) -> list[dict[str, Any]]:
    for name, value in (attributes or {}).items():
        if value.dim() == 0 or value.size(0) != count:
            raise ShapeError(
                f"{what} attribute {name!r} must have one row per {what}, {count}, got shape {tuple(value.shape)}"
            )
    columns = {name: value.detach().cpu().tolist() for name, value in (attributes or {}).items()}
    return [{name: column[row] for name, column in columns.items()} for row in range(count)]
