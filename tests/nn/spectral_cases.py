"""Encoders of eigenvectors, what they are given, and their definitions written out for one graph."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from gnnkit import Graph, nn

SMALL: dict[str, Any] = {"channels": 3, "phi_channels": 4, "hidden_channels": 8, "num_layers": 2}
SPES: dict[str, Callable[..., nn.SPE]] = {
    "mlp": lambda **more: nn.SPE(5, **SMALL, **more).double(),
    "deep_sets": lambda **more: nn.SPE(5, phi="deep_sets", mlp_layers=2, **SMALL, **more).double(),
    "no_norm": lambda **more: nn.SPE(5, norm="none", **SMALL, **more).double(),
    "one_layer": lambda **more: nn.SPE(5, channels=2, phi_layers=1, num_layers=1, mlp_layers=1, **more).double(),
    "blocks": lambda **more: nn.SPE(5, column_block=2, **SMALL, **more).double(),
}
WIDTHS: dict[str, Any] = {"hidden_channels": 8, "num_layers": 2, "rho_layers": 2}
SIGN_NETS: dict[str, Callable[[], nn.SignNet]] = {
    "gin": lambda: nn.SignNet(5, **WIDTHS).double(),
    "mlp": lambda: nn.SignNet(5, phi="mlp", norm="layer", **WIDTHS).double(),
    "concat": lambda: nn.SignNet(5, combine="concat", k=6, norm="none", **WIDTHS).double(),
    "eigenvalues": lambda: nn.SignNet(5, use_eigenvalues=True, **WIDTHS).double(),
}
ENCODERS: dict[str, Callable[[], torch.nn.Module]] = {**SPES, **{f"sign_{k}": v for k, v in SIGN_NETS.items()}}
SYMMETRIC = {
    "C_7": nx.cycle_graph(7),
    "C_8": nx.cycle_graph(8),
    "K_6": nx.complete_graph(6),
    "Q_3": nx.convert_node_labels_to_integers(nx.hypercube_graph(3)),
}


def topology(graph: nx.Graph) -> Graph:
    edges = torch.tensor(list(graph.to_directed().edges), dtype=torch.int64).reshape(-1, 2).t().contiguous()
    return Graph.from_edge_index(edges, graph.number_of_nodes())


def eigenpairs(adjacency: Tensor, k: int | None = None) -> tuple[Tensor, Tensor]:
    """Non-trivial eigenpairs of the normalised Laplacian of a connected graph, float64."""
    root = adjacency.sum(1).rsqrt()
    values, vectors = torch.linalg.eigh(torch.eye(len(root)).double() - root[:, None] * adjacency * root)
    return vectors[:, 1:][:, :k], values[1:][:k].unsqueeze(0)


def adjacency_of(graph: nx.Graph) -> Tensor:
    return torch.from_numpy(nx.to_numpy_array(graph))


def rotated(vectors: Tensor, values: Tensor, seed: int = 0) -> Tensor:
    """Another basis of each eigenspace."""
    generator = torch.Generator().manual_seed(seed)
    out, value = vectors.clone(), values.flatten()
    begins = [0, *((value.diff() > 1e-6).nonzero().flatten() + 1).tolist(), len(value)]
    for begin, end in pairwise(begins):
        square = torch.randn(end - begin, end - begin, dtype=torch.float64, generator=generator)
        out[:, begin:end] = vectors[:, begin:end] @ torch.linalg.qr(square).Q
    return out


def flipped(vectors: Tensor) -> Tensor:
    signs = torch.ones(vectors.size(1), dtype=vectors.dtype)
    signs[::2] = -1
    return vectors * signs


class Inputs:
    """Random graphs side by side with their eigenpairs, of which small ones have fewer than ``k``."""

    def __init__(self, sizes: list[int], k: int = 6, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.sizes, self.k = sizes, k
        self.ptr = torch.tensor([0, *sizes]).cumsum(0)
        edges, self.vectors = [], torch.zeros(sum(sizes), k, dtype=torch.float64)
        self.values = torch.zeros(len(sizes), k, dtype=torch.float64)
        self.mask = torch.zeros(len(sizes), k, dtype=torch.bool)
        for number, (begin, end) in enumerate(pairwise(self.ptr.tolist())):
            size = end - begin
            if size < 2:
                continue
            adjacency = torch.zeros(size, size, dtype=torch.float64)
            chosen = torch.randint(size, (2, 2 * size), generator=generator)
            path = torch.stack([torch.arange(size - 1), torch.arange(1, size)])
            for source, target in torch.cat([chosen, path], dim=1).t().tolist():
                if source != target:
                    adjacency[source, target] = adjacency[target, source] = 1
            edges.append(adjacency.nonzero().t() + begin)
            vectors, values = eigenpairs(adjacency, k)
            count = vectors.size(1)
            self.vectors[begin:end, :count], self.values[number, :count] = vectors, values
            self.mask[number, :count] = True
        self.edge_index = torch.cat([torch.empty((2, 0), dtype=torch.int64), *edges], dim=1)
        self.graph = Graph.from_edge_index(self.edge_index, sum(sizes))

    def of(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Vectors, eigenvalues, mask and dense adjacency matrix of one graph."""
        begin, end = self.ptr[number : number + 2].tolist()
        source, target = self.edge_index
        inside = (source >= begin) & (source < end)
        adjacency = torch.zeros(end - begin, end - begin, dtype=torch.float64)
        adjacency[target[inside] - begin, source[inside] - begin] = 1
        return self.vectors[begin:end], self.values[number], self.mask[number], adjacency

    def encode(self, encoder: torch.nn.Module) -> Tensor:
        return encoder(self.vectors, self.values, self.graph, ptr=self.ptr, mask=self.mask)


