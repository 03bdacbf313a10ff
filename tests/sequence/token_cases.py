"""Tokenizers and blocks that stand in for real ones, and small batches of graphs."""

import networkx as nx
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit import Graph
from gnnkit.sequence.tokens import Tokens

DIM = 8


class Given:
    """Gives the tokens that it was given."""

    is_random = False

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        return self.tokens


class RandomPatches:
    """Nodes in random patches, each with its neighbours; some patches are empty."""

    is_random = True

    def __init__(self, num_patches: int) -> None:
        self.num_patches = num_patches
        self.seeds: list[int] = []

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        self.seeds.append(seed)
        generator = torch.Generator().manual_seed(seed)
        graph_of_node = torch.arange(ptr.numel() - 1).repeat_interleave(ptr.diff())
        token = graph_of_node * self.num_patches
        token = token + torch.randint(self.num_patches, token.shape, generator=generator)
        source, destination = graph.edge_index
        own = torch.stack([token, torch.arange(graph.num_nodes)])
        token, members = torch.cat([own, torch.stack([token[destination], source])], 1).unique(dim=1)
        num_tokens = (ptr.numel() - 1) * self.num_patches
        token_ptr = boundaries(torch.bincount(token, minlength=num_tokens).tolist())
        offsets = torch.arange(ptr.numel()) * self.num_patches
        return Tokens(members, token_ptr, offsets, "graph", graph.num_nodes)


class Strips:
    """Patches of three consecutive nodes, of which neighbours share one."""

    is_random = False

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        sets, lengths = [], []
        for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
            firsts = range(begin, end, 2)
            sets += [list(range(first, min(first + 3, end))) for first in firsts]
            lengths.append(len(firsts))
        return tokens_of(sets, lengths, graph.num_nodes)


class Ball:
    """For each node, all nodes within one step, then the node itself: level "node"."""

    is_random = False

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        around = [set(graph.col[graph.rowptr[i] : graph.rowptr[i + 1]].tolist()) | {i} for i in range(graph.num_nodes)]
        sets = [nodes for i, ball in enumerate(around) for nodes in (sorted(ball), [i])]
        return tokens_of(sets, [2] * graph.num_nodes, graph.num_nodes, "node")


class MeanBlock(torch.nn.Module):
    """A block that reads in no order: an affine map of each token and of the mean of its sequence."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.own, self.mean = torch.nn.Linear(dim, dim), torch.nn.Linear(dim, dim)

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        parts = x.split(offsets.diff().tolist())
        return self.own(x) + torch.cat([x[:0], *(self.mean(part.mean(0)).tanh().expand_as(part) for part in parts)])


class MeanEncoder(torch.nn.Module):
    """The mean of the members' features, mapped."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.linear = torch.nn.Linear(in_dim, dim)

    def forward(self, tokens: Tokens, x: Tensor, graph: Graph, edge_attr: Tensor | None = None) -> Tensor:
        mask = x.new_zeros(tokens.num_tokens, tokens.num_nodes)
        mask[tokens.token_of_member, tokens.members] = 1.0
        return self.linear(mask / mask.sum(1, keepdim=True) @ x)


def boundaries(sizes: list[int]) -> Tensor:
    """0 and the running sums of sizes."""
    return torch.tensor([0, *sizes]).cumsum(0)


def tokens_of(sets: list[list[int]], lengths: list[int], num_nodes: int, level: str = "graph") -> Tokens:
    """Tokens from sets of nodes, and the number of sets of each sequence."""
    members = torch.tensor([node for nodes in sets for node in nodes], dtype=torch.int64)
    return Tokens(members, boundaries([len(nodes) for nodes in sets]), boundaries(lengths), level, num_nodes)  # type: ignore[arg-type]


def data_of(source: nx.Graph, seed: int = 0) -> Data:
    """An undirected graph with random features of nodes and edges, all of width DIM, in float64."""
    source = nx.convert_node_labels_to_integers(source)
    generator = torch.Generator().manual_seed(seed)
    edges = [*source.edges, *((v, u) for u, v in source.edges)]
    edge_index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T.contiguous()
    return Data(
        x=torch.randn(len(source), DIM, generator=generator).double(),
        edge_index=edge_index,
        edge_attr=torch.randn(edge_index.size(1), DIM, generator=generator).double(),
    )


SOURCES = (
    nx.cycle_graph(6),
    nx.empty_graph(1),
    nx.barbell_graph(4, 1),
    nx.disjoint_union(nx.path_graph(3), nx.star_graph(3)),
)


def batch_of(*sources: nx.Graph) -> tuple[Tensor, Graph, Tensor, Tensor]:
    """Arguments of a model: features, graph, edge features, boundaries."""
    batch = Batch.from_data_list([data_of(source, seed) for seed, source in enumerate(sources)])
    return arguments(batch)


def arguments(data: Data | Batch) -> tuple[Tensor, Graph, Tensor, Tensor]:
    """The same, of one graph or of a batch."""
    num_nodes = data.x.size(0)
    ptr = getattr(data, "ptr", torch.tensor([0, num_nodes]))
    return data.x, Graph.from_edge_index(data.edge_index, num_nodes=num_nodes), data.edge_attr, ptr


def renumbered(data: Data, place: Tensor) -> Data:
    """Node ``i`` becomes node ``place[i]``."""
    back = torch.argsort(place)
    return Data(x=data.x[back], edge_index=place[data.edge_index], edge_attr=data.edge_attr)
