"""The stack of DRew layers."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gnnkit.graph import Graph
from gnnkit.nn._inputs import node_features
from gnnkit.nn.conv.drew import Body, DRewConv, HopNorm, checked_delay
from gnnkit.nn.epilogue import Activation
from gnnkit.nn.hops import as_hops
from gnnkit.ops._checks import check_count


class DRew(torch.nn.Module):
    r"""DRew, with delay :math:`\nu`-DRew (Gutteridge et al., "DRew: dynamically rewired message passing", 2023).

    Layer :math:`t = 0, \dots, L - 1` reaches one hop further than the one before, by edges from every node at distance
    :math:`k \le \min(t + 1, K)` with weights of their own for each distance; see :class:`DRewConv` for the formula, the
    bodies, and for what is the paper's and what the authors' code does.

    >>> import torch
    >>> from gnnkit import Graph, nn
    >>> ring = torch.arange(10)
    >>> graph = Graph.from_edge_index(torch.stack([ring, (ring + 1) % 10]), num_nodes=10)
    >>> nn.DRew(16, num_layers=5, delay=1)(torch.randn(10, 16), graph).shape
    torch.Size([10, 16])

    Args:
        channels: Width of input, states and output.
        num_layers: :math:`L`.
        body: ``"gcn"``, ``"gin"`` or ``"gatedgcn"``.
        delay: :math:`\nu`: 1 (a message needs as many layers as it has hops to go) to ``math.inf`` (none is delayed).
        max_hops: :math:`K`. None: :math:`L`.
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"none"``.
        norm: ``"none"``, ``"batch"`` or ``"batch_per_hop"``.
        residual: Add a layer's input to its output.
        l2_normalize: Scale the rows of every layer's output to length 1.
        share_weights: One map for all distances of a layer.
        add_self_loops: Self-loops in the graph of each distance; ``"gcn"`` only.
        dropout: Probability of dropping an entry of a layer's output.

    Raises:
        ConfigError: If a setting is not one of those above.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O(L K N F^2 + \sum_t E_t F)`` time for the :math:`E_t` pairs that layer ``t`` sees. All layers share
    the pairs within :math:`K` hops, which are found once per graph and take ``O(E_K)`` memory; states take
    ``O(L N F)``.
    """

    def __init__(
        self,
        channels: int,
        num_layers: int,
        *,
        body: Body = "gcn",
        delay: float = 1,
        max_hops: int | None = None,
        activation: Activation = "relu",
        norm: HopNorm = "none",
        residual: bool = True,
        l2_normalize: bool = False,
        share_weights: bool = False,
        add_self_loops: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_count("num_layers", num_layers, 1)
        if max_hops is not None:
            check_count("max_hops", max_hops, 1)
        self.channels = channels
        self.max_hops = num_layers if max_hops is None else min(max_hops, num_layers)
        self.delay = checked_delay(delay)
        self.layers = torch.nn.ModuleList(
            DRewConv(
                channels,
                min(t + 1, self.max_hops),
                body=body,
                delay=delay,
                activation=activation,
                norm=norm,
                residual=residual,
                l2_normalize=l2_normalize,
                share_weights=share_weights,
                add_self_loops=add_self_loops,
                dropout=dropout,
            )
            for t in range(num_layers)
        )

    def forward(self, x: Tensor, graph: Graph | Sequence[Graph]) -> Tensor:
        """Node features in, node features out.

        Args:
            x: ``[N, channels]``.
            graph: The topology, of one graph or of a batch; or the graphs of its hops, at least ``max_hops``
                (:func:`gnnkit.nn.hop_graphs`, :func:`gnnkit.nn.hops_of_pairs`).

        Returns:
            ``[N, channels]``.

        Raises:
            ShapeError: If ``x`` does not fit the graph, or too few hops are given.
        """
        hops = as_hops(graph, self.max_hops, layer="DRew")
        history = [node_features(x, hops[0], layer="DRew", width=self.channels)]
        # States that no later layer looks back at are let go: without gradients, that frees them.
        kept = 1 + (max(0, self.max_hops - int(self.delay)) if math.isfinite(self.delay) else 0)
        for layer in self.layers:
            history = [*history, layer(history, hops)][-kept:]
        return history[-1]
