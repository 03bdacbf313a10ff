"""One more node, joined to all others."""

from typing import Any, Literal

import torch
from torch import Tensor

from gnnkit.compat.pyg import is_node_attribute
from gnnkit.errors import ConfigError
from gnnkit.geometry.simple_graph import SimpleGraph, check_range
from gnnkit.rewire._rewiring import Change, Fill, apply_change, checked_fill
from gnnkit.transforms.base import GraphTransform


class VirtualNode(GraphTransform):
    """Adds a node that is joined to every node, so that any two are at most two hops apart.

    Gilmer et al., "Neural message passing for quantum chemistry", 2017. The new node is the last one; its edges, one
    in each direction to every node (isolated ones too, so components are joined), are ``edge_type`` 1, all others 0.
    Edges are read and written as by every rewiring: both directions must be there, self-loops are kept, equal
    multi-edges are merged, the result is in order of source, then target.

    Tensors that hold one row per node get one more. It is 0 or False (so ``train_mask`` and the like leave the node
    out), or for floating attributes the mean of the other rows, as ``node_fill`` says. A ``y`` with one row per node
    gets a row of zeros, which ``virtual_node_mask`` tells from labels. What has one row per graph is left alone: for a
    graph of a single node, where the number of rows tells nothing, that is all but ``x``, ``pos``, ``z`` and names
    that hold ``node`` or end in ``_mask`` or ``_pe``. Lists and index attributes are left alone as well.

    A node attribute ``virtual_node_mask``, bool ``[N + 1]``, marks the new node, and that of an earlier transform. On
    a ``Batch`` each graph gets its own node; a graph without nodes gets one without edges.

    Args:
        node_fill: ``"zeros"`` or ``"mean"``: the features of the new node.
        edge_fill: What its edges get in edge attributes; see :class:`~gnnkit.rewire.Rewiring`.

    Raises:
        ConfigError: If an argument is none of those named.

    Determinism: exact; equivariant.
    Complexity: ``O(N + M log M)``.
    """

    def __init__(self, *, node_fill: Literal["zeros", "mean"] = "zeros", edge_fill: Fill | None = None) -> None:
        if node_fill not in ("zeros", "mean"):
            raise ConfigError(f"node_fill must be 'zeros' or 'mean', got {node_fill!r}")
        self.node_fill = node_fill
        self.edge_fill = checked_fill(edge_fill)

    def transform(self, data: Any) -> Any:
        """Adds the node to one graph."""
        num_nodes = int(data.num_nodes)
        graph = SimpleGraph.from_edge_index(data.edge_index, num_nodes + 1, allow_self_loops=True)
        check_range(data.edge_index, num_nodes)
        nodes = torch.arange(num_nodes)
        added = torch.stack([nodes, torch.full_like(nodes, num_nodes)])
        out = self._with_node(data, num_nodes)
        return apply_change(out, graph, Change(added), self.edge_fill, name="VirtualNode")

    def _with_node(self, data: Any, num_nodes: int) -> Any:
        out = data.__copy__()
        for key in list(data.keys()):
            if is_node_attribute(data, key, num_nodes):
                value = data[key]
                out[key] = torch.cat([value, self._row(key, value)])
        mask = out.get("virtual_node_mask")
        if mask is None:
            mask = torch.zeros(num_nodes + 1, dtype=torch.bool, device=data.edge_index.device)
        out.virtual_node_mask = mask.index_fill(0, torch.tensor([num_nodes], device=mask.device), True)
        if "num_nodes" in out:
            out.num_nodes = num_nodes + 1
        return out

    def _row(self, key: str, value: Tensor) -> Tensor:
        if self.node_fill == "mean" and value.is_floating_point() and key != "y" and value.size(0) > 0:
            return value.mean(0, keepdim=True)
        return value.new_zeros((1, *value.shape[1:]))
