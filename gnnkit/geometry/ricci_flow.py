"""Discrete Ricci flow: edges shrink where they are curved and grow where they are bridges."""

from dataclasses import replace

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.geometry.ollivier import weighted_curvature
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import check_integer, check_number

# Of the mean length of a component: what no edge shrinks below, so that it stays an edge.
_SHORTEST = 1e-12


def ricci_flow(
    edge_index: Tensor,
    num_nodes: int,
    *,
    weight: Tensor | None = None,
    steps: int = 20,
    step_size: float = 1.0,
    alpha: float = 0.5,
    tolerance: float = 1e-4,
) -> Tensor:
    r"""Lengths of the edges after a discrete Ricci flow.

    .. math:: w_e \leftarrow w_e - \eta \, \kappa_e \, w_e

    Ni et al., "Community detection on networks with Ricci flow", 2019. :math:`\kappa` is the Ollivier-Ricci curvature
    for the present lengths (see :func:`ollivier_ricci`), measured anew in every step. After each step lengths are
    scaled to a mean of 1. Edges between communities come out long: cutting the longest ones finds communities.

    The flow runs in every connected component by itself, and ends there when the curvatures of its edges differ by less
    than ``tolerance``. Lengths do not shrink below 1e-12 of the mean.

    Args:
        edge_index: ``[2, E]``, both directions of every edge, without self-loops.
        num_nodes: Number of nodes, isolated ones included.
        weight: Lengths to start with, ``[E]``, positive. Of multi-edges the shortest counts. None: all 1.
        steps: Most steps.
        step_size: :math:`\eta`, in (0, 1].
        alpha: Probability that a walk stays, in [0, 1].
        tolerance: Largest difference of curvatures at which a component is left alone.

    Returns:
        The length of each column of ``edge_index``, float64 ``[E]``. Where nothing has moved, as it was given.

    Raises:
        ConfigError: If ``steps`` or ``tolerance`` is negative, or ``step_size`` or ``alpha`` is out of range.
        DataError: As :func:`ollivier_ricci`.
        IndexRangeError: If an edge leaves the range of the nodes.
        ShapeError: If a tensor has the wrong shape or dtype.

    Determinism: bitwise, for any number of threads.
    Complexity: ``steps`` times that of :func:`ollivier_ricci` with weights.
    """
    _check_settings(steps, step_size, alpha, tolerance)
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight, parallel="min")
    length = graph.edge_weight
    component = graph.components()[graph.ends[0]]
    num_components = int(component.max()) + 1 if component.numel() else 0
    count = torch.bincount(component, minlength=num_components).double()
    for _ in range(steps):
        curvature = weighted_curvature(replace(graph, weight=length), alpha)
        moves = (_spread(curvature, component, num_components) >= tolerance)[component]
        if not bool(moves.any()):
            break
        flowed = length * (1 - step_size * curvature)
        flowed = flowed.clamp(min=0) * _scale(flowed.clamp(min=0), component, count)
        flowed = flowed.clamp(min=_SHORTEST)
        length = torch.where(moves, flowed, length)
    return graph.per_column(length).to(edge_index.device)


def _spread(curvature: Tensor, component: Tensor, num_components: int) -> Tensor:
    """Largest difference of the curvatures of each component."""
    empty = curvature.new_zeros(num_components)
    most = empty.scatter_reduce(0, component, curvature, "amax", include_self=False)
    return most - empty.scatter_reduce(0, component, curvature, "amin", include_self=False)


def _scale(length: Tensor, component: Tensor, count: Tensor) -> Tensor:
    """What makes the mean length of each component 1, for each edge."""
    total = torch.zeros_like(count).index_add(0, component, length)
    return (count / total)[component]


def _check_settings(steps: int, step_size: float, alpha: float, tolerance: float) -> None:
    if check_integer("steps", steps) < 0:
        raise ConfigError(f"steps must not be negative, got {steps}")
    if not 0 < check_number("step_size", step_size) <= 1:
        raise ConfigError(f"step_size must lie in (0, 1], got {step_size}")
    if not 0 <= check_number("alpha", alpha) <= 1:
        raise ConfigError(f"alpha must lie in [0, 1], got {alpha}")
    if not check_number("tolerance", tolerance) >= 0:
        raise ConfigError(f"tolerance must not be negative, got {tolerance}")
