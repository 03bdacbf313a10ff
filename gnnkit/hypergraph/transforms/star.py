"""Hypergraphs as bipartite graphs."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.compat.pyg import is_node_attribute
from gnnkit.errors import DataError, ShapeError
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.hypergraph.transforms._expansion import Expansion, check_hyperedge_rows
from gnnkit.ops._checks import describe


def star_expansion(hypergraph: Hypergraph) -> Tensor:
    """Joins every hyperedge, which becomes a node of its own, with its nodes.

    Args:
        hypergraph: The hypergraph, of ``N`` nodes.

    Returns:
        ``edge_index`` ``[2, 2 nnz]`` on ``N + M`` nodes, where hyperedge ``e`` is node ``N + e``: first from nodes to
        hyperedges, then back, each in the caller's order of incidences.

    Raises:
        ShapeError: If int32 indices cannot count that many nodes.

    Determinism: bitwise.
    Complexity: ``O(nnz)`` time and memory.
    """
    node, hyperedge = hypergraph.hyperedge_index
    if node.dtype == torch.int32 and hypergraph.num_nodes + hypergraph.num_hyperedges > torch.iinfo(torch.int32).max:
        raise ShapeError("nodes and hyperedges together are too many for int32 indices; use int64")
    forward = torch.stack([node, hyperedge + hypergraph.num_nodes])
    return torch.cat([forward, forward.flip(0)], dim=1)


class StarExpansion(Expansion):
    """Turns a hypergraph into a bipartite graph of its nodes, then its hyperedges; see :func:`star_expansion`.

    A bool attribute ``star_centre_mask``, ``[N + M]``, marks the nodes that were hyperedges. ``hyperedge_attr`` becomes
    their ``x``, and has to fit that of the nodes; without it they get zeros, as in all other attributes of nodes (False
    in masks). ``hyperedge_weight`` becomes ``edge_weight``, in both directions.

    Determinism: bitwise; equivariant in nodes and hyperedges.
    Complexity: ``O(nnz + N + M)`` time and memory.
    """

    def transform(self, data: Any) -> Data:
        """The expansion of one hypergraph.

        Raises:
            DataError: If ``hyperedge_attr`` and ``x`` do not fit together.
        """
        hypergraph = Hypergraph.from_data(data)
        num_nodes, num_hyperedges = hypergraph.num_nodes, hypergraph.num_hyperedges
        edge_index, attributes = star_expansion(hypergraph), self.attributes(data)
        for key, value in attributes.items():
            if is_node_attribute(data, key, num_nodes):
                attributes[key] = torch.cat([value, value.new_zeros((num_hyperedges, *value.shape[1:]))])
        if (centre := data.get("hyperedge_attr")) is not None:
            check_hyperedge_rows(centre, num_hyperedges, "hyperedge_attr")
            x = data.get("x")
            if x is None or x.shape[1:] != centre.shape[1:] or x.dtype != centre.dtype:
                found = "no x" if x is None else describe(x)
                raise DataError(
                    f"hyperedge_attr ({describe(centre)}) and x ({found}) become features of the same kind of node and "
                    "must have the same width and dtype; map them first, or remove hyperedge_attr"
                )
            attributes["x"] = torch.cat([x, centre])
        if (weight := data.get("hyperedge_weight")) is not None:
            check_hyperedge_rows(weight, num_hyperedges, "hyperedge_weight")
            attributes["edge_weight"] = weight.index_select(0, hypergraph.hyperedge_index[1]).repeat(
                2, *(1,) * (weight.dim() - 1)
            )
        number = torch.arange(num_nodes + num_hyperedges, device=edge_index.device)
        attributes["star_centre_mask"] = number >= num_nodes
        return Data(edge_index=edge_index, num_nodes=num_nodes + num_hyperedges, **attributes)
