"""Graph convolution with symmetric normalisation."""

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import edge_weights, node_features
from gnnkit.nn.aggregator_norm import AggregatorNorm
from gnnkit.nn.conv._linear import LinearConv
from gnnkit.ops.spmm import spmm_by_position


class GCNConv(LinearConv):
    r"""Graph convolution (Kipf and Welling, "Semi-supervised classification with graph convolutional networks", 2017).

    .. math::
        X' = \hat D^{-1/2} \hat A^\top \hat D^{-1/2} X \Theta + b, \qquad
        x_i' = \sum_{e : j \to i} \frac{w_e}{\sqrt{\hat d_j \hat d_i}} \Theta^\top x_j + b

    with :math:`\hat A = A + I`, and :math:`\hat d_i` the weight that arrives at :math:`i`, its loop included. A node
    that has a self-loop already keeps the weight of that loop (of the last one, if there are several) instead of
    receiving another. Weights and results are those of ``torch_geometric.nn.GCNConv``.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features.
        improved: Give added loops the weight 2 in place of 1 where edge weights are given. As in PyTorch Geometric,
            unweighted edges are not affected.
        add_self_loops: Add missing self-loops. None: as ``normalize``.
        normalize: Divide by the square roots of the degrees.
        bias: Add ``bias``, ``[out_channels]``.

    Raises:
        ConfigError: If self-loops are to be added without normalisation.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(N F F' + (E + N) F')`` time, no message per edge. The graph with loops and its normalisation are
    computed once per graph and shared by all layers.
    """

    edge_input = "weight"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        improved: bool = False,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, bias=bias)
        if add_self_loops and not normalize:
            raise ConfigError("GCNConv adds self-loops only where it normalises; set normalize=True, or leave both off")
        self.improved = improved
        self.add_self_loops = normalize if add_self_loops is None else add_self_loops
        self.normalize = normalize
        self.reset_parameters()

    def forward(
        self, x: Tensor, graph: Graph, edge_attr: Tensor | None = None, *, norm: AggregatorNorm | None = None
    ) -> Tensor:
        """Convolves ``x``.

        Args:
            x: Node features, ``[N, in_channels]``.
            graph: The topology.
            edge_attr: Edge weights, ``[E]`` or ``[E, 1]``. None: all 1.
            norm: Of a random subgraph, see :class:`gnnkit.nn.AggregatorNorm`; not with edge weights.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ShapeError: If ``x``, the weights or the norm do not fit the graph, or the graph is bipartite.
            ConfigError: If both weights and a norm are given.
        """
        out = self.without_bias(x, graph, edge_attr, norm=norm)
        return out if self.bias is None else out + self.bias

    def without_bias(
        self, x: Tensor, graph: Graph, edge_attr: Tensor | None = None, *, norm: AggregatorNorm | None = None
    ) -> Tensor:
        """The convolution before its bias, for callers that fuse the bias with what follows. See :meth:`forward`."""
        x = node_features(x, graph, layer="GCNConv", width=self.in_channels)
        weight = edge_weights(edge_attr, graph, layer="GCNConv")
        out = self.lin(x)
        if norm is not None:
            if weight is not None:
                raise ConfigError(
                    "GCNConv takes edge weights or an aggregator norm, got both: a subgraph does not tell the weights "
                    "that arrive at its nodes in the whole graph; leave one of them out"
                )
            graph, weight = self._estimating(graph, norm)
            return ops.spmm(graph, out, weight.to(out.dtype))
        if not self.normalize:
            return ops.spmm(graph, out, None if weight is None else weight.to(out.dtype))
        if weight is not None:
            loop_weight = 2.0 if self.improved else 1.0
            graph, weight = normalized(graph, weight, self.add_self_loops, loop_weight)
            return ops.spmm(graph, out, weight.to(out.dtype))
        return Normalization.of(graph, self.add_self_loops, out.dtype).propagate(out)

    def _estimating(self, graph: Graph, norm: AggregatorNorm) -> tuple[Graph, Tensor]:
        """The graph, with its missing self-loops where wanted, and what each message is multiplied with."""
        norm.check(graph)
        if not self.normalize:
            return graph, norm.edge_norm
        degree, weight = norm.in_degree, norm.edge_norm
        if self.add_self_loops:
            looped = graph.cached("with_self_loops", lambda: with_self_loops(graph))
            degree = norm.looped_degree(looped.is_loop, graph)
            graph, weight = looped.graph, _weights_with_loops(looped, weight, 1.0)
        return graph, _scaled(graph, weight, degree.to(weight.dtype))

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.in_channels}, {self.out_channels}, improved={self.improved}, "
            f"add_self_loops={self.add_self_loops}, normalize={self.normalize}, bias={self.bias is not None}"
        )


