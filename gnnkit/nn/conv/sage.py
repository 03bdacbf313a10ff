"""GraphSAGE."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import NodeFeatures, endpoint_features, no_edge_features
from gnnkit.nn.aggregator_norm import AggregatorNorm


class SAGEConv(torch.nn.Module):
    r"""GraphSAGE (Hamilton et al., "Inductive representation learning on large graphs", 2017).

    .. math::
        x_i' = W_l \bigoplus_{j \to i} x_j + b + W_r x_i

    Weights and results are those of ``torch_geometric.nn.SAGEConv``.

    Args:
        in_channels: Width of the input features, or of the sources' and of the destinations'.
        out_channels: Width of the output features.
        aggr: ``"mean"``, ``"max"``, ``"min"`` or ``"sum"``; a node without in-edges aggregates to 0.
        normalize: Scale every output row to length 1.
        root_weight: Add :math:`W_r x_i`.
        project: Send :math:`\mathrm{relu}(W x_j + b)` in place of :math:`x_j`.
        bias: Add :math:`b`.

    Raises:
        ConfigError: If ``aggr`` is unknown.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(E F + N F F')`` time, no message per edge.
    """

    edge_input = "none"

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        *,
        aggr: str = "mean",
        normalize: bool = False,
        root_weight: bool = True,
        project: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if aggr not in ("mean", "max", "min", "sum"):
            raise ConfigError(f"aggr must be 'mean', 'max', 'min' or 'sum', got {aggr!r}")
        self._widths = in_channels if isinstance(in_channels, tuple) else (in_channels, in_channels)
        source, destination = self._widths
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.aggr = aggr
        self.normalize = normalize
        self.lin = torch.nn.Linear(source, source) if project else None
        self.lin_l = torch.nn.Linear(source, out_channels, bias=bias)
        self.lin_r = torch.nn.Linear(destination, out_channels, bias=False) if root_weight else None

    def reset_parameters(self) -> None:
        """Draws new weights."""
        for linear in (self.lin, self.lin_l, self.lin_r):
            if linear is not None:
                linear.reset_parameters()

    def forward(
        self, x: NodeFeatures, graph: Graph, edge_attr: None = None, *, norm: AggregatorNorm | None = None
    ) -> Tensor:
        """Aggregates the neighbours of every destination.

        Args:
            x: Node features ``[N, in_channels]``, or ``(x_src, x_dst)`` of a bipartite graph; ``x_dst`` may be None
                with ``root_weight=False``.
            graph: The topology.
            edge_attr: Must be None: the layer has no use for it.
            norm: Of a random subgraph, see :class:`gnnkit.nn.AggregatorNorm`; for means and sums.

        Returns:
            ``[num_dst, out_channels]``.

        Raises:
            ShapeError: If ``x`` or the norm does not fit the graph, or ``x_dst`` is missing.
            ConfigError: If edge features are given, or a norm with ``aggr`` ``"max"`` or ``"min"``.
        """
        no_edge_features(edge_attr, layer="SAGEConv")
        x_src, x_dst = endpoint_features(x, graph, layer="SAGEConv", widths=self._widths)
        if self.lin is not None:
            x_src = self.lin(x_src).relu()
        out = self.lin_l(self._aggregated(x_src, graph, norm))
        if self.lin_r is not None and x_dst is not None:
            out = out + self.lin_r(x_dst)
        return torch.nn.functional.normalize(out, dim=-1) if self.normalize else out

    def _aggregated(self, x: Tensor, graph: Graph, norm: AggregatorNorm | None) -> Tensor:
        if norm is None:
            return ops.spmm(graph, x, reduce=self.aggr)
        if self.aggr not in ("mean", "sum"):
            raise ConfigError(
                f"an aggregator norm is for means and sums, SAGEConv has aggr={self.aggr!r}; leave it out"
            )
        norm.check(graph)
        weight = norm.mean_weight(graph) if self.aggr == "mean" else norm.edge_norm
        return ops.spmm(graph, x, weight.to(x.dtype))

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_channels}, {self.out_channels}, aggr={self.aggr!r}, normalize={self.normalize}"
