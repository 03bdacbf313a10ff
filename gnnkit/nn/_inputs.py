"""Checks that every layer makes of what it is given."""

from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph

NodeFeatures = Tensor | tuple[Tensor, Tensor | None]
"""Features of one node set, or of the sources and of the destinations (None where the layer needs none of them)."""


def node_features(x: Tensor, graph: Graph, *, layer: str, width: int) -> Tensor:
    """Checks the features of a layer that takes one node set only; returns ``x``.

    Raises:
        ShapeError: If ``x`` is a pair, the graph is bipartite, or ``x`` is not ``[N, width]``.
    """
    if not isinstance(x, Tensor):
        raise ShapeError(
            f"{layer} works on one set of nodes, got a {type(x).__name__} for x; "
            "SAGEConv, GINConv, GINEConv and ResGatedGraphConv take a pair (x_src, x_dst)"
        )
    if graph.num_src != graph.num_dst:
        raise ShapeError(
            f"{layer} works on one set of nodes, got a graph of {graph.num_src} sources and {graph.num_dst} "
            "destinations; SAGEConv, GINConv, GINEConv and ResGatedGraphConv take such a graph"
        )
    _check_features("x", x, graph.num_src, "node", width, layer)
    return x


def endpoint_features(
    x: NodeFeatures, graph: Graph, *, layer: str, widths: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor | None]:
    """Features of the sources and of the destinations: ``(x, x)`` for one node set, the pair itself otherwise.

    Raises:
        ShapeError: If rows do not fit the graph, ``x`` is one tensor and the graph is bipartite, or the features are
            not ``[num_src, widths[0]]`` and ``[num_dst, widths[1]]``.
    """
    source, destination = widths or (None, None)
    if isinstance(x, Tensor):
        if graph.num_src != graph.num_dst:
            raise ShapeError(
                f"{layer} was given one feature tensor and a graph of {graph.num_src} sources and {graph.num_dst} "
                "destinations; give a pair (x_src, x_dst)"
            )
        _check_features("x", x, graph.num_src, "node", source, layer)
        return x, x
    if not isinstance(x, tuple) or len(x) != 2 or not isinstance(x[0], Tensor):
        raise ShapeError(f"{layer} needs x to be a tensor or a pair (x_src, x_dst), got {type(x).__name__}")
    _check_features("x_src", x[0], graph.num_src, "source", source, layer)
    if x[1] is not None:
        _check_features("x_dst", x[1], graph.num_dst, "destination", destination, layer)
    return x


def edge_features(edge_attr: Tensor | None, graph: Graph, *, layer: str, width: int | None = None) -> Tensor:
    """Checks edge features that a layer cannot do without; returns them as ``[E, width]``.

    Raises:
        ShapeError: If they are missing, have another number of rows than the graph has edges, or another width.
    """
    if edge_attr is None:
        raise ShapeError(
            f"{layer} needs edge features, edge_attr of shape [{graph.num_edges}, {width or 'edge_dim'}], got None"
        )
    if edge_attr.dim() == 1:
        edge_attr = edge_attr.unsqueeze(-1)
    check_rows("edge_attr", edge_attr, graph.num_edges, "edge")
    if width is not None and edge_attr.size(-1) != width:
        raise ShapeError(
            f"{layer} needs edge features of width {width}, got edge_attr of shape {tuple(edge_attr.shape)}; "
            "project them first (GINEConv and ResGatedGraphConv do so with edge_dim=...)"
        )
    return edge_attr


def edge_weights(edge_attr: Tensor | None, graph: Graph, *, layer: str) -> Tensor | None:
    """Checks one weight per edge, ``[E]`` or ``[E, 1]``; returns ``[E]``, or None where there are no weights.

    Raises:
        ShapeError: If there is not exactly one number per edge.
    """
    if edge_attr is None:
        return None
    if edge_attr.dim() == 2 and edge_attr.size(1) == 1:
        edge_attr = edge_attr.squeeze(1)
    if edge_attr.dim() != 1 or edge_attr.size(0) != graph.num_edges:
        raise ShapeError(
            f"{layer} takes one weight per edge, [{graph.num_edges}], got shape {tuple(edge_attr.shape)}; "
            "EdgeSumConv, GINEConv and GatedGCNConv use edge features"
        )
    return edge_attr


def no_edge_features(edge_attr: Tensor | None, *, layer: str) -> None:
    """Raises ConfigError where edge features are given to a layer that would drop them silently."""
    if edge_attr is not None:
        raise ConfigError(
            f"{layer} does not use edge features, got edge_attr of shape {tuple(edge_attr.shape)}; leave it out, or "
            "use EdgeSumConv, GINEConv or GatedGCNConv"
        )


def check_rows(name: str, value: Tensor, rows: int, what: str) -> None:
    """Raises ShapeError where ``value`` has not one row per node, edge, ..."""
    if value.dim() == 0 or value.size(0) != rows:
        raise ShapeError(f"{name} must have one row per {what}, {rows}, got shape {tuple(value.shape)}")


def _check_features(name: str, value: Tensor, rows: int, what: str, width: int | None, layer: str) -> None:
    check_rows(name, value, rows, what)
    if width is not None and (value.dim() != 2 or value.size(1) != width):
        raise ShapeError(f"{layer} needs {name} of shape [{rows}, {width}], got {tuple(value.shape)}")
