"""The networks that read descriptions: one vector per graph."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.expressivity.methods import SPECTRUM, Description
from gnnkit import Graph, nn

OUTPUTS = 16
HIDDEN = 32
LAYERS = 5
HEADS = 4


class Inputs:
    """What a network takes: a description in its dtype, with the graphs built once.

    Args:
        description: The description.
        dtype: Of the features.
    """

    def __init__(self, description: Description, dtype: torch.dtype) -> None:
        edge, pair = description.edge_attr, description.pair
        self.ptr = description.ptr
        self.node = {key: value.to(dtype) for key, value in description.node.items()}
        self.x = description.x.to(dtype)
        self.edge_attr = None if edge is None else edge.to(dtype)
        self.graph = Graph.from_edge_index(description.edge_index, int(self.ptr[-1]))
        self.pair = None if pair is None else pair.to(dtype)
        index = description.pair_index
        self.pairs = None if index is None else Graph.from_edge_index(index, int(self.ptr[-1]))


def perceptron(width: int, outputs: int) -> torch.nn.Sequential:
    """Two affine maps with ReLU between."""
    return torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, outputs))


class _Stack(torch.nn.Module):
    """An affine map of the node features, layers, a sum over the nodes of each graph, two affine maps."""

    def __init__(self, node_width: int) -> None:
        super().__init__()
        self.encode = torch.nn.Linear(node_width, HIDDEN)
        self.layers = torch.nn.ModuleList()
        self.head = perceptron(HIDDEN, OUTPUTS)

    def forward(self, inputs: Inputs) -> Tensor:
        """Vectors of the graphs, ``[G, OUTPUTS]``."""
        x = self.nodes(self.encode(inputs.x), inputs)
        return self.head(nn.pool(x, ptr=inputs.ptr, reduce="sum"))

    def nodes(self, x: Tensor, inputs: Inputs) -> Tensor:
        """What the layers make of the nodes, ``[N, HIDDEN]``."""
        raise NotImplementedError


class Isomorphism(_Stack):
    """Graph isomorphism layers; GINE where edges have features, and over pairs of nodes where these have.

    Over all pairs that is the generalised distance Weisfeiler-Leman test with the features of pairs as distances.

    Args:
        example: A description of the kind that will be read; tells the widths.
        node_width: Width of the node features, if they are not those of the example.
    """

    def __init__(self, example: Description, node_width: int | None = None) -> None:
        super().__init__(example.x.size(1) if node_width is None else node_width)
        messages = example.edge_attr if example.pair is None else example.pair
        for _ in range(LAYERS):
            update = perceptron(HIDDEN, HIDDEN)
            self.layers.append(
                nn.GINConv(update)
                if messages is None
                else nn.GINEConv(update, edge_dim=messages.size(1), in_channels=HIDDEN)
            )

    def nodes(self, x: Tensor, inputs: Inputs) -> Tensor:
        """What the layers make of the nodes, ``[N, HIDDEN]``."""
        graph, features = inputs.graph, inputs.edge_attr
        if inputs.pairs is not None:
            graph, features = inputs.pairs, inputs.pair
        for layer in self.layers:
            x = layer(x, graph, features).relu()
        return x


class _Spectral(Isomorphism):
    """Graph isomorphism layers on what a learned encoder makes of eigenvectors and eigenvalues."""

    def __init__(self, example: Description, encoder: torch.nn.Module) -> None:
        super().__init__(example, HIDDEN)
        self.encoder = encoder

    def forward(self, inputs: Inputs) -> Tensor:
        """Vectors of the graphs, ``[G, OUTPUTS]``."""
        vectors, eigenvalues, mask = (inputs.node[pattern] for pattern in SPECTRUM)
        x = self.encoder(vectors, eigenvalues, inputs.graph, ptr=inputs.ptr, mask=mask.bool())
        return self.head(nn.pool(self.nodes(self.encode(x), inputs), ptr=inputs.ptr, reduce="sum"))


def sign_net(example: Description) -> torch.nn.Module:
    """SignNet, then graph isomorphism layers."""
    encoder = nn.SignNet(
        HIDDEN, hidden_channels=HIDDEN, phi_channels=HIDDEN, num_layers=3, rho_layers=2, norm="none",
        use_eigenvalues=True,
    )  # fmt: skip
    return _Spectral(example, encoder)


def spe(example: Description) -> torch.nn.Module:
    """SPE, then graph isomorphism layers."""
    return _Spectral(example, nn.SPE(HIDDEN, channels=8, hidden_channels=HIDDEN, num_layers=3, mlp_layers=2))


class GPS(_Stack):
    """GPS layers of graph isomorphism and attention among all nodes of a graph."""

    def __init__(self, example: Description) -> None:
        super().__init__(example.x.size(1))
        for _ in range(LAYERS):
            local = nn.GINConv(perceptron(HIDDEN, HIDDEN))
            self.layers.append(nn.GPSLayer(HIDDEN, local, nn.GlobalAttention(HIDDEN, HEADS), norm="layer"))

    def nodes(self, x: Tensor, inputs: Inputs) -> Tensor:
        """What the layers make of the nodes, ``[N, HIDDEN]``."""
        for layer in self.layers:
            x, _ = layer(x, inputs.graph, ptr=inputs.ptr)
        return x


class GRIT(_Stack):
    """GRIT layers over the pairs."""

    def __init__(self, example: Description) -> None:
        super().__init__(example.x.size(1))
        if example.pair is None:
            raise ValueError("GRIT reads pairs of nodes, and the method has none")
        self.encode_pairs = torch.nn.Linear(example.pair.size(1), HIDDEN)
        for number in range(LAYERS):
            self.layers.append(nn.GRITLayer(HIDDEN, HEADS, norm="layer", update_pairs=number + 1 < LAYERS))

    def nodes(self, x: Tensor, inputs: Inputs) -> Tensor:
        """What the layers make of the nodes, ``[N, HIDDEN]``."""
        pairs, degree = self.encode_pairs(inputs.pair), inputs.graph.in_degree()
        for layer in self.layers:
            x, pairs = layer(x, inputs.pairs, pairs, degree)
        return x


NETWORKS: dict[str, Callable[[Description], torch.nn.Module]] = {
    "gin": Isomorphism, "gps": GPS, "grit": GRIT, "sign_net": sign_net, "spe": spe,
}  # fmt: skip
"""Networks by name."""


def build(name: str, example: Description, seed: int, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A network with weights drawn from a seed; the global generator is left as it is.

    Raises:
        AttributeError: If this version of gnnkit lacks a layer that it needs.
        KeyError: If there is no network of that name.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name](example).to(dtype)
