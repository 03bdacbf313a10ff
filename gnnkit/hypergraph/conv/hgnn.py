"""Hypergraph convolution with symmetric normalisation."""

from collections.abc import Callable

from torch import Tensor

from gnnkit import ops
from gnnkit.hypergraph.conv import _incidence as incidence
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.nn.conv._linear import LinearConv

Ways = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
"""From nodes to hyperedges, and back."""


class HGNNConv(LinearConv):
    r"""Layer of hypergraph neural networks (Feng et al., "Hypergraph neural networks", 2019).

    .. math::
        X' = D^{-1/2} H W B^{-1} H^\top D^{-1/2} X \Theta + b, \qquad
        x_v' = \sum_{e \ni v} \frac{w_e}{b_e} \sum_{u \in e} \frac{1}{\sqrt{d_v d_u}} \Theta^\top x_u + b

    with :math:`d_v = \sum_{e \ni v} w_e` and :math:`b_e` the number of nodes in :math:`e`; :math:`0^{-1/2}` is 0, so
    that a node in no hyperedge gets :math:`b`. The authors' code adds :math:`b` to :math:`X \Theta` instead.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features.
        bias: Add :math:`b`.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(nnz F)`` time for two sparse products, without a message per incidence, besides the map of the
    features, which is applied to nodes or to hyperedges, whichever is less work. Without weights, the normalisation is
    computed once per hypergraph.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, bias=bias)
        self.reset_parameters()

    def forward(self, x: Tensor, hypergraph: Hypergraph, hyperedge_weight: Tensor | None = None) -> Tensor:
        """Convolves ``x``.

        Args:
            x: Node features, ``[N, in_channels]``.
            hypergraph: The topology.
            hyperedge_weight: :math:`w`, ``[M]``, not negative. None: all 1.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ShapeError: If an argument does not fit the hypergraph.
            DtypeError: If an argument is of the wrong type.
        """
        x = incidence.node_features(x, hypergraph, layer="HGNNConv", width=self.in_channels)
        weight = incidence.hyperedge_weights(hyperedge_weight, hypergraph, x.dtype)
        ways = _unweighted(hypergraph) if weight is None else _weighted(hypergraph, weight)
        return incidence.with_bias(incidence.convolve(x, hypergraph, self.lin, *ways), self.bias)


def _unweighted(hypergraph: Hypergraph) -> Ways:
    nodes, hyperedges = hypergraph.to_nodes, hypergraph.to_hyperedges

    def root() -> Tensor:
        return incidence.inverse_count(nodes, 0.5)

    def gather(x: Tensor) -> Tensor:
        return incidence.scaled_spmm(hyperedges, x, "hgnn_gather", lambda: (None, root()))

    def scatter(sums: Tensor) -> Tensor:
        return incidence.scaled_spmm(nodes, sums, "hgnn_scatter", lambda: (root(), incidence.inverse_count(hyperedges)))

    return gather, scatter


def _weighted(hypergraph: Hypergraph, weight: Tensor) -> Ways:
    nodes, hyperedges = hypergraph.to_nodes, hypergraph.to_hyperedges
    root = incidence.inverse_power(hypergraph.node_degree(weight), 0.5).unsqueeze(1)

    def gather(x: Tensor) -> Tensor:
        return ops.spmm(hyperedges, x * root.to(x.dtype))

    def scatter(sums: Tensor) -> Tensor:
        scaled = sums * incidence.inverse_count_rows(hyperedges, sums) * weight.to(sums.dtype).unsqueeze(1)
        return ops.spmm(nodes, scaled) * root.to(sums.dtype)

    return gather, scatter
