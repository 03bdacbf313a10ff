"""Hypergraphs as graphs of their incidences."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import ops
from gnnkit.compat.pyg import is_node_attribute
from gnnkit.errors import DataError
from gnnkit.graph import Graph
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.hypergraph.transforms._expansion import Expansion, check_hyperedge_rows


def line_expansion(hypergraph: Hypergraph) -> Tensor:
    """Joins incidences that have their node or their hyperedge in common.

    Yang et al., "Semi-supervised Hypergraph Node Classification on Hypergraph Line Expansion", CIKM 2022.

    Args:
        hypergraph: The hypergraph.

    Returns:
        ``edge_index`` ``[2, P]`` on ``nnz`` vertices, numbered in the caller's order of incidences: both directions of
        every edge, each pair once, without self-loops, in order of source, then destination.

    Determinism: bitwise.
    Complexity: ``O(sum of |e|^2 + sum of d_v^2)`` time and memory.
    """
    node, hyperedge = hypergraph.hyperedge_index
    vertex = torch.arange(node.numel(), dtype=node.dtype, device=node.device)
    # One matrix with two ones per vertex, at its node and at its hyperedge: its square by rows counts what is shared.
    ends = torch.cat([node, hyperedge + hypergraph.num_nodes])
    membership = Graph.from_edge_index(
        torch.stack([ends, vertex.repeat(2)]),
        num_src=hypergraph.num_nodes + hypergraph.num_hyperedges,
        num_dst=node.numel(),
    )
    shared, _ = ops.spgemm(membership, membership.transpose(), sort=True)
    pairs = torch.stack([shared.dst_of_position(), shared.col])
    return pairs[:, pairs[0] != pairs[1]]


class LineExpansion(Expansion):
    """Turns a hypergraph into the graph of its incidences; see :func:`line_expansion`.

    Vertex ``i`` is column ``i`` of ``hyperedge_index`` and gets the rows of its node in all attributes of nodes, ``y``
    and masks included, and those of its hyperedge: ``hyperedge_attr`` as ``incidence_attr`` and ``hyperedge_weight`` as
    ``incidence_weight``. Nodes without hyperedges and empty hyperedges have no vertex. A mean over the vertices of a
    node, ``ops.scatter(out, hyperedge_index[0], N, reduce="mean")``, leads back to the nodes.

    Determinism: bitwise; equivariant in incidences.
    Complexity: ``O(sum of |e|^2 + sum of d_v^2)`` time and memory.
    """

    def check(self, data: Any) -> None:
        """Raises DataError where there are edges already, or indices of nodes."""
        super().check(data)
        for key in data.keys():  # noqa: SIM118
            if "index" in key and key != "hyperedge_index":
                raise DataError(f"LineExpansion: data.{key} counts nodes, which are gone afterwards; remove it first")

    def transform(self, data: Any) -> Data:
        """The expansion of one hypergraph."""
        hypergraph = Hypergraph.from_data(data)
        node, hyperedge = hypergraph.hyperedge_index
        attributes = self.attributes(data)
        for key, value in attributes.items():
            if is_node_attribute(data, key, hypergraph.num_nodes):
                attributes[key] = value.index_select(0, node)
        for key, name in (("hyperedge_attr", "incidence_attr"), ("hyperedge_weight", "incidence_weight")):
            if (value := data.get(key)) is not None:
                check_hyperedge_rows(value, hypergraph.num_hyperedges, key)
                attributes[name] = value.index_select(0, hyperedge)
        return Data(edge_index=line_expansion(hypergraph), num_nodes=node.numel(), **attributes)
