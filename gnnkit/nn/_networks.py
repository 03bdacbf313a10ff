"""Small networks that encoders of eigenvectors are built from: affine maps with norms between, alone and in a GIN."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn.batch_norm import BatchNorm
from gnnkit.ops._checks import check_count

Norm = Literal["batch", "layer", "none"]
NORMS = ("batch", "layer", "none")


def check_settings(counts: dict[str, int | None], choices: dict[str, tuple[str, tuple[str, ...]]]) -> None:
    """Raises ConfigError where a count is below 1 (None: not set), or a setting none of the names allowed."""
    for name, count in counts.items():
        if count is not None:
            check_count(name, count, 1)
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


class RowNorm(torch.nn.Module):
    """Batch, layer or no normalisation of the last dimension; batch statistics are of the rows that count only.

    Args:
        width: Of the last dimension.
        norm: ``"batch"``, ``"layer"`` or ``"none"``.
    """

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.norm = {"batch": BatchNorm, "layer": torch.nn.LayerNorm, "none": lambda _: None}[norm](width)

    def forward(self, x: Tensor, counts: Tensor | None = None) -> Tensor:
        """``[*, width]`` to the same; ``counts`` says which rows do, bool ``[*]``. None: all of them."""
        if self.norm is None:
            return x
        if not isinstance(self.norm, BatchNorm):
            return self.norm(x)
        if counts is None or not self.training:
            return self._batch(x.flatten(0, -2)).reshape(x.shape)
        return torch.zeros_like(x).masked_scatter(counts.unsqueeze(-1), self._batch(x[counts]))

    def _batch(self, rows: Tensor) -> Tensor:
        assert self.norm is not None
        if self.training and rows.size(0) == 1 and getattr(self.norm, "processes", None) is None:
            raise ShapeError(
                "batch normalisation needs more than one row while training, got one; give more graphs at a time, or "
                "choose norm='layer'"
            )
        return self.norm(rows)


class MLP(torch.nn.Module):
    """Affine maps with normalisation and ReLU between them.

    Args:
        widths: Of the input, of what lies between the maps, and of the output.
        norm: As of :class:`RowNorm`.
    """

    def __init__(self, widths: list[int], norm: Norm) -> None:
        super().__init__()
        self.linears = torch.nn.ModuleList(torch.nn.Linear(*pair) for pair in pairwise(widths))
        self.norms = torch.nn.ModuleList(RowNorm(width, norm) for width in widths[1:-1])

    def forward(self, x: Tensor, counts: Tensor | None = None) -> Tensor:
        """``[*, widths[0]]`` to ``[*, widths[-1]]``; ``counts`` as of :class:`RowNorm`."""
        *hidden, last = self.linears
        for linear, norm in zip(hidden, self.norms, strict=True):
            x = norm(linear(x), counts).relu()
        return last(x)


class GIN(torch.nn.Module):
    r"""Graph isomorphism layers, each :math:`x_i' = h((1 + \epsilon) x_i + \sum_{j \to i} x_j)` with an MLP ``h``.

    Rows may have any number of dimensions before the last one: each entry of these is a signal of its own on the graph.

    Args:
        in_channels: Width of the input.
        hidden_channels: Width between.
        out_channels: Width of the output.
        num_layers: Number of layers.
        mlp_layers: Affine maps in each.
        norm: As of :class:`RowNorm`, within the MLPs.
        norm_between: Normalise after each layer but the last one, too.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        *,
        num_layers: int,
        mlp_layers: int,
        norm: Norm,
        norm_between: bool = False,
    ) -> None:
        super().__init__()
        between = [hidden_channels] * (num_layers - 1)
        inner = [hidden_channels] * (mlp_layers - 1)
        ends = pairwise([in_channels, *between, out_channels])
        self.eps = torch.nn.Parameter(torch.zeros(num_layers))
        self.mlps = torch.nn.ModuleList(MLP([first, *inner, last], norm) for first, last in ends)
        self.norms = torch.nn.ModuleList(RowNorm(width, norm if norm_between else "none") for width in between)

    def forward(self, x: Tensor, graph: Graph, counts: Tensor | None = None) -> Tensor:
        """``[N, *, in_channels]`` to ``[N, *, out_channels]``; ``counts`` as of :class:`RowNorm`."""
        for layer, mlp in enumerate(self.mlps):
            x = mlp(ops.spmm(graph, x) + (1 + self.eps[layer]) * x, counts)
            if layer < len(self.norms):
                x = self.norms[layer](x, counts)
        return x


class EigenvalueNetworks(torch.nn.Module):
    r"""Functions of eigenvalues, as many as channels, each a network of its own from numbers to numbers.

    A layer is :math:`x_j' = \mathrm{relu}(W x_j + b)`, or with ``deep_sets``
    :math:`x_j' = \mathrm{relu}(W x_j + U \sum_{j'} x_{j'} + b)` over the eigenvalues of the graph; without the relu in
    the last layer. All channels are computed by one product per layer.

    Args:
        channels: Number of networks.
        hidden_channels: Width of each.
        num_layers: Affine maps in each.
        deep_sets: Let each value see all others.
    """

    def __init__(self, channels: int, hidden_channels: int, num_layers: int, *, deep_sets: bool) -> None:
        super().__init__()
        shapes = list(pairwise([1, *[hidden_channels] * (num_layers - 1), 1]))
        self.weights = torch.nn.ParameterList(torch.empty(channels, *shape) for shape in shapes)
        self.biases = torch.nn.ParameterList(torch.empty(channels, 1, shape[1]) for shape in shapes)
        self.pooled = torch.nn.ParameterList(torch.empty(channels, *shape) for shape in shapes if deep_sets)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights, each uniform within ``1 / sqrt(width of the input)``, as ``torch.nn.Linear`` does."""
        for layer, weight in enumerate(self.weights):
            bound = weight.size(1) ** -0.5
            for parameter in (weight, self.biases[layer], *self.pooled[layer : layer + 1]):
                torch.nn.init.uniform_(parameter, -bound, bound)

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """Eigenvalues ``[G, k]`` and which of them there are ``[G, k]``, to ``[G, k, channels]``."""
        graphs, k = values.shape
        x = values.reshape(1, graphs * k, 1).expand(self.weights[0].size(0), -1, -1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            out = torch.baddbmm(bias, x, weight)
            if len(self.pooled) > 0:
                total = (x * present.reshape(-1, 1)).unflatten(1, (graphs, k)).sum(2)
                out = (out.unflatten(1, (graphs, k)) + (total @ self.pooled[layer]).unsqueeze(2)).flatten(1, 2)
            x = out.relu() if layer + 1 < len(self.weights) else out
        return x.squeeze(2).T.unflatten(0, (graphs, k))