SIZES = [5, 0, 1, 9, 2, 7, 0]


def dense_phi(networks: Any, values: Tensor) -> Tensor:
    """``[k] -> [k, m]``: each channel a loop over layers of its own."""
    out = []
    for channel in range(networks.weights[0].size(0)):
        x = values.unsqueeze(1)
        for layer, (weight, bias) in enumerate(zip(networks.weights, networks.biases, strict=True)):
            y = x @ weight[channel] + bias[channel]
            if len(networks.pooled) > 0:
                y = y + x.sum(0, keepdim=True) @ networks.pooled[layer][channel]
            x = y.relu() if layer < len(networks.weights) - 1 else y
        out.append(x)
    return torch.cat(out, dim=1)


def dense_mlp(mlp: Any, x: Tensor) -> Tensor:
    for layer, linear in enumerate(mlp.linears):
        x = linear(x)
        if layer < len(mlp.norms):
            norm = mlp.norms[layer].norm
            x = (x if norm is None else norm(x)).relu()
    return x


def dense_gin(gin: Any, x: Tensor, adjacency: Tensor) -> Tensor:
    """``x``, ``[n, F]``, on one graph."""
    for layer, mlp in enumerate(gin.mlps):
        x = dense_mlp(mlp, adjacency @ x + (1 + gin.eps[layer]) * x)
        if layer < len(gin.norms) and gin.norms[layer].norm is not None:
            x = gin.norms[layer].norm(x)
    return x


def dense_spe(spe: Any, vectors: Tensor, values: Tensor, mask: Tensor, adjacency: Tensor) -> Tensor:
    """The definition: the stacked matrices ``[n, n, m]``, the GIN on each column of them, the sum over columns."""
    vectors, weight = vectors[:, mask], dense_phi(spe.phi, values[mask])
    stacked = torch.stack([vectors @ weight[:, c].diag() @ vectors.T for c in range(weight.size(1))], dim=2)
    columns = [dense_gin(spe.rho, stacked[:, j], adjacency) for j in range(len(vectors))]
    return torch.stack([*columns, torch.zeros(len(vectors), 5).double()]).sum(0)


def dense_sign_net(net: Any, vectors: Tensor, values: Tensor, mask: Tensor, adjacency: Tensor) -> Tensor:
    def phi(column: Tensor, value: Tensor) -> Tensor:
        x = column.unsqueeze(1)
        if net.reads_eigenvalues:
            x = torch.cat([x, value.expand_as(x)], dim=1)
        return dense_gin(net.phi, x, adjacency) if hasattr(net.phi, "eps") else dense_mlp(net.phi, x)

    columns = []
    for column, value, present in zip(vectors.T, values, mask, strict=True):
        columns.append((phi(column, value) + phi(-column, value)) * present)
    joined = torch.stack(columns, dim=1)
    return dense_mlp(net.rho, joined.flatten(1) if net.combine == "concat" else joined.sum(1))


def trained(encoder: torch.nn.Module) -> torch.nn.Module:
    """In evaluation, with parameters and statistics that are nowhere 0 or 1."""
    for parameter in encoder.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)
    for name, buffer in encoder.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    return encoder.eval()
