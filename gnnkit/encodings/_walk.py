"""The weighted graph that random walks go on, as their operators take it."""

from typing import Any

import torch
from torch import Tensor

from gnnkit import Graph
from gnnkit.encodings._adjacency import checked_weights
from gnnkit.errors import DataError, IndexRangeError


def out_edges(data: Any, weight_attr: str | None, *, transform: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """The out-edges of each node, on the CPU.

    Returns:
        Their boundaries, int64 ``[N + 1]``; where they lead, int64 ``[E]``; and their weights, float64 ``[E]``, or None
        where all are 1.

    Raises:
        DataError: If ``edge_index`` leaves the range of the nodes, a weight is negative or not finite, or their sum is
            too large for float64.
        ShapeError: If ``edge_index`` is not ``[2, E]``, or there is not one weight per edge.
    """
    edge_index = data.edge_index.detach().cpu().long()
    try:
        # Rows of a graph are destinations: turned round, they are sources.
        graph = Graph.from_edge_index(edge_index.flip(0), int(data.num_nodes))
    except IndexRangeError as error:
        raise DataError(
            f"{transform}: data.edge_index leaves the range of the {data.num_nodes} nodes: it holds "
            f"{int(edge_index.min())} to {int(edge_index.max())}; mend it, or set data.num_nodes"
        ) from error
    given = None if weight_attr is None else data.get(weight_attr)
    if given is None:
        return graph.rowptr, graph.col, None
    weight = torch.from_numpy(checked_weights(given, graph.num_edges, f"{transform}: data.{weight_attr}"))
    if not bool(weight.sum().isfinite()):
        raise DataError(f"{transform}: the sum of data.{weight_attr} is too large for float64; scale the weights down")
    return graph.rowptr, graph.col, weight if graph.edge_id is None else weight.index_select(0, graph.edge_id)
