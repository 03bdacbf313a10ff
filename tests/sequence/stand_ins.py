"""Parts whose answers can be written down, in place of blocks, orderings and tokenizers."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit import Graph
from gnnkit.ops import segment_reduce
from gnnkit.sequence import Tokens


class RunningSum(torch.nn.Module):
    """Reads an order: every token gets the sum of those before it and of itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        parts = [part.flip(0).cumsum(0).flip(0) if reverse else part.cumsum(0) for part in split(x, offsets)]
        return torch.cat(parts)


class MeanOfSequence(torch.nn.Module):
    """Reads no order: every token gets the mean of its sequence."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        return segment_reduce(x, offsets, "mean").repeat_interleave(offsets.diff(), dim=0)


class ByDegree:
    """Ascending out-degree; ties by index, or by noise of a seed."""

    def __init__(self, *, noise: bool = False) -> None:
        self.is_random = noise
        self.seeds: list[int] = []

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tensor:
        self.seeds.append(seed)
        key = graph.out_degree().double()
        if self.is_random:
            key = key + torch.rand(key.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return torch.cat([i + part.argsort(stable=True) for i, part in zip(ptr, split(key, ptr), strict=False)])


class GivenTokens:
    """The same tokens whatever the graph, or one of several by the seed."""

    def __init__(self, *tokens: Tokens) -> None:
        self.tokens = tokens
        self.is_random = len(tokens) > 1

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        return self.tokens[seed % len(self.tokens)]


class Neighbourhoods:
    """Two tokens for each node: all sources of its edges with itself, and then itself."""

    is_random = False

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        source, target = graph.edge_index
        near = [torch.cat([source[target == i], torch.tensor([i])]).unique() for i in range(graph.num_nodes)]
        parts = [part for i, nodes in enumerate(near) for part in (nodes, torch.tensor([i]))]
        return tokens_of(parts, [2] * graph.num_nodes, graph.num_nodes)


class MeanOfMembers(torch.nn.Module):
    """The mean feature of each token's nodes."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tokens: Tokens, x: Tensor, graph: Graph, edge_attr: Tensor | None = None) -> Tensor:
        return segment_reduce(x[tokens.members], tokens.token_ptr, "mean")


def tokens_of(parts: list[Tensor], lengths: list[int], num_nodes: int, level: Any = "node") -> Tokens:
    """Sequences of ``lengths`` tokens, whose nodes are listed."""
    sizes = torch.tensor([0, *(len(part) for part in parts)])
    return Tokens(torch.cat(parts), sizes.cumsum(0), torch.tensor([0, *lengths]).cumsum(0), level, num_nodes)


def split(x: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
    return x.split(offsets.diff().tolist())


def random_graph(num_nodes: int, num_edges: int, width: int = 5) -> Data:
    """Real-valued features of nodes and edges; as many edges as possible may be equal."""
    count = num_edges if num_nodes else 0
    return Data(
        x=torch.randn(num_nodes, width),
        edge_index=torch.randint(max(num_nodes, 1), (2, count)),
        edge_attr=torch.randn(count, 3),
        num_nodes=num_nodes,
    )


def batch_of_awkward_graphs() -> tuple[Any, list[Data]]:
    """A usual graph, one node, no edges, many edges."""
    graphs = [random_graph(7, 16), random_graph(1, 0), random_graph(4, 0), random_graph(3, 20), random_graph(12, 30)]
    return Batch.from_data_list(graphs), graphs


def relabelled(data: Data, permutation: Tensor) -> Data:
    """The same graph where node ``i`` is called ``permutation[i]``."""
    x = torch.empty_like(data.x)  # type: ignore[arg-type]
    x[permutation] = data.x
    edge_index = permutation[data.edge_index]  # type: ignore[index]
    return Data(x=x, edge_index=edge_index, edge_attr=data.edge_attr, num_nodes=data.num_nodes)
