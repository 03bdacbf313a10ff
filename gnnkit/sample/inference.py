"""Inference on a whole graph, layer by layer, in the memory of a part of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn.conv import GCNConv
from gnnkit.ops._checks import check_count
from gnnkit.sample._gather import edges_at
from gnnkit.sample._targets import topology_of

Layer = Callable[..., Any]


def layerwise_inference(
    layers: Sequence[Layer],
    data: Any,
    *,
    batch_size: int = 4096,
    hops: int | None = None,
    edge_attr: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    r"""What a stack of layers gives on the whole graph, without the whole graph in any of them.

    Each layer is computed for all nodes before the next one, for ``batch_size`` nodes at a time with all of their
    in-edges, and nothing is sampled. Features of all nodes are held for two layers at a time, messages and intermediate
    results only for one part.

    A layer is called as ``layer(x, graph, edge_attr)`` on a part, and its first rows are kept. So a row must depend on
    its own features, those of its in-edges, their sources, and nothing else but what ``hops`` allows: no batch
    normalisation with statistics of the batch, no attention to all nodes. Modules are in evaluation mode meanwhile, and
    no gradient is recorded.

    Args:
        layers: Modules, or functions such as ``lambda x, graph, edge_attr: conv(x, graph).relu()``.
        data: The graph, with ``x``, ``[N, F]``.
        batch_size: Nodes of a part.
        hops: How far away topology may matter to a row: with 2, the sources of its in-edges have all of their in-edges
            as well, which layers need that read degrees of sources. None: 1 for a module without a ``GCNConv`` that
            normalises, and 2 for others, and for functions, which cannot be looked into.
        edge_attr: Passed on to the layers, one row per edge, ``[E, *]``. A layer that returns a pair, of nodes and
            edges, gives the next one its ``edge_attr``.
        device: Where layers run; they must be there. None: where ``data.x`` is. Results are there where ``data.x`` is.

    Returns:
        The output of the last layer, ``[N, *]``.

    Raises:
        ConfigError: If ``layers`` is empty, or ``batch_size`` or ``hops`` is out of range.
        ShapeError: If ``x`` or ``edge_attr`` has the wrong number of rows, or a layer does not give a row per node.

    Determinism: the same bits as the layers on the whole graph wherever a row of each operation depends on its inputs
    alone, which sums, extrema and softmax over in-edges do; matrix products of torch may round differently for another
    number of rows.
    Complexity: a node is computed as a row of its own part, and once more in each part that it is a source in;
    ``O(N F)`` memory besides one part; with ``hops=2``, the in-edges of the sources come to each part.
    """
    if len(layers) == 0:
        raise ConfigError("layers must hold at least one layer")
    check_count("batch_size", batch_size, 1)
    if hops is not None:
        check_count("hops", hops, 1)
    graph = topology_of(data)
    x = getattr(data, "x", None)
    for name, value, rows in (("data.x", x, graph.num_nodes), ("edge_attr", edge_attr, graph.num_edges)):
        if name == "edge_attr" and value is None:
            continue
        if not isinstance(value, Tensor) or value.dim() == 0 or value.size(0) != rows:
            given = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(f"{name} must be a tensor with {rows} rows, got {given}")
    assert isinstance(x, Tensor)  # what has been checked above
    target = x.device if device is None else torch.device(device)
    with torch.no_grad(), _evaluation(layers):
        for layer in layers:
            x, edge_attr = _apply(layer, graph, x, edge_attr, batch_size, hops or _hops_of(layer), target)
    return x


def _apply(
    layer: Layer, graph: Graph, x: Tensor, edge_attr: Tensor | None, batch_size: int, hops: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """One layer for all nodes."""
    out = new_edge = torch.empty(0)
    pairs = False
    # An empty graph has one part, without nodes: it tells the width of the output.
    for begin in range(0, max(graph.num_nodes, 1), batch_size):
        size = min(batch_size, graph.num_nodes - begin)
        nodes, edges, part, own_edges = _part(graph, begin, size, hops)
        features = x.index_select(0, nodes.to(x.device)).to(device)
        attributes = None if edge_attr is None else edge_attr.index_select(0, edges.to(edge_attr.device)).to(device)
        found = layer(features, part.to(device), attributes)
        rows, edge_rows = found if isinstance(found, tuple) else (found, None)
        pairs = edge_rows is not None
        if rows.size(0) != nodes.numel():
            raise ShapeError(f"a layer must give one row per node, {nodes.numel()}, got shape {tuple(rows.shape)}")
        if begin == 0:
            out = rows.new_empty((graph.num_nodes, *rows.shape[1:]), device=x.device)
        out[begin : begin + size] = rows[:size]
        if edge_rows is not None:
            if begin == 0:
                new_edge = edge_rows.new_empty((graph.num_edges, *edge_rows.shape[1:]), device=x.device)
            new_edge[edges[:own_edges].to(x.device)] = edge_rows[:own_edges].to(x.device)
    return out, new_edge if pairs else edge_attr


def _part(graph: Graph, begin: int, size: int, hops: int) -> tuple[Tensor, Tensor, Graph, int]:
    """Nodes from ``begin`` on with all nodes that reach them within ``hops``, and all edges on the way.

    Returns:
        Nodes and edges of the graph, the part, and how many of its first edges arrive at its first nodes.
    """
    seeds, everything = torch.arange(begin, begin + size), torch.full((hops,), -1)
    node, _, source, target, position, _, per_hop = torch.ops.gnnkit.neighbor_sample(
        graph.rowptr, graph.col, seeds, everything, False, False, 0
    )
    part = Graph.from_edge_index(torch.stack([source, target]), node.numel())
    return node, edges_at(graph, position), part, int(per_hop[0])


def _hops_of(layer: Layer) -> int:
    if not isinstance(layer, torch.nn.Module):
        return 2
    return 2 if any(isinstance(part, GCNConv) and part.normalize for part in layer.modules()) else 1


@contextmanager
def _evaluation(layers: Sequence[Layer]) -> Iterator[None]:
    modules = [part for layer in layers if isinstance(layer, torch.nn.Module) for part in layer.modules()]
    training = [part.training for part in modules]
    try:
        for part in modules:
            part.training = False
        yield
    finally:
        for part, was in zip(modules, training, strict=True):
            part.training = was
