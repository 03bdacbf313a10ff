"""Convolutions by the name that configurations give them."""

import torch

from gnnkit.nn.conv import EdgeSumConv, GatedGCNConv, GCNConv, GINConv, GINEConv, SAGEConv
from gnnkit.nn.epilogue import Activation

Convolution = GCNConv | SAGEConv | GINConv | GINEConv | EdgeSumConv | GatedGCNConv

ESTIMATING = ("edge_sum", "gcn", "gin", "gine", "sage")
"""Those that take an :class:`AggregatorNorm`: what arrives at a node is a sum with coefficients of the graph alone."""

_ACTIVATIONS = {"relu": torch.nn.ReLU, "gelu": torch.nn.GELU, "silu": torch.nn.SiLU, "none": torch.nn.Identity}


def make_convolution(kind: str, width: int, *, dropout: float, residual: bool, activation: Activation) -> Convolution:
    """The convolution of ``ModelConfig.conv`` from and to ``width``; further settings are for those that have them."""
    match kind:
        case "gcn":
            return GCNConv(width, width)
        case "sage":
            return SAGEConv(width, width)
        case "gin":
            return GINConv(_isomorphism_network(width, activation))
        case "gine":
            return GINEConv(_isomorphism_network(width, activation))
        case "edge_sum":
            return EdgeSumConv(width, width)
    return GatedGCNConv(width, width, dropout=dropout, residual=residual, activation=activation)


def _isomorphism_network(width: int, activation: Activation) -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(width, width), _ACTIVATIONS[activation](), torch.nn.Linear(width, width))
