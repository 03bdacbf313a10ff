"""Layers that add up message passing along edges and a view of the whole graph."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._blocks import affine, check_block, make_norm, normalized
from gnnkit.nn._inputs import node_features
from gnnkit.nn.conv.gated_gcn import GatedGCNConv
from gnnkit.nn.epilogue import Activation, epilogue
from gnnkit.nn.global_attention import GlobalAttention, GraphBlocks
from gnnkit.ops._checks import check_count, check_segments


class GPSLayer(torch.nn.Module):
    r"""One layer of a "general, powerful, scalable graph transformer" (Rampášek et al., 2022).

    .. math::
        x^L &= \mathrm{norm}\bigl(x + \mathrm{dropout}(\mathrm{local}(x, A, e))\bigr), \qquad
        x^G = \mathrm{norm}\bigl(x + \mathrm{dropout}(\mathrm{global}(x))\bigr) \\
        x' &= \mathrm{norm}\bigl(x^L + x^G + \mathrm{FFN}(x^L + x^G)\bigr), \qquad
        \mathrm{FFN}(x) = \mathrm{dropout}(W_2\, \mathrm{dropout}(\phi(W_1 x)))

    Without one of the two, its term is left out. With :class:`GatedGCNConv`, which has a residual and dropout of its
    own, the layer adds none, as in the authors' code.

    >>> import torch
    >>> from gnnkit import Graph, nn
    >>> layer = nn.GPSLayer(8, nn.GatedGCNConv(8, 8), nn.GlobalAttention(8, 2))
    >>> graph = Graph.from_edge_index(torch.tensor([[0, 1, 3], [1, 2, 4]]), num_nodes=5)
    >>> x, edge = layer(torch.randn(5, 8), graph, torch.randn(3, 8), ptr=torch.tensor([0, 3, 5]))
    >>> x.shape, edge.shape
    (torch.Size([5, 8]), torch.Size([3, 8]))

    Args:
        dim: Width of nodes, of input and output.
        local: A convolution of ``gnnkit.nn``, or any module called as ``local(x, graph)``, or
            ``local(x, graph, edge_attr)`` where there are edge features. It returns nodes ``[N, dim]``, or a pair of
            nodes and new edge features. None: no message passing.
        global_layer: A :class:`GlobalAttention`, or any module called as ``global_layer(x, ptr)`` that returns
            ``[N, dim]``. None: no global part.
        dropout: Probability of dropping an entry after each part and inside the feed-forward block.
        activation: :math:`\phi`: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"none"``.
        norm: ``"batch"`` (over all nodes), ``"layer"`` (of each node), ``"graph"`` (over the nodes of each graph, by
            :class:`GraphNorm`) or ``"none"``.
        feed_forward: Have the feed-forward block; without it, :math:`x' = x^L + x^G`.
        local_residual: Add ``x`` to what ``local`` returns, after dropout. None: unless ``local`` is a
            :class:`GatedGCNConv` with ``residual=True``.

    Raises:
        ConfigError: If both parts are None, or a setting is unknown or out of range.

    Determinism: bitwise, forward and backward, where both parts are, for a given state of torch's global generator.
    Complexity: that of the parts, and ``O(N dim^2)``.
    """

    def __init__(
        self,
        dim: int,
        local: torch.nn.Module | None = None,
        global_layer: torch.nn.Module | None = None,
        *,
        dropout: float = 0.0,
        activation: Activation = "relu",
        norm: str = "batch",
        feed_forward: bool = True,
        local_residual: bool | None = None,
    ) -> None:
        super().__init__()
        check_count("dim", dim, 1)
        check_block(dropout=dropout, activation=activation, norm=norm)
        if local is None and global_layer is None:
            raise ConfigError("GPSLayer needs a local or a global layer, or both; got none")
        self.dim = dim
        self.dropout = dropout
        self.activation: Activation = activation
        if local_residual is None:
            local_residual = not (isinstance(local, GatedGCNConv) and local.residual)
        self.local_residual = local_residual
        self.local = local
        self.global_layer = global_layer
        self.norm_local = None if local is None else make_norm(norm, dim)
        self.norm_global = None if global_layer is None else make_norm(norm, dim)
        self.expand = torch.nn.Linear(dim, 2 * dim) if feed_forward else None
        self.contract = torch.nn.Linear(2 * dim, dim) if feed_forward else None
        self.norm_out = make_norm(norm, dim) if feed_forward else None

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        edge_attr: Tensor | None = None,
        ptr: Tensor | None = None,
        *,
        blocks: GraphBlocks | None = None,
        global_arguments: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Updates the nodes, and the edges where the local layer does.

        Args:
            x: Node features, ``[N, dim]``.
            graph: The topology that the local layer sees.
            edge_attr: Edge features for the local layer, one row per edge in the caller's order.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``. None: one graph.
            blocks: ``GraphBlocks.of(ptr)``, which stacked layers with a :class:`GlobalAttention` can share.
            global_arguments: Keyword arguments for the call of ``global_layer``, such as the order in which it reads.

        Returns:
            Node features, ``[N, dim]``; and the edge features that the local layer returned, else ``edge_attr``.

        Raises:
            ShapeError: If ``x`` does not fit the graph, or a part returns another shape.
            IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
        """
        x = node_features(x, graph, layer="GPSLayer", width=self.dim)
        if ptr is None:
            ptr = torch.tensor([0, x.size(0)], device=x.device)
        if blocks is None and isinstance(self.global_layer, GlobalAttention):
            # Before anything else, since a trace breaks here.
            check_segments(ptr, x.size(0))
            blocks = GraphBlocks.of(ptr)
        parts = []
        if self.local is not None:
            part, edge_attr = self._local(self.local, x, graph, edge_attr)
            parts.append(normalized(self.norm_local, part, ptr))
        if self.global_layer is not None:
            given: dict[str, Any] = {"blocks": blocks} if isinstance(self.global_layer, GlobalAttention) else {}
            given |= global_arguments or {}
            out = _checked(self.global_layer(x, ptr, **given), x, "global_layer", self.global_layer)
            parts.append(normalized(self.norm_global, self._dropped(out, x), ptr))
        out = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        if self.expand is None or self.contract is None:
            return out, edge_attr
        hidden = affine(self.expand, out, None, self.dropout, self.activation, self.training)
        out = affine(self.contract, hidden, out, self.dropout, "none", self.training)
        return normalized(self.norm_out, out, ptr), edge_attr

    def _local(
        self, local: torch.nn.Module, x: Tensor, graph: Graph, edge_attr: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        out = local(x, graph) if edge_attr is None else local(x, graph, edge_attr)
        if isinstance(out, tuple):
            out, edge_attr = out
        out = _checked(out, x, "local", local)
        if isinstance(local, GatedGCNConv):
            # It has dropped entries already.
            return (out + x if self.local_residual else out), edge_attr
        return self._dropped(out, x if self.local_residual else None), edge_attr

    def _dropped(self, out: Tensor, residual: Tensor | None) -> Tensor:
        return epilogue(out, None, residual, self.dropout, "none", self.training)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.dim}, dropout={self.dropout}, activation={self.activation!r}"


def _checked(out: Any, x: Tensor, name: str, module: torch.nn.Module) -> Tensor:
    """Raises ShapeError where a part has not returned one row per node of the layer's width."""
    if not isinstance(out, Tensor) or out.shape != x.shape:
        found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ShapeError(
            f"{name} of GPSLayer, a {type(module).__name__}, must return shape {tuple(x.shape)}, got {found}"
        )
    return out
