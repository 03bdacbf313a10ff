"""Convolution with weights of its own for each snapshot of a rewired graph."""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import NodeFeatures, check_rows
from gnnkit.nn.conv.gat import GATConv, GATv2Conv
from gnnkit.nn.conv.gcn import GCNConv
from gnnkit.nn.conv.gin import GINConv
from gnnkit.nn.conv.sage import SAGEConv
from gnnkit.nn.hops import EdgePart, split_edges
from gnnkit.ops._checks import check_count

Factory = Callable[[int, int], torch.nn.Module]


def _gin(in_channels: int, out_channels: int) -> GINConv:
    return GINConv(
        torch.nn.Sequential(
            torch.nn.Linear(in_channels, out_channels), torch.nn.ReLU(), torch.nn.Linear(out_channels, out_channels)
        )
    )


BODIES: dict[str, Factory] = {"gat": GATConv, "gatv2": GATv2Conv, "gcn": GCNConv, "gin": _gin, "sage": SAGEConv}


class LaserConv(torch.nn.Module):
    r"""Layer over the snapshots of LASER (Barbero et al., "Locality-aware graph rewiring in GNNs", 2024).

    .. math:: x_v' = \sum_{\ell = 0}^{L} \mathrm{GNN}_\ell(x; E_\ell)_v

    where :math:`E_\ell` holds the edges of type :math:`\ell`: 0 for the original graph, :math:`\ell` for edges added
    between nodes at distance :math:`\ell + 1`, as ``gnnkit.rewire.LASER`` marks them in ``edge_type``. Each snapshot
    has a layer, and so weights, of its own. This is the paper's formula; the published code has weights per snapshot in
    its last layer only, and takes all edges for one snapshot before.

    Nothing is special to LASER: any rewiring that marks its edges will do, such as 0 for original and 1 for added ones.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features.
        num_snapshots: :math:`L + 1`, the number of edge types.
        body: The layer of one snapshot: ``"gcn"``, ``"gat"``, ``"gatv2"``, ``"gin"`` (with two affine maps) or
            ``"sage"``; or a function of ``(in_channels, out_channels)`` that makes one, such as the class ``GCNConv``.
            It is called as ``body(x, graph, edge_attr)`` and must return nodes alone.

    Raises:
        ConfigError: If ``body`` is unknown or ``num_snapshots`` is below 1.

    Determinism: that of the body.
    Complexity: that of the body on each snapshot; the edges are split once per graph and ``edge_type``.
    """

    def __init__(self, in_channels: int, out_channels: int, num_snapshots: int, *, body: str | Factory = "gcn") -> None:
        super().__init__()
        check_count("num_snapshots", num_snapshots, 1)
        if isinstance(body, str) and body not in BODIES:
            raise ConfigError(
                f"body must be one of {', '.join(BODIES)}, or a function that makes a layer; got {body!r}"
            )
        make = BODIES[body] if isinstance(body, str) else body
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_snapshots = num_snapshots
        self.convs = torch.nn.ModuleList(make(in_channels, out_channels) for _ in range(num_snapshots))

    def forward(
        self,
        x: NodeFeatures,
        graph: Graph | Sequence[EdgePart],
        edge_type: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        """Convolves over each snapshot and adds up.

        Args:
            x: Node features, as the body takes them.
            graph: The topology with the edges of all snapshots; or the snapshots (:func:`gnnkit.nn.split_edges`), which
                ``torch.compile(fullgraph=True)`` needs, since their sizes follow from values.
            edge_type: Snapshot of each edge, ``[E]``, int32 or int64; None exactly where snapshots are given.
            edge_attr: Edge features or weights of all edges, ``[E, *]``, for bodies that take such.

        Returns:
            ``[num_dst, out_channels]``.

        Raises:
            ShapeError: If an argument does not fit the graph or is missing, or the body returns more than nodes.
            IndexRangeError: If a type is not in ``[0, num_snapshots)``.
        """
        parts = self._snapshots(graph, edge_type)
        if edge_attr is not None:
            check_rows("edge_attr", edge_attr, sum(part.graph.num_edges for part in parts), "edge")
        outs = []
        for conv, part in zip(self.convs, parts, strict=True):
            out = conv(x, part.graph, None if edge_attr is None else edge_attr.index_select(0, part.edge))
            if not isinstance(out, Tensor):
                raise ShapeError(
                    f"LaserConv adds up the nodes of its snapshots, but {type(conv).__name__} returns "
                    f"{type(out).__name__}; wrap it in a module that returns nodes alone"
                )
            outs.append(out)
        return reduce(torch.add, outs)

    def _snapshots(self, graph: Graph | Sequence[EdgePart], edge_type: Tensor | None) -> Sequence[EdgePart]:
        if isinstance(graph, Graph):
            if edge_type is None:
                raise ShapeError("LaserConv needs edge_type, the snapshot of each edge, [E], got None")
            return split_edges(graph, edge_type, self.num_snapshots)
        if edge_type is not None:
            raise ShapeError("LaserConv takes either a graph and edge_type, or snapshots alone")
        if len(graph) != self.num_snapshots:
            raise ShapeError(f"LaserConv has {self.num_snapshots} snapshots, got {len(graph)}")
        return graph

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_channels}, {self.out_channels}, num_snapshots={self.num_snapshots}"
