"""The networks that read descriptions: from :class:`Blocks` to one vector per graph."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.expressivity.methods import Blocks
from gnnkit import Graph
from gnnkit.nn import GINConv, GINEConv, pool

OUTPUTS = 16
HIDDEN = 32
LAYERS = 5


def perceptron(width: int, outputs: int) -> torch.nn.Sequential:
    """Two affine maps with ReLU between."""
    return torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, outputs))


class Isomorphism(torch.nn.Module):
    """Graph isomorphism layers and a sum over nodes; GINE where edges or pairs have features.

    Over all pairs of nodes this is the generalised distance Weisfeiler-Leman test with the features as distances.

    Args:
        blocks: Any description of the kind that will be read; tells the widths.
    """

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self.encode = torch.nn.Linear(blocks.x.size(1), HIDDEN)
        edge = blocks.edge_attr
        self.layers = torch.nn.ModuleList(
            GINConv(perceptron(HIDDEN, HIDDEN))
            if edge is None
            else GINEConv(perceptron(HIDDEN, HIDDEN), edge_dim=edge.size(1), in_channels=HIDDEN)
            for _ in range(LAYERS)
        )
        self.head = perceptron(HIDDEN, OUTPUTS)

    def forward(self, inputs: "Inputs") -> Tensor:
        """Vectors of the graphs, ``[G, OUTPUTS]``."""
        x = self.encode(inputs.x)
        for layer in self.layers:
            x = layer(x, inputs.graph, inputs.edge_attr).relu()
        return self.head(pool(x, ptr=inputs.ptr, reduce="sum"))


class Inputs:
    """What a network takes: a description in its dtype, with the graph built once.

    Args:
        blocks: The description.
        dtype: Of the features.
    """

    def __init__(self, blocks: Blocks, dtype: torch.dtype) -> None:
        edge = blocks.edge_attr
        self.x = blocks.x.to(dtype)
        self.edge_attr = None if edge is None else edge.to(dtype)
        self.ptr = blocks.ptr
        self.graph = Graph.from_edge_index(blocks.edge_index, int(blocks.ptr[-1]))
        self.graph.transpose()


NETWORKS: dict[str, Callable[[Blocks], torch.nn.Module]] = {"gin": Isomorphism}
"""Networks by name."""


def build(name: str, blocks: Blocks, seed: int, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A network with weights drawn from a seed; the global generator is left as it is.

    Raises:
        KeyError: If there is no network of that name.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name](blocks).to(dtype)
