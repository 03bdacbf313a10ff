"""Parts that the layers of transformers share: a normalisation by name, and affine maps with what follows them."""

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.nn.batch_norm import BatchNorm
from gnnkit.nn.epilogue import Activation, epilogue
from gnnkit.nn.norm import GraphNorm

ACTIVATIONS = ("none", "relu", "gelu", "silu")
NORMS = ("none", "batch", "layer", "graph")


def check_block(*, dropout: float, activation: str, norm: str, norms: tuple[str, ...] = NORMS) -> None:
    """Raises ConfigError where one of the settings that all blocks have is unknown or out of range."""
    check_dropout("dropout", dropout)
    for name, value, allowed in (("activation", activation, ACTIVATIONS), ("norm", norm, norms)):
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def check_dropout(name: str, value: float) -> None:
    """Raises ConfigError where ``value`` is no probability below 1."""
    if not 0.0 <= value < 1.0:
        raise ConfigError(f"{name} must lie in [0, 1), got {value}")


def make_norm(kind: str, dim: int) -> torch.nn.Module | None:
    """The normalisation of that name: over all rows, over each row, over the rows of each graph, or none."""
    match kind:
        case "batch":
            return BatchNorm(dim)
        case "layer":
            return torch.nn.LayerNorm(dim)
        case "graph":
            return GraphNorm(dim)
    return None


def normalized(norm: torch.nn.Module | None, x: Tensor, ptr: Tensor | None = None) -> Tensor:
    """``x`` normalised; itself without a normalisation."""
    if norm is None:
        return x
    return norm(x, ptr) if isinstance(norm, GraphNorm) else norm(x)


def affine(
    linear: torch.nn.Linear, x: Tensor, residual: Tensor | None, dropout: float, activation: Activation, training: bool
) -> Tensor:
    """An affine map whose bias is added in the pass that applies activation, dropout and residual."""
    out = torch.nn.functional.linear(x, linear.weight)
    return epilogue(out, linear.bias, residual, dropout, activation, training)
