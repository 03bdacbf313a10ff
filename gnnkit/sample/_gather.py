"""The attributes of some nodes and edges of a ``Data``."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.compat.pyg import has_num_nodes
from gnnkit.errors import DataError
from gnnkit.graph import Graph
from gnnkit.sample._rows import Rows

_NODE, _EDGE, _GRAPH = "node", "edge", "graph"


def take(data: Any, n_id: Tensor, e_id: Tensor, edge_index: Tensor) -> Any:
    """A new ``Data`` of some nodes and edges, with the rows of the attributes that belong to them.

    A tensor or array with one row per node is a node attribute, one with one row per edge an edge attribute; where
    there are as many nodes as edges, those with ``edge`` in their name are of the edges. Anything else belongs to the
    graph and is taken over as it is, but for a :class:`~gnnkit.Graph`, which goes. Rows of a
    :class:`~gnnkit.sample.store.FeatureStore` are gathered as those of a tensor are.

    Args:
        data: The whole graph; nothing in it is changed.
        n_id: Its nodes that are taken, in the order in which they become nodes, int64 ``[n]``.
        e_id: Its edges that are taken, int64 ``[e]``.
        edge_index: Their ends as places in ``n_id``, ``[2, e]``.

    Returns:
        ``Data`` with ``edge_index``, ``num_nodes``, ``n_id``, ``e_id`` and the attributes of ``data``; what is gathered
        stays on its device.

    Raises:
        DataError: If ``data`` holds what a part of a graph cannot have: other indices of nodes than ``edge_index``, a
            sparse matrix, or the boundaries of a ``Batch``.

    Determinism: exact.
    Complexity: the size of what is gathered.
    """
    held = data.to_dict()
    graph = given_graph(data)
    num_nodes, num_edges = int(data.num_nodes), held["edge_index"].size(1) if graph is None else graph.num_edges
    out: dict[str, Any] = {"edge_index": edge_index, "num_nodes": n_id.numel(), "n_id": n_id, "e_id": e_id}
    for name, value in held.items():
        if name in out or isinstance(value, Graph):
            continue
        kind = _kind(name, value, num_nodes, num_edges)
        out[name] = value if kind == _GRAPH else _rows(value, n_id if kind == _NODE else e_id)
    return Data.from_dict(out)


def given_graph(data: Any) -> Graph | None:
    """``data.graph`` where it stands in for ``data.edge_index``, which is missing; else None.

    Raises:
        DataError: If it has not as many nodes as ``data``.
    """
    graph = getattr(data, "graph", None)
    if not isinstance(graph, Graph) or getattr(data, "edge_index", None) is not None:
        return None
    if not has_num_nodes(data) or int(data.num_nodes) != graph.num_src or graph.num_src != graph.num_dst:
        raise DataError(
            f"data.num_nodes must be set to the number of nodes of data.graph, which leads from "
            f"{graph.num_src} nodes to {graph.num_dst}; a bipartite graph cannot be sampled from"
        )
    return graph


def index_like(data: Any) -> Tensor:
    """What has the dtype and device of the ``edge_index`` of batches: that of ``data``, else int64 on the CPU."""
    return torch.empty(2, 0, dtype=torch.int64) if data.edge_index is None else data.edge_index


def ends_of(graph: Graph, like: Tensor) -> Tensor:
    """``edge_index`` of a graph whose edges are in order of target, of the dtype and on the device of ``like``."""
    # What graph.edge_index holds; but it is written once, where the indices of the graph are of another dtype.
    ends = torch.empty(2, graph.num_edges, dtype=like.dtype)
    ends[0] = graph.col
    ends[1] = torch.repeat_interleave(graph.rowptr.diff().to(like.dtype), output_size=graph.num_edges)
    return ends.to(like.device)


def edges_at(graph: Graph, position: Tensor) -> Tensor:
    """The caller's numbers of the edges at some positions, int64."""
    return position if graph.edge_id is None else graph.edge_id.index_select(0, position).long()


def check_parts(data: Any) -> None:
    """Raises DataError where :func:`take` would, so that a sampler can say so when it is made."""
    nothing = torch.empty(0, dtype=torch.int64)
    take(data, nothing, nothing, nothing.new_empty(2, 0))


def _kind(name: str, value: object, num_nodes: int, num_edges: int) -> str:
    if isinstance(value, Rows) and len(value) not in (num_nodes, num_edges):
        raise DataError(
            f"data.{name} has {len(value)} rows, which are those of neither {num_nodes} nodes nor {num_edges} edges"
        )
    if not isinstance(value, (Tensor, np.ndarray, Rows)):
        return _GRAPH
    if isinstance(value, Tensor) and value.layout != torch.strided:
        raise DataError(f"data.{name} is a sparse matrix, which does not follow nodes into a subgraph; delete it")
    if "index" in name or name in ("face", "ptr"):
        raise DataError(
            f"data.{name} holds numbers of nodes, which mean others in a subgraph; delete it, or sample one graph at "
            "a time where data is a Batch"
        )
    if not isinstance(value, Rows) and value.ndim == 0:
        return _GRAPH
    of_node, of_edge = len(value) == num_nodes, len(value) == num_edges
    if of_node and not (of_edge and "edge" in name):
        return _NODE
    return _EDGE if of_edge else _GRAPH


def _rows(value: Any, number: Tensor) -> Any:
    if isinstance(value, Rows):
        return value.gather(number)
    if isinstance(value, Tensor):
        return value.index_select(0, number.to(value.device))
    return value[number.cpu().numpy()]