class LoopGraph(NamedTuple):
    """A graph to which one self-loop per node has been appended, in the order of the nodes."""

    graph: Graph
    is_loop: Tensor
    """Whether an edge of the original graph is a self-loop, ``[E]``; the appended one stands in for it."""
    last_loop: Tensor
    """The last original self-loop of each node, or -1, ``[N]``."""


class Normalization(NamedTuple):
    """The normalised adjacency of a graph without edge weights: constant, and in the order in which it is read."""

    graph: Graph
    weight: Tensor
    """By position, ``[E]``."""

    @classmethod
    def of(cls, graph: Graph, add_self_loops: bool, dtype: torch.dtype) -> "Normalization":
        """Computed once per graph, in float32 at least: a narrower degree would be no whole number."""

        def compute() -> tuple[Graph | None, Tensor]:
            ones = torch.ones(graph.num_edges, dtype=torch.promote_types(dtype, torch.float32), device=graph.device)
            looped, scaled = normalized(graph, ones, add_self_loops, 1.0)
            scaled = scaled.to(dtype)
            if looped.edge_id is None:
                # A graph must not keep itself: only the cyclic collector would free it.
                return None if looped is graph else looped, scaled
            # No caller gave these weights, so they may lie by position.
            by_position = Graph(looped.rowptr, looped.col, None, looped.num_src)
            return by_position, scaled.index_select(0, looped.edge_id)

        kept, weight = graph.cached(f"gcn_normalization/{add_self_loops}/{dtype}", compute)
        return cls(graph if kept is None else kept, weight)

    def propagate(self, x: Tensor) -> Tensor:
        """``x`` of the sources, ``[N, F]``, summed at the destinations."""
        return spmm_by_position(self.graph, x, self.weight, self._turned_weight)

    def _turned_weight(self) -> Tensor:
        def compute() -> Tensor:
            edge_id = self.graph.transpose().edge_id
            return self.weight if edge_id is None else self.weight.index_select(0, edge_id)

        return self.graph.cached(f"gcn_turned_weight/{self.weight.dtype}", compute)


def normalized(graph: Graph, weight: Tensor, add_self_loops: bool, loop_weight: float) -> tuple[Graph, Tensor]:
    """The graph, with its missing self-loops where wanted, and the normalised weight of every edge."""
    if add_self_loops:
        looped = graph.cached("with_self_loops", lambda: with_self_loops(graph))
        graph, weight = looped.graph, _weights_with_loops(looped, weight, loop_weight)
    return graph, _scaled(graph, weight, ops.aggregate(graph, weight, "sum"))


def _scaled(graph: Graph, weight: Tensor, degree: Tensor) -> Tensor:
    """Weights, each divided by the square roots of the degrees of both of its ends."""
    # The inner choice keeps the infinite slope at degree 0 out of the gradient.
    scale = torch.where(degree == 0, 0.0, torch.where(degree == 0, 1.0, degree).rsqrt())
    return ops.gather(graph, scale, "src") * weight * ops.gather(graph, scale, "dst")


def with_self_loops(graph: Graph) -> LoopGraph:
    """Appends one self-loop per node. Original loops stay, to be weighted 0, so that no size depends on the data."""
    src, dst = graph.edge_index
    nodes = torch.arange(graph.num_nodes, dtype=src.dtype, device=src.device)
    edge_index = torch.cat([graph.edge_index, nodes.expand(2, -1)], dim=1)
    is_loop = src == dst
    edge = torch.where(is_loop, torch.arange(graph.num_edges, device=src.device), -1)
    last_loop = torch.full((graph.num_nodes,), -1, device=src.device).scatter_reduce(0, src.long(), edge, "amax")
    return LoopGraph(Graph.from_edge_index(edge_index, graph.num_nodes), is_loop, last_loop)


def _weights_with_loops(looped: LoopGraph, weight: Tensor, loop_weight: float) -> Tensor:
    loop_weights = weight.new_full(looped.last_loop.shape, loop_weight)
    if weight.size(0) > 0:
        own = weight.index_select(0, looped.last_loop.clamp(min=0))
        loop_weights = torch.where(looped.last_loop >= 0, own, loop_weights)
    return torch.cat([torch.where(looped.is_loop, 0.0, weight), loop_weights])
