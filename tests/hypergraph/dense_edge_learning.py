"""Graphs for the tests of edge learning, and the models again with loops over edges and dense matrices."""

import math
from typing import Any

import networkx as nx
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.hypergraph import (
    EdgeReconstruction,
    EHGNNClassifier,
    GMPool,
    HyperDrop,
    Hypergraph,
    HypergraphConv,
    dual_hyperedge_index,
)

DOUBLE = torch.float64
WIDTH = 3


def data_of(graph: nx.Graph, seed: int = 0, *, edge_attr: bool = True) -> Data:
    """Both directions of every edge next to each other, with random features, the same for both directions."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.tensor(list(graph.edges), dtype=torch.int64).reshape(-1, 2)
    edge_index = torch.stack([pairs, pairs.flip(1)], 1).reshape(-1, 2).t().contiguous()
    x = torch.randn(graph.number_of_nodes(), WIDTH, dtype=DOUBLE, generator=generator)
    data = Data(x=x, edge_index=edge_index)
    if edge_attr:
        rows = torch.randn(len(pairs), WIDTH, dtype=DOUBLE, generator=generator)
        data.edge_attr = rows.repeat_interleave(2, 0)
    return data


GRAPHS = [
    nx.cycle_graph(7),
    nx.empty_graph(2),
    nx.star_graph(5),
    nx.gnp_random_graph(9, 0.4, seed=2),
    nx.path_graph(2),
    nx.karate_club_graph(),
    nx.empty_graph(1),
]


def several(**options: Any) -> list[Data]:
    return [data_of(nx.convert_node_labels_to_integers(graph), seed, **options) for seed, graph in enumerate(GRAPHS)]


def edge_ptr_of(parts: list[Data]) -> Tensor:
    return torch.tensor([0, *(part.num_edges for part in parts)]).cumsum(0)


def randomised(module: torch.nn.Module) -> Any:
    """In float64, with no parameter zero, as biases are at first."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return module.double()


def dense_dual_convolution(conv: HypergraphConv, x: Tensor, edges: list[tuple[int, int]], num_nodes: int) -> Tensor:
    incidence = torch.zeros(len(edges), num_nodes + len(edges), dtype=DOUBLE)
    for row, ends in enumerate(edges):
        for end in ends:
            incidence[row, end] += 1
        incidence[row, num_nodes + row] = 1
    incidence[:, :num_nodes] *= incidence[:, :num_nodes].sum(0) > 1
    mean_of_nodes = incidence.t() / incidence.sum(0).clamp(min=1).unsqueeze(1)
    return (incidence / incidence.sum(1, keepdim=True)) @ mean_of_nodes @ x @ conv.lin.weight.t() + conv.bias


def dense_gcn(conv: Any, x: Tensor, edges: list[tuple[int, int]], weight: Tensor) -> Tensor:
    adjacency = torch.eye(x.size(0), dtype=DOUBLE)
    for (source, target), value in zip(edges, weight, strict=True):
        adjacency[target, source] += value
    root = adjacency.sum(1).rsqrt()
    return root.unsqueeze(1) * adjacency * root @ x @ conv.lin.weight.t() + conv.bias


def dense_drop(drop: HyperDrop, edge: Tensor, edges: list[tuple[int, int]], num_nodes: int) -> tuple[list[int], Tensor]:
    """Edges kept and the weights of all of them."""
    score = dense_dual_convolution(drop.conv, edge, edges, num_nodes).detach().squeeze(1).tanh()
    groups = [[position] for position in range(len(edges))]
    if drop.symmetric:
        groups = [[position, position + 1] for position in range(0, len(edges), 2)]
        score = score.reshape(-1, 2).mean(1).repeat_interleave(2)
    count = math.ceil(round(drop.ratio * len(groups), 9))
    groups = sorted(groups, key=lambda group: -float(score[group[0]]))[:count]
    return sorted(position for group in groups for position in group), score.clamp(0, 1)


def dense_classifier(model: EHGNNClassifier, data: Data) -> Tensor:
    x, edge = data.x, data.edge_attr
    edges = [tuple(pair) for pair in data.edge_index.t().tolist()]
    weight, out = torch.ones(len(edges), dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE)
    for layer, conv in enumerate(model.convs):
        x = dense_gcn(conv, x, edges, weight).relu()
        out = out + torch.cat([x.max(0).values, x.mean(0), x.sum(0)])
        if layer < len(model.edge_convs):
            edge = dense_dual_convolution(model.edge_convs[layer], edge, edges, data.num_nodes).relu()
            position, weight = dense_drop(model.drop, edge, edges, data.num_nodes)
            edges, edge, weight = [edges[p] for p in position], edge[position], weight[position]
    return model.head(out.unsqueeze(0))


def dual(data: Any) -> Hypergraph:
    index = dual_hyperedge_index(data.edge_index, data.num_nodes)
    return Hypergraph.from_incidence(index, num_nodes=data.num_edges, num_hyperedges=data.num_nodes + data.num_edges)


def dense_pool(pool: GMPool, x: Tensor, edges: list[tuple[int, int]], num_nodes: int) -> tuple[Tensor, Tensor]:
    """Clusters of one graph, and what leads back to its edges."""
    query = pool.seeds @ pool.query.weight.t() + pool.query.bias
    key, value = (dense_dual_convolution(conv, x, edges, num_nodes) for conv in (pool.key, pool.value))
    parts, weights = [], []
    for q, k, v in zip(*(rows.chunk(pool.num_heads, 1) for rows in (query, key, value)), strict=True):
        weights.append((q @ k.t() / math.sqrt(query.size(1))).softmax(0 if pool.softmax_over == "seeds" else 1))
        parts.append(q + weights[-1] @ v)
    out = torch.cat(parts, 1)
    out = out + (out @ pool.out.weight.t() + pool.out.bias).relu()
    back = [w.t() @ o for w, o in zip(weights, out.chunk(pool.num_heads, 1), strict=True)]
    return out, torch.cat(back, 1)


def dense_reconstruction(model: EdgeReconstruction, data: Data) -> Tensor:
    edges, edge = [tuple(pair) for pair in data.edge_index.t().tolist()], data.edge_attr
    for conv in model.encoder.convs:
        edge = dense_dual_convolution(conv, edge, edges, data.num_nodes).relu()
    edge = dense_pool(model.encoder.pool, edge, edges, data.num_nodes)[1]
    *hidden, last = model.decoder
    for conv in hidden:
        edge = dense_dual_convolution(conv, edge, edges, data.num_nodes).relu()
    return dense_dual_convolution(last, edge, edges, data.num_nodes)
