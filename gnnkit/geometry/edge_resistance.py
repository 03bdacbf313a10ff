"""Effective resistances of all edges of a graph, and their total, from one elimination."""

import torch
from torch import Tensor

from gnnkit.geometry.laplacian import BLOCK, LARGEST_DENSE, Laplacian
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.geometry.sketch import num_sketch_rows, sketch_resistance


def edge_resistance(
    graph: SimpleGraph, *, method: str = "exact", epsilon: float = 0.3, seed: int = 0
) -> tuple[Tensor, bool]:
    """Resistance of every edge, float64 ``[M]``, and whether it is exact; see :func:`effective_resistance`."""
    if graph.num_edges == 0:
        return torch.zeros(0, dtype=torch.float64), True
    rows = num_sketch_rows(graph.num_edges, epsilon)
    if method != "sketch":
        laplacian = Laplacian.for_all_edges(graph)
        if method == "exact" or laplacian.num_core <= max(LARGEST_DENSE, rows):
            return _exact_edges(laplacian), True
    return sketch_resistance(graph, graph.ends, epsilon, seed), False


def component_totals(graph: SimpleGraph) -> Tensor:
    """Total resistance within each component, float64 ``[components]``."""
    if graph.num_nodes == 0:
        return torch.zeros(0, dtype=torch.float64)
    laplacian, label = Laplacian.for_all_edges(graph), graph.components()
    size = torch.bincount(label).double()
    core, own = _core_resistance(laplacian)
    _, excess = _eliminated_resistance(laplacian, core)
    # A generalised inverse G gives n tr G - 1' G 1. Its diagonal at an eliminated node is the mean of its neighbours'
    # and what that node adds.
    diagonal = laplacian.backward(torch.cat([excess, own])[:, None])[:, 0]
    places = label[laplacian.order]
    trace = torch.zeros_like(size).index_add_(0, places, diagonal)
    ones = laplacian.forward(torch.ones(graph.num_nodes, 1, dtype=torch.float64))[:, 0]
    split = laplacian.num_eliminated
    terms = ones[:split].square() * laplacian.inverse_pivot
    rest = ones[split:] - _component_mean(ones[split:], laplacian.core_component)
    if laplacian.num_core > LARGEST_DENSE:
        solution = laplacian.solve_core(rest[:, None])[:, 0]
        solution = solution - _component_mean(solution, laplacian.core_component)
        terms = torch.cat([terms, rest * solution])
    elif laplacian.num_core:
        terms = torch.cat([terms, ones[split:] * (laplacian.core_inverse @ ones[split:])])
    return size * trace - torch.zeros_like(size).index_add_(0, places, terms)


def _exact_edges(laplacian: Laplacian) -> Tensor:
    core, _ = _core_resistance(laplacian)
    eliminated, _ = _eliminated_resistance(laplacian, core)
    nodes, split = laplacian.graph.num_nodes, laplacian.num_eliminated
    core_row = torch.arange(split, nodes).repeat_interleave(laplacian.core_rowptr.diff())
    keys = torch.cat(
        [
            torch.arange(split).repeat_interleave(laplacian.ptr.diff()) * nodes + laplacian.neighbor,
            core_row * nodes + laplacian.core_col + split,
        ]
    )
    ends = laplacian.place[laplacian.graph.ends].sort(0).values
    return torch.cat([eliminated, core])[torch.searchsorted(keys, ends[0] * nodes + ends[1])]


def _eliminated_resistance(laplacian: Laplacian, core: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ops.gnnkit.eliminated_resistance(
        laplacian.ptr,
        laplacian.neighbor,
        laplacian.share,
        laplacian.pivot,
        laplacian.core_rowptr,
        laplacian.core_col,
        core,
    )


def _core_resistance(laplacian: Laplacian) -> tuple[Tensor, Tensor]:
    """Resistance at each position of the core, and the diagonal of a generalised inverse of it, ``[C]``."""
    row = torch.arange(laplacian.num_core).repeat_interleave(laplacian.core_rowptr.diff())
    col = laplacian.core_col
    if laplacian.num_core <= LARGEST_DENSE:
        inverse = laplacian.core_inverse
        diagonal = inverse.diagonal()
        return diagonal[row] + diagonal[col] - 2 * inverse[row, col], diagonal
    between = torch.empty(col.numel(), dtype=torch.float64)
    diagonal = torch.empty(laplacian.num_core, dtype=torch.float64)
    label = laplacian.core_component
    for begin in range(0, laplacian.num_core, BLOCK):
        nodes = torch.arange(begin, min(begin + BLOCK, laplacian.num_core))
        rhs = torch.zeros(laplacian.num_core, nodes.numel(), dtype=torch.float64)
        rhs[nodes, nodes - begin] = 1.0
        rhs = rhs - _component_mean(rhs, label)
        solution = laplacian.solve_core(rhs)
        solution = solution - _component_mean(solution, label)
        span = slice(int(laplacian.core_rowptr[begin]), int(laplacian.core_rowptr[int(nodes[-1]) + 1]))
        between[span] = solution[col[span], row[span] - begin]
        diagonal[nodes] = solution[nodes, nodes - begin]
    turned = (col * laplacian.num_core + row).argsort()  # the position of the other direction
    return diagonal[row] + diagonal[col] - between - between[turned], diagonal


def _component_mean(value: Tensor, label: Tensor) -> Tensor:
    count = int(label.max()) + 1 if label.numel() else 0
    total = value.new_zeros(count, *value.shape[1:]).index_add_(0, label, value)
    size = torch.bincount(label, minlength=count).reshape(-1, *(1,) * (value.dim() - 1))
    return (total / size)[label]
