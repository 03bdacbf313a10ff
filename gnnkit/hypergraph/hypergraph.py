"""The hypergraph: which nodes belong to which hyperedges, checked once and immutable."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.compat.pyg import has_num_nodes
from gnnkit.errors import DataError, ShapeError
from gnnkit.geometry.simple_graph import grouped_pairs
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_float, check_graphs, check_index, check_index_range, check_size, describe

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True, eq=False, repr=False)
class Hypergraph:
    r"""Incidences of nodes and hyperedges, in compressed rows both ways.

    The incidence matrix :math:`H` has one row per node and one column per hyperedge, and :math:`H_{ve}` counts the
    incidences of node :math:`v` with hyperedge :math:`e`. Nodes without hyperedges, empty hyperedges, hyperedges of one
    node, zero hyperedges and zero nodes are all legal, and keep their rows: the counts are given, never inferred from
    the largest index. The same incidence given twice counts twice, as a multi-edge does; :meth:`coalesce` keeps one.
    Tensors that hold one row per incidence are always given and returned in the caller's order.

    Attributes:
        to_hyperedges: The bipartite graph from nodes (sources) to hyperedges (destinations). ``ops.spmm`` on it is
            :math:`H^\top X`.

    Raises:
        DtypeError: If ``to_hyperedges`` is no :class:`gnnkit.Graph`.
    """

    to_hyperedges: Graph

    def __post_init__(self) -> None:
        """Checks the type; a graph has checked itself."""
        check_graphs(to_hyperedges=self.to_hyperedges)

    @staticmethod
    def from_incidence(hyperedge_index: Tensor, *, num_nodes: int, num_hyperedges: int) -> "Hypergraph":
        """Builds a hypergraph from the list of its incidences.

        Args:
            hyperedge_index: Nodes ``hyperedge_index[0]`` and the hyperedges they belong to, ``hyperedge_index[1]``,
                ``[2, nnz]``, int32 or int64, in any order.
            num_nodes: Number of nodes, ``N``.
            num_hyperedges: Number of hyperedges, ``M``.

        Raises:
            ShapeError: If ``hyperedge_index`` is not ``[2, nnz]``, is not int32 or int64, or a count is no size.
            IndexRangeError: If an index is negative or not below its count; it names the incidence.

        Determinism: bitwise. The nodes of a hyperedge keep the caller's order; the hyperedges of a node ascend.
        Complexity: ``O(nnz + N + M)`` time and memory.
        """
        num_nodes, num_hyperedges = check_size("num_nodes", num_nodes), check_size("num_hyperedges", num_hyperedges)
        check_index("hyperedge_index", hyperedge_index, dim=2)
        if hyperedge_index.size(0) != 2:
            raise ShapeError(
                f"hyperedge_index must have shape [2, nnz] (nodes, hyperedges), got {tuple(hyperedge_index.shape)}; "
                "a list of pairs is transposed with hyperedge_index.t().contiguous()"
            )
        check_index_range("hyperedge_index[0]", hyperedge_index[0], num_nodes, "num_nodes")
        check_index_range("hyperedge_index[1]", hyperedge_index[1], num_hyperedges, "num_hyperedges")
        return Hypergraph(Graph.from_edge_index(hyperedge_index, num_src=num_nodes, num_dst=num_hyperedges))

    @staticmethod
    def from_data(data: "Data") -> "Hypergraph":
        """Builds the hypergraph of a :class:`HyperData`, of a ``Batch`` of them, or of a ``Data`` with the same names.

        Args:
            data: With ``hyperedge_index`` ``[2, nnz]``, ``num_hyperedges``, and a number of nodes: ``num_nodes``, or
                node features to tell it.

        Returns:
            The hypergraph; that of a ``Batch`` holds its graphs side by side.

        Raises:
            DataError: If one of these is missing, or ``data`` is a ``Batch`` of ``Data`` that are no ``HyperData``:
                PyTorch Geometric then counts on hyperedges by the number of nodes.
            ShapeError, IndexRangeError: As in :meth:`from_incidence`.
        """
        from torch_geometric.data import Batch

        from gnnkit.hypergraph.data import HyperData, count_hyperedges

        held: dict[str, Any] = data.to_dict()
        if not isinstance(held.get("hyperedge_index"), Tensor):
            raise DataError(
                "data.hyperedge_index is missing; a hypergraph without incidences has "
                "torch.empty((2, 0), dtype=torch.int64)"
            )
        if isinstance(data, Batch) and not isinstance(data, HyperData):
            raise DataError(
                "a Batch of Data counts hyperedges on by the number of nodes; make its items gnnkit.hypergraph."
                "HyperData before batching"
            )
        if held.get("num_hyperedges") is None:
            raise DataError(
                "data.num_hyperedges is missing; set it, since the largest index would lose trailing empty hyperedges"
            )
        if not has_num_nodes(data):
            raise DataError(
                "data tells its number of nodes neither by num_nodes nor by a node attribute; set data.num_nodes, "
                "since the largest index would lose trailing isolated nodes"
            )
        num_nodes = data.num_nodes
        assert num_nodes is not None  # as has_num_nodes found
        return Hypergraph.from_incidence(
            held["hyperedge_index"], num_nodes=num_nodes, num_hyperedges=count_hyperedges(held["num_hyperedges"])
        )

    @property
    def to_nodes(self) -> Graph:
        r"""The bipartite graph from hyperedges (sources) to nodes (destinations); computed once, then kept.

        ``ops.spmm`` on it is :math:`H Z`.
        """
        return self.to_hyperedges.transpose()

    @property
    def num_nodes(self) -> int:
        """Number of nodes, ``N``."""
        return self.to_hyperedges.num_src

    @property
    def num_hyperedges(self) -> int:
        """Number of hyperedges, ``M``."""
        return self.to_hyperedges.num_dst

    @property
    def num_incidences(self) -> int:
        """Number of incidences, repeated ones counted each, ``nnz``."""
        return self.to_hyperedges.num_edges

    @property
    def device(self) -> torch.device:
        """Where the incidences live."""
        return self.to_hyperedges.device

    @property
    def hyperedge_index(self) -> Tensor:
        """Nodes and hyperedges in the caller's order of incidences, ``[2, nnz]``."""
        return self.to_hyperedges.edge_index

    def node_degree(self, weight: Tensor | None = None) -> Tensor:
        r"""Degree of each node: its number of incidences, or the weight of its hyperedges.

        .. math:: d_v = \sum_e w_e H_{ve}

        Args:
            weight: Weight of each hyperedge, ``[M]``. None: all ones.

        Returns:
            ``[N]``: counts in the dtype of the index, or sums in that of ``weight``, differentiable in it.

        Raises:
            ShapeError: If ``weight`` is not ``[M]``, or of no supported floating dtype.

        Determinism: bitwise.
        Complexity: ``O(N)``, with a weight ``O(N + nnz)``.
        """
        if weight is None:
            return self.to_nodes.in_degree()
        check_hyperedge_weight("weight", weight, self.num_hyperedges)
        return ops.spmm(self.to_nodes, weight.unsqueeze(1)).squeeze(1)

    def hyperedge_degree(self) -> Tensor:
        r"""Size of each hyperedge, :math:`b_e = \sum_v H_{ve}`, ``[M]``, in the dtype of the index."""
        return self.to_hyperedges.in_degree()

    def dual(self) -> "Hypergraph":
        r"""The hypergraph of :math:`H^\top`: nodes become hyperedges and hyperedges nodes; its dual is this one again.

        Determinism: bitwise.
        Complexity: ``O(1)`` once :attr:`to_nodes` is known.
        """
        return Hypergraph(self.to_nodes)

    def coalesce(self) -> "Hypergraph":
        """The same hypergraph with every incidence once, ordered by hyperedge, then node.

        Determinism: bitwise.
        Complexity: ``O(nnz + N + M)`` time and memory.
        """
        node, hyperedge = self.hyperedge_index
        _, _, first = grouped_pairs(hyperedge, node, max(self.num_nodes, self.num_hyperedges))
        return Hypergraph.from_incidence(
            self.hyperedge_index[:, first], num_nodes=self.num_nodes, num_hyperedges=self.num_hyperedges
        )

    def to(self, device: torch.device | str) -> "Hypergraph":
        """The same hypergraph on ``device``; itself where it is there already.

        Raises:
            DeviceError: If the device does not exist.
        """
        moved = self.to_hyperedges.to(device)
        return self if moved is self.to_hyperedges else Hypergraph(moved)

    def __repr__(self) -> str:
        """The counts."""
        return (
            f"Hypergraph(num_nodes={self.num_nodes}, num_hyperedges={self.num_hyperedges}, "
            f"num_incidences={self.num_incidences})"
        )


def check_hyperedge_weight(name: str, weight: Tensor, num_hyperedges: int) -> None:
    """Raises ShapeError where ``weight`` is not one floating number per hyperedge."""
    check_float(name, weight)
    if weight.shape != (num_hyperedges,):
        raise ShapeError(f"{name} must be one number per hyperedge, [{num_hyperedges}], got {describe(weight)}")
