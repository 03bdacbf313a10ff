"""Normalisation with statistics per graph. For statistics over all node rows use ``torch.nn.BatchNorm1d``."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError


class GraphNorm(torch.nn.Module):
    r"""Normalises each feature over the nodes of each graph (Cai et al., "GraphNorm", 2021).

    .. math::
        x_i' = \gamma \odot \frac{x_i - \alpha \odot \mu_g}{\sqrt{\mathrm{mean}_g\,(x - \alpha \odot \mu_g)^2
        + \epsilon}} + \beta

    Weights and results are those of ``torch_geometric.nn.GraphNorm``.

    Args:
        in_channels: Width of the features.
        eps: :math:`\epsilon`.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(N F)``.
    """

    def __init__(self, in_channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(in_channels))
        self.bias = torch.nn.Parameter(torch.zeros(in_channels))
        self.mean_scale = torch.nn.Parameter(torch.ones(in_channels))

    def forward(self, x: Tensor, ptr: Tensor | None = None) -> Tensor:
        """Normalises ``x``.

        Args:
            x: Node features, ``[N, in_channels]``.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``. None: one graph.

        Returns:
            ``[N, in_channels]``.

        Raises:
            ShapeError: If ``x`` is not ``[N, in_channels]``.
            IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
        """
        ptr = _graph_boundaries(x, ptr, self.in_channels)
        centred = x - _per_node(ops.segment_reduce(x, ptr, "mean") * self.mean_scale, ptr, x)
        variance = ops.segment_reduce(centred.square(), ptr, "mean")
        return centred * _per_node((variance + self.eps).rsqrt(), ptr, x) * self.weight + self.bias

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_channels}, eps={self.eps}"


class PairNorm(torch.nn.Module):
    r"""Keeps the mean distance between the nodes of each graph constant (Zhao and Akoglu, "PairNorm", 2020).

    .. math::
        x_i' = s \, \frac{x_i - \mu_g}{\sqrt{\epsilon + \mathrm{mean}_g \lVert x - \mu_g \rVert_2^2}}, \qquad
        \text{or individually} \quad x_i' = s \, \frac{x_i - \mu_g}{\epsilon + \lVert x_i - \mu_g \rVert_2}

    Results are those of ``torch_geometric.nn.PairNorm``.

    Args:
        scale: :math:`s`.
        scale_individually: Use the second form.
        eps: :math:`\epsilon`.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(N F)``.
    """

    def __init__(self, *, scale: float = 1.0, scale_individually: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.scale = scale
        self.scale_individually = scale_individually
        self.eps = eps

    def forward(self, x: Tensor, ptr: Tensor | None = None) -> Tensor:
        """Normalises ``x``, ``[N, F]``, over the graphs ``ptr``, ``[G + 1]``; see :meth:`GraphNorm.forward`."""
        ptr = _graph_boundaries(x, ptr, None)
        centred = x - _per_node(ops.segment_reduce(x, ptr, "mean"), ptr, x)
        if self.scale_individually:
            return self.scale * centred / (self.eps + centred.norm(dim=-1, keepdim=True))
        energy = ops.segment_reduce(centred.square().sum(-1, keepdim=True), ptr, "mean")
        return self.scale * centred * _per_node((self.eps + energy).rsqrt(), ptr, x)

    def extra_repr(self) -> str:
        """The settings."""
        return f"scale={self.scale}, scale_individually={self.scale_individually}, eps={self.eps}"


class LayerNorm(torch.nn.Module):
    r"""Normalises over all features, of each node or of all nodes of a graph (Ba et al., "Layer normalization", 2016).

    .. math::
        x_i' = \gamma \odot \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    with scalars :math:`\mu`, :math:`\sigma^2` per graph or per node. Weights and results are those of
    ``torch_geometric.nn.LayerNorm`` given a batch vector; without one, that class divides by :math:`\sigma + \epsilon`.

    Args:
        in_channels: Width of the features.
        eps: :math:`\epsilon`.
        affine: Learn :math:`\gamma` and :math:`\beta`.
        mode: ``"graph"`` or ``"node"``.

    Raises:
        ConfigError: If ``mode`` is unknown.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(N F)``.
    """

    def __init__(self, in_channels: int, *, eps: float = 1e-5, affine: bool = True, mode: str = "graph") -> None:
        super().__init__()
        if mode not in ("graph", "node"):
            raise ConfigError(f"mode must be 'graph' or 'node', got {mode!r}")
        self.in_channels = in_channels
        self.eps = eps
        self.mode = mode
        self.weight = torch.nn.Parameter(torch.ones(in_channels)) if affine else None
        self.bias = torch.nn.Parameter(torch.zeros(in_channels)) if affine else None

    def forward(self, x: Tensor, ptr: Tensor | None = None) -> Tensor:
        """Normalises ``x``, ``[N, in_channels]``, over the graphs ``ptr``, ``[G + 1]``; see :meth:`GraphNorm.forward`.

        ``mode="node"`` has no use for ``ptr``.
        """
        ptr = _graph_boundaries(x, ptr, self.in_channels)
        if self.mode == "node":
            return torch.nn.functional.layer_norm(x, (self.in_channels,), self.weight, self.bias, self.eps)
        centred = x - _per_node(ops.segment_reduce(x.mean(-1, keepdim=True), ptr, "mean"), ptr, x)
        variance = ops.segment_reduce(centred.square().mean(-1, keepdim=True), ptr, "mean")
        out = centred * _per_node((variance + self.eps).rsqrt(), ptr, x)
        return out if self.weight is None or self.bias is None else out * self.weight + self.bias

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_channels}, eps={self.eps}, affine={self.weight is not None}, mode={self.mode!r}"


def _graph_boundaries(x: Tensor, ptr: Tensor | None, width: int | None) -> Tensor:
    if x.dim() != 2 or (width is not None and x.size(1) != width):
        raise ShapeError(f"x must have shape [N, {width or 'F'}], got {tuple(x.shape)}")
    return torch.tensor([0, x.size(0)], device=x.device) if ptr is None else ptr


def _per_node(statistic: Tensor, ptr: Tensor, x: Tensor) -> Tensor:
    """A row per graph, ``[G, *]``, copied to the nodes of the graph, ``[N, *]``; its gradient is a segment sum."""
    return torch.ops.gnnkit.segment_expand(statistic, ptr, None, x.size(0), False)
