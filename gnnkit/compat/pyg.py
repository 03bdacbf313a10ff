"""Between a :class:`Graph` and PyTorch Geometric's ``Data``."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gnnkit.errors import DataError
from gnnkit.graph import Graph

if TYPE_CHECKING:
    from torch_geometric.data import Data

_NODE_ATTRIBUTES = {"x", "pos", "z"}


def from_pyg(data: "Data") -> tuple[Graph, dict[str, Any]]:
    """The topology of a ``Data``, and everything else in it.

    Column ``e`` of ``edge_index`` is an edge from ``edge_index[0, e]`` to ``edge_index[1, e]`` on both sides, in the
    same order, so that edge attributes fit without a change.

    Args:
        data: With ``edge_index`` ``[2, E]`` and a number of nodes: ``num_nodes``, or node features to tell it.

    Returns:
        The graph, and the attributes by name (node, edge and graph attributes alike; the tensors are shared).

    Raises:
        DataError: If there is no ``edge_index``, or nothing tells the number of nodes.
        IndexRangeError: If an edge leaves the range of the nodes.
    """
    if not isinstance(data.edge_index, Tensor):
        raise DataError("data.edge_index is missing; a graph without edges has torch.empty((2, 0), dtype=torch.int64)")
    attributes = {key: value for key, value in data.to_dict().items() if key not in ("edge_index", "num_nodes")}
    if not has_num_nodes(data):
        raise DataError(
            "data tells its number of nodes neither by num_nodes nor by a node attribute; set data.num_nodes, "
            "since the largest index would lose trailing isolated nodes"
        )
    return Graph.from_edge_index(data.edge_index, num_nodes=data.num_nodes), attributes


def to_pyg(graph: Graph, attributes: dict[str, Any] | None = None) -> "Data":
    """A ``Data`` with the topology of ``graph`` and the given attributes.

    Args:
        graph: Not bipartite.
        attributes: Node, edge and graph attributes by name, edge attributes in the caller's edge order.

    Returns:
        ``Data`` with ``edge_index`` in the caller's edge order, and ``num_nodes``.

    Raises:
        ShapeError: If the graph is bipartite.
    """
    from torch_geometric.data import Data

    return Data(edge_index=graph.edge_index, num_nodes=graph.num_nodes, **(attributes or {}))


def has_num_nodes(data: Any) -> bool:
    """Whether a ``Data`` tells its number of nodes without a guess from the largest index."""
    # A plain dictionary: asking ``data`` itself costs tens of microseconds for each name that it has not.
    held = data.to_dict()
    if isinstance(held.get("x"), Tensor) or any(
        held.get(name) is not None for name in ("num_nodes", "_num_nodes", "ptr")
    ):
        return True
    return any(data.is_node_attr(key) for key in held if key != "edge_index")


def edge_attributes(data: Any) -> dict[str, Tensor]:
    """What holds one row per column of ``edge_index``, by name.

    These are the attributes that PyTorch Geometric takes to be of the edges by their name (``edge_attr``,
    ``edge_weight`` and others with ``edge`` in it, ``edge_label`` and ``edge_label_index`` excepted).
    """
    num_columns = data.edge_index.size(1)
    found = {}
    for key in data.keys():  # noqa: SIM118
        value = data[key]
        aligned = isinstance(value, Tensor) and value.dim() > 0 and value.size(0) == num_columns
        if "edge" in key and not key.startswith("edge_label") and key != "edge_index" and aligned:
            found[key] = value
    return found


def is_node_attribute(data: Any, name: str, num_nodes: int) -> bool:
    """Whether an attribute holds one row per node.

    Index attributes and what belongs to edges by its name do not. In a graph of one node, where the number of rows
    tells nothing, ``x``, ``pos``, ``z`` and names that hold ``node`` or end in ``_mask`` or ``_pe`` do.
    """
    value = data[name]
    if not isinstance(value, Tensor) or value.dim() == 0 or value.size(0) != num_nodes:
        return False
    if name == "num_nodes" or "edge" in name or "index" in name:
        return False
    if num_nodes == 1:
        return name in _NODE_ATTRIBUTES or "node" in name or name.endswith(("_mask", "_pe"))
    return True


def put_node_attribute(data: Any, name: str, value: Tensor) -> None:
    """Sets a node attribute; on a ``Batch`` so that its graphs can be taken apart again."""
    data[name] = value
    _put_slices(data, name, getattr(data, "ptr", None))


def replace_edges(data: Any, edge_index: Tensor, attributes: dict[str, Tensor]) -> None:
    """Replaces the edges of a ``Data``, and drops what belonged to the old ones.

    These are the :func:`edge_attributes`, and a cached :class:`Graph`. On a ``Batch`` the new edges must be ordered by
    graph.
    """
    of_old_edges = edge_attributes(data)
    for key in list(data.keys()):
        if key in of_old_edges or isinstance(data[key], Graph):
            del data[key]
    data.edge_index = edge_index
    ptr = getattr(data, "ptr", None)
    slices = None if ptr is None else torch.searchsorted(edge_index[0].contiguous(), ptr.to(edge_index.dtype))
    _put_slices(data, "edge_index", slices, increments=ptr)
    for name, value in attributes.items():
        data[name] = value
        _put_slices(data, name, slices)


def put_edge_attribute(data: Any, name: str, value: Tensor) -> None:
    """Sets an attribute with one row per column of ``edge_index``; on a ``Batch`` so that it comes apart again."""
    data[name] = value
    _put_slices(data, name, (getattr(data, "_slice_dict", None) or {}).get("edge_index"))


def put_pairs(data: Any, name: str, index: Tensor, attributes: dict[str, Tensor]) -> None:
    """Sets pairs of nodes ``[2, P]`` and attributes with one row per pair; on a ``Batch`` so that they come apart.

    On a ``Batch`` the pairs must be ordered by graph. ``name`` must have ``index`` in it, by which PyTorch Geometric
    knows that it holds nodes.
    """
    ptr, slices = getattr(data, "ptr", None), None
    if ptr is not None:
        ptr = ptr.to(index)
        graph = torch.searchsorted(ptr, index[0].contiguous(), right=True) - 1
        slices = torch.searchsorted(graph, torch.arange(ptr.numel(), device=ptr.device))
    data[name] = index
    _put_slices(data, name, slices, increments=ptr)
    for key, value in attributes.items():
        data[key] = value
        _put_slices(data, key, slices)


def _put_slices(data: Any, name: str, slices: Tensor | None, increments: Tensor | None = None) -> None:
    slice_dict, inc_dict = getattr(data, "_slice_dict", None), getattr(data, "_inc_dict", None)
    if slice_dict is None or slices is None:
        return
    # A transform works on a shallow copy, which shares these tables with the original.
    data.__dict__["_slice_dict"] = {**slice_dict, name: slices.cpu()}
    if inc_dict is not None:
        added = slices.new_zeros(slices.numel() - 1) if increments is None else increments[:-1]
        data.__dict__["_inc_dict"] = {**inc_dict, name: added.cpu()}
