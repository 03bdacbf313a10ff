"""Sums of rectified node-plus-edge features."""

from torch import Tensor

from gnnkit import ops
from gnnkit.graph import Graph
from gnnkit.nn._inputs import edge_features, node_features
from gnnkit.nn.aggregator_norm import AggregatorNorm
from gnnkit.nn.conv._linear import LinearConv


class EdgeSumConv(LinearConv):
    r"""Unnormalised sum over in-edges of rectified source plus edge features.

    .. math::
        x_i' = \sum_{e : j \to i} \mathrm{relu}(W x_j + a_e) + b

    The code of GNN+ (Luo et al., "Can classic GNNs be strong baselines for graph-level tasks?", 2025) calls this layer
    ``gcne``, and most results printed there as "GCN+" are results of it. It is no graph convolution in the sense of
    ``GCNConv``: there is no normalisation by degree and no self-loop, and the destination's own features do not enter.
    It is close to ``GINEConv`` without the network after the sum.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features and of the edge features.
        bias: Add ``bias``, ``[out_channels]``.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(N F F' + E F')`` time, ``O(E F')`` memory.
    """

    edge_input = "features"

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, bias=bias)
        self.reset_parameters()

    def forward(
        self, x: Tensor, graph: Graph, edge_attr: Tensor | None = None, *, norm: AggregatorNorm | None = None
    ) -> Tensor:
        """Sums the messages that arrive at every node.

        Args:
            x: Node features, ``[N, in_channels]``.
            graph: The topology.
            edge_attr: Edge features, ``[E, out_channels]``.
            norm: Of a random subgraph, see :class:`gnnkit.nn.AggregatorNorm`.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ShapeError: If ``x``, ``edge_attr`` or the norm does not fit, or edge features are missing.
        """
        out = self.without_bias(x, graph, edge_attr, norm=norm)
        return out if self.bias is None else out + self.bias

    def without_bias(
        self, x: Tensor, graph: Graph, edge_attr: Tensor | None = None, *, norm: AggregatorNorm | None = None
    ) -> Tensor:
        """The sum before the bias, for callers that fuse the bias with what follows. See :meth:`forward`."""
        x = node_features(x, graph, layer="EdgeSumConv", width=self.in_channels)
        edge = edge_features(edge_attr, graph, layer="EdgeSumConv", width=self.out_channels)
        messages = (ops.gather(graph, self.lin(x), "src") + edge).relu()
        if norm is not None:
            norm.check(graph)
            messages = norm.scaled(messages)
        return ops.aggregate(graph, messages)
