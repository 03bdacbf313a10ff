"""Effective resistances of given pairs of nodes, or of all of them."""

import torch
from torch import Tensor

from gnnkit.geometry.laplacian import (
    BLOCK,
    LARGEST_DENSE,
    Laplacian,
    inverse_of_positive,
    members_by_label,
)
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.geometry.sketch import num_sketch_rows, sketch_resistance


def pair_resistance(graph: SimpleGraph, pairs: Tensor, method: str, epsilon: float, seed: int) -> Tensor:
    """Resistance of each of the pairs ``[2, P]``, float64 ``[P]``; see ``effective_resistance``."""
    label = graph.components()
    out = torch.where(label[pairs[0]] == label[pairs[1]], 0.0, torch.inf).double()
    ask = ((pairs[0] != pairs[1]) & out.isfinite()).nonzero().squeeze(1)
    if method != "sketch" and ask.numel() > 1:
        ask = ask[~_from_dense_components(graph, label, pairs, ask, out)]
    if ask.numel() == 0:
        return out
    low, high = pairs[:, ask].sort(0).values
    keys, inverse = torch.unique(low * graph.num_nodes + high, return_inverse=True)
    different = torch.stack([keys // graph.num_nodes, keys % graph.num_nodes])
    if method == "exact" or (method == "auto" and keys.numel() <= num_sketch_rows(keys.numel(), epsilon)):
        found = _solved_pairs(graph, different)
    else:
        found = sketch_resistance(graph, different, epsilon, seed)
    out[ask] = found[inverse]
    return out


def all_resistances(graph: SimpleGraph) -> Tensor:
    """Resistances of all pairs, float64 ``[N, N]``; a Cholesky factorisation per component."""
    out = torch.full((graph.num_nodes, graph.num_nodes), torch.inf, dtype=torch.float64)
    for nodes in members_by_label(graph.components()):
        out[nodes[:, None], nodes] = _component_resistance(graph, nodes)
    return out


def _component_resistance(graph: SimpleGraph, nodes: Tensor) -> Tensor:
    """Resistances of all pairs within one component, ``[n, n]``."""
    size = nodes.numel()
    if size == 1:
        return torch.zeros(1, 1, dtype=torch.float64)
    local = torch.full((graph.num_nodes,), -1).scatter_(0, nodes, torch.arange(size))
    inside = local[graph.ends[0]] >= 0
    row, col = local[graph.ends[:, inside]]
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix[row, col] = matrix[col, row] = -graph.edge_weight[inside]
    matrix.diagonal().copy_(-matrix.sum(1))
    # The constant vector, in the null space, gets an eigenvalue amid the others.
    matrix += matrix.diagonal().mean() / size
    inverse = inverse_of_positive(matrix)
    diagonal = inverse.diagonal()
    out = diagonal[:, None] + diagonal - 2 * inverse
    out.diagonal().zero_()
    return out.clamp_(min=0)


def _from_dense_components(graph: SimpleGraph, label: Tensor, pairs: Tensor, ask: Tensor, out: Tensor) -> Tensor:
    """Fills in pairs of small components of which many are asked for; returns which of ``ask`` these are."""
    component = label[pairs[0, ask]]
    asked, size = torch.bincount(component, minlength=int(label.max()) + 1), torch.bincount(label)
    many = (size <= LARGEST_DENSE) & (8 * asked >= size)
    members = members_by_label(label)
    local = torch.zeros_like(label)
    order = component.argsort(stable=True)
    begins = (asked.cumsum(0) - asked).tolist()
    for number in (many & (asked > 0)).nonzero().squeeze(1).tolist():
        nodes = members[number]
        local[nodes] = torch.arange(nodes.numel())
        chosen = ask[order[begins[number] : begins[number] + int(asked[number])]]
        ends = local[pairs[:, chosen]]
        out[chosen] = _component_resistance(graph, nodes)[ends[0], ends[1]]
    return many[component]


def _solved_pairs(graph: SimpleGraph, pairs: Tensor) -> Tensor:
    laplacian = Laplacian.for_few_solutions(graph)
    dense = laplacian.num_core <= min(LARGEST_DENSE, 4 * pairs.size(1))
    out = torch.empty(pairs.size(1), dtype=torch.float64)
    ends = laplacian.place[pairs]
    for begin in range(0, pairs.size(1), BLOCK):
        u, v = ends[:, begin : begin + BLOCK]
        columns = torch.arange(u.numel())
        block = torch.zeros(graph.num_nodes, u.numel(), dtype=torch.float64)
        block[u, columns] = 1.0
        block[v, columns] = -1.0
        out[begin : begin + BLOCK] = laplacian.quadratic_forms(block, dense=dense)
    return out
