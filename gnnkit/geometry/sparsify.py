"""Spectral sparsification: a random choice of edges whose Laplacian stays close to that of the graph."""

import math

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.geometry.edge_resistance import edge_resistance
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.geometry.sketch import seeded_generator
from gnnkit.ops._checks import check_number

_FAILURE = 0.01
_SKETCH = 0.3


def spectral_sparsify(
    edge_index: Tensor, num_nodes: int, *, epsilon: float, weight: Tensor | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    r"""Samples edges by their effective resistance, and weights them so that the Laplacian is kept.

    Spielman and Srivastava, "Graph sparsification by effective resistances", 2011. ``q`` edges are drawn with
    replacement, each with a probability :math:`p_e \propto w_e R_e`; each draw adds :math:`w_e / (q p_e)` to the weight
    of its edge. Edges that are never drawn go. With a probability of at least 0.99 over the seed,

    .. math::
        (1 - \epsilon) \, x^\top L x \le x^\top \tilde L x \le (1 + \epsilon) \, x^\top L x
        \quad \text{for all } x, \qquad
        q = \left\lceil \frac{2 (1 + \epsilon / 3) \, r \ln(2 r / 0.01)}{\epsilon^2} \right\rceil

    with ``r`` the number of nodes less that of components (by Bernstein's inequality for matrices, since
    :math:`\sum_e w_e R_e = r`). So a component keeps its bridges and stays connected, and no two components are joined.
    Only graphs of many more than ``q`` edges get much smaller. Where resistances come from a sketch (see
    :func:`~gnnkit.geometry.effective_resistance` with ``method="auto"``), ``q`` is larger by the factor of
    ``1.3 / 0.7`` that they may be off.

    Args:
        edge_index: ``[2, E]``, both directions of every edge; self-loops, which no Laplacian sees, go.
        num_nodes: Number of nodes ``N``.
        epsilon: Relative error of the quadratic form, in (0, 1).
        weight: One positive number per column; multi-edges add. None: 1.
        seed: Seed of the draws.

    Returns:
        Both directions of the edges that stay, in order of source, then target, ``[2, E']`` of the dtype of
        ``edge_index``; and their weights, float64 ``[E']``. On the device of ``edge_index``.

    Raises:
        ConfigError: If ``epsilon`` is out of range.
        DataError: If the graph is directed, or a weight is not finite and positive.
        IndexRangeError: If an edge leaves the range of the nodes.
        ShapeError: If a tensor has the wrong shape or dtype.

    Determinism: the same result for one seed, on one machine.
    Complexity: that of the resistances of all edges, and ``O(M + q)``.
    """
    epsilon = checked_epsilon(epsilon)
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight, allow_self_loops=True)
    kept, value = sampled_edges(graph, epsilon, seeded_generator(seed))
    out = SimpleGraph.from_ends(graph.ends[:, kept], graph.num_nodes, value)
    return out.edge_index().to(edge_index), out.edge_weight[out.edge].to(edge_index.device)


def checked_epsilon(epsilon: object) -> float:
    """Raises ConfigError where ``epsilon`` is no number between 0 and 1."""
    value = check_number("epsilon", epsilon)
    if not 0 < value < 1:
        raise ConfigError(f"epsilon must lie between 0 and 1, got {value}")
    return value


def sampled_edges(graph: SimpleGraph, epsilon: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Numbers of the edges that stay, ascending, and their new weights."""
    if graph.num_edges == 0:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    weight = graph.edge_weight
    resistance, exact = edge_resistance(graph, method="auto", epsilon=_SKETCH, seed=seed)
    leverage = (weight * resistance).cumsum(0)
    rank = graph.num_nodes - int(graph.components().max()) - 1
    draws = num_draws(rank, epsilon) * (1.0 if exact else (1 + _SKETCH) / (1 - _SKETCH))
    count = math.ceil(draws)
    point = torch.rand(count, dtype=torch.float64, generator=generator) * leverage[-1]
    chosen = torch.searchsorted(leverage, point, right=True).clamp_(max=graph.num_edges - 1)
    times = torch.bincount(chosen, minlength=graph.num_edges)
    kept = times.nonzero().squeeze(1)
    # w / (q p) with p = w R / sum: the weight of the edge itself cancels.
    return kept, times[kept] * leverage[-1] / (count * resistance[kept])


def num_draws(rank: int, epsilon: float) -> float:
    """Edges to draw for a Laplacian of this rank."""
    return 2 * (1 + epsilon / 3) * rank * math.log(2 * max(rank, 1) / _FAILURE) / epsilon**2
