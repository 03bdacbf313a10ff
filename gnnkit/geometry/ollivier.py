"""Ollivier-Ricci curvature: how much closer two random walks are than the nodes that they start from."""

from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import check_choice, check_integer, check_number

_LARGEST_DENOMINATOR = 10**6
_MOST_UNITS = (2**63 - 1) // 4
_LONGEST = 1e100


class TransportPlan(NamedTuple):
    """A cheapest transport for every edge; see :func:`ollivier_ricci_plan`.

    Attributes:
        ends: The edges, each once, ``[2, M]``, the smaller end first, in lexicographic order.
        edge: The edge of each shipment, ``[K]``, ascending.
        source: Where its mass comes from in the walk of ``ends[0]``, ``[K]``.
        target: Where it goes in the walk of ``ends[1]``, ``[K]``.
        mass: How much of the whole it is, positive, float64 ``[K]``.
    """

    ends: Tensor
    edge: Tensor
    source: Tensor
    target: Tensor
    mass: Tensor


def ollivier_ricci(
    edge_index: Tensor,
    num_nodes: int,
    *,
    alpha: float = 0.0,
    method: str = "exact",
    weight: Tensor | None = None,
    epsilon: float = 0.1,
    max_iterations: int = 1000,
) -> Tensor:
    r"""Ollivier-Ricci curvature of every edge.

    .. math::
        \kappa_\alpha(u, v) = 1 - \frac{W_1(\mu_u^\alpha, \mu_v^\alpha)}{d(u, v)}

    Ollivier, "Ricci curvature of Markov chains on metric spaces", 2009. :math:`\mu_x^\alpha` is a lazy random walk:
    it stays at ``x`` with probability :math:`\alpha` and else goes to a neighbour, to each with equal probability.
    :math:`W_1` is the least cost of carrying the one walk's mass to the other's, and :math:`d` the number of edges on
    a shortest path. Curvature is positive inside of clusters, 0 on grids and negative on bridges; it lies in
    :math:`(-2, 1]`.

    With weights, edges have lengths: :math:`d` is the length of a shortest path, and a neighbour at the end of an edge
    of length ``w`` gets mass in proportion to :math:`e^{-w^2}`, as in the library GraphRicciCurvature.

    Args:
        edge_index: ``[2, E]``, both directions of every edge, without self-loops.
        num_nodes: Number of nodes, isolated ones included.
        alpha: Laziness :math:`\alpha`, in [0, 1].
        method: ``"exact"``, or ``"sinkhorn"``, which smooths the transport by entropy.
        weight: Length of each edge, ``[E]``, positive. Of multi-edges the shortest counts. None: all 1.
        epsilon: Strength of the smoothing, in units of length; of ``"sinkhorn"`` only.
        max_iterations: Most iterations per edge of ``"sinkhorn"``, which stops before when the masses are met to 1e-9.

    Returns:
        The curvature of each column of ``edge_index``, float64 ``[E]``.

    Without weights the exact method counts masses in whole numbers, with ``alpha`` read as the nearest fraction with a
    denominator of at most 10^6 (so 0.1 is 1/10, and any other number is met to 1e-12): results are exact rational
    numbers, rounded once. With weights, masses are rounded to 2^-50 of the whole, and results equal a linear program's
    to about 1e-12.

    ``"sinkhorn"`` gives the cost of a plan with the right masses, not the smoothed objective. It is never less than
    :math:`W_1`, so curvature comes out too low: by at most :math:`\varepsilon \log(\min(d_u, d_v) + 1) / d(u, v)` where
    it has converged. It is slower than the exact method, and there for comparison.

    Raises:
        ConfigError: If ``alpha`` or ``epsilon`` is out of range, or ``max_iterations`` is below 1.
        DataError: If a direction of an edge is missing, there is a self-loop, or a weight is not finite and positive or
            differs between directions; or if degrees beyond a million and the denominator of ``alpha`` are too large
            together to be counted in 64 bits.
        IndexRangeError: If an edge leaves the range of the nodes.
        ShapeError: If a tensor has the wrong shape or dtype, or ``method`` has no such name.

    Determinism: bitwise, for any number of threads.
    Complexity: without weights, two largest flows per edge over the neighbours of the neighbours of its ends: typically
    as many steps as there are of these; memory ``O(E + N)``. With weights, or with ``"sinkhorn"``, searches for
    shortest paths around each edge, and ``d_u * d_v`` numbers of memory per thread.
    """
    check_choice("method", method, ("exact", "sinkhorn"))
    alpha = _checked_alpha(alpha)
    epsilon = check_number("epsilon", epsilon)
    if not 0 < epsilon < float("inf"):
        raise ConfigError(f"epsilon must be positive and finite, got {epsilon}")
    if check_integer("max_iterations", max_iterations) < 1:
        raise ConfigError(f"max_iterations must be at least 1, got {max_iterations}")
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight, parallel="min")
    if method == "sinkhorn":
        cost, distance = torch.ops.gnnkit.ollivier_sinkhorn(*_walks(graph, alpha), epsilon, max_iterations, 1e-9)
        curvature = 1 - cost / distance
    elif graph.weight is None:
        curvature = _exact(graph, *_fractions(graph, alpha))
    else:
        curvature = weighted_curvature(graph, alpha)
    return graph.per_column(curvature).to(edge_index.device)


def lin_lu_yau(edge_index: Tensor, num_nodes: int) -> Tensor:
    r"""Lin-Lu-Yau curvature of every edge: Ollivier-Ricci curvature in the limit of a walk that hardly moves.

    .. math::
        \kappa(u, v) = \lim_{\alpha \to 1} \frac{\kappa_\alpha(u, v)}{1 - \alpha}
                     = \frac{D + 1}{D} \kappa_{1 / (D + 1)}(u, v), \qquad D = \max(d_u, d_v)

    Lin, Lu and Yau, "Ricci curvature of graphs", 2011; the closed form is by Bourne et al., 2018.

    Args:
        edge_index: ``[2, E]``, both directions of every edge, without self-loops.
        num_nodes: Number of nodes, isolated ones included.

    Returns:
        The curvature of each column of ``edge_index``, float64 ``[E]``.

    Raises:
        DataError: As :func:`ollivier_ricci`, without weights.
        IndexRangeError: If an edge leaves the range of the nodes.
        ShapeError: If ``edge_index`` has the wrong shape or dtype.

    Determinism: bitwise; exact rational numbers, rounded to float64.
    Complexity: as :func:`ollivier_ricci` without weights.
    """
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes)
    largest = graph.degree[graph.ends].amax(0)
    curvature = _exact(graph, torch.ones_like(largest), largest + 1)
    return graph.per_column(curvature * (largest + 1) / largest).to(edge_index.device)


def ollivier_ricci_plan(
    edge_index: Tensor, num_nodes: int, *, alpha: float = 0.0, weight: Tensor | None = None
) -> TransportPlan:
    """A cheapest transport between the random walks of the ends of every edge, behind :func:`ollivier_ricci`.

    The masses of an edge add up to 1 in all, by source to the walk of its first end and by target to that of its
    second; times the distances from sources to targets they add up to the transport cost. What both walks have at one
    node stays there. Where several plans are equally cheap, one is chosen.

    Args:
        edge_index: ``[2, E]``, both directions of every edge, without self-loops.
        num_nodes: Number of nodes, isolated ones included.
        alpha: Probability that a walk stays, in [0, 1].
        weight: Length of each edge, ``[E]``, positive. None: all 1.

    Returns:
        The plans of all edges, in sparse form.

    Raises:
        ConfigError: If ``alpha`` is out of range.
        DataError: As :func:`ollivier_ricci`.
        IndexRangeError: If an edge leaves the range of the nodes.
        ShapeError: If a tensor has the wrong shape or dtype.

    Determinism: bitwise, for any number of threads. Without the native library another cheapest plan may be chosen.
    Complexity: as :func:`ollivier_ricci`, and the plans themselves, of at most about twice as many shipments per edge
    as there are nodes in both walks.
    """
    alpha = _checked_alpha(alpha)
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight, parallel="min")
    if graph.weight is None:
        stays, of = _fractions(graph, alpha)
        units = _checked_units(graph, of)
        edge, source, target, amount = torch.ops.gnnkit.ollivier_plan(graph.rowptr, graph.col, graph.ends, stays, of)
        mass = amount.double() / units[edge].double()
    else:
        edge, source, target, mass = torch.ops.gnnkit.ollivier_weighted_plan(*_walks(graph, alpha))
    device = edge_index.device
    return TransportPlan(*(value.to(device) for value in (graph.ends, edge, source, target, mass)))


def weighted_curvature(graph: SimpleGraph, alpha: float) -> Tensor:
    """Exact curvature of each edge of a graph with lengths, ``[M]``."""
    cost, distance = torch.ops.gnnkit.ollivier_weighted(*_walks(graph, alpha))
    return 1 - cost / distance


def _checked_alpha(alpha: float) -> float:
    alpha = check_number("alpha", alpha)
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must lie in [0, 1], got {alpha}")
    return alpha


def _fractions(graph: SimpleGraph, alpha: float) -> tuple[Tensor, Tensor]:
    share = Fraction(alpha).limit_denominator(_LARGEST_DENOMINATOR)
    of = torch.full_like(graph.ends[0], share.denominator)
    return torch.full_like(of, share.numerator), of


def _checked_units(graph: SimpleGraph, of: Tensor) -> Tensor:
    """Units of mass of each edge, ``[M]``; raises where they are too many."""
    degree = graph.degree[graph.ends]
    common = torch.lcm(degree[0], degree[1])
    too_many = common > _MOST_UNITS // of
    if bool(too_many.any()):
        edge = int(too_many.nonzero()[0, 0])
        u, v = (int(end) for end in graph.ends[:, edge])
        raise DataError(
            f"nodes {u} and {v} have {int(degree[0, edge])} and {int(degree[1, edge])} neighbours: with a laziness of "
            f"denominator {int(of[edge])}, masses cannot be counted in 64 bits; choose alpha as a simpler fraction"
        )
    return common * of


def _exact(graph: SimpleGraph, stays: Tensor, of: Tensor) -> Tensor:
    _checked_units(graph, of)
    cost, units = torch.ops.gnnkit.ollivier(graph.rowptr, graph.col, graph.ends, stays, of)
    return (units - cost).double() / units.double()


def _walks(graph: SimpleGraph, alpha: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Arguments of the operators on graphs with lengths."""
    row = torch.arange(graph.num_nodes).repeat_interleave(graph.degree)
    length = graph.position_weight
    if graph.num_edges and float(length.max()) > _LONGEST:
        raise DataError(
            f"lengths must be below {_LONGEST}, since mass falls with their square, got {float(length.max())}"
        )
    # Relative to the shortest edge of each node, so that long edges do not all vanish.
    score = -length.square()
    most = score.new_full((graph.num_nodes,), -torch.inf).scatter_reduce(0, row, score, "amax")
    share = (score - most[row]).exp()
    share = share / share.new_zeros(graph.num_nodes).index_add(0, row, share)[row]
    stays = torch.full((graph.num_edges,), alpha, dtype=torch.float64)
    return graph.rowptr, graph.col, length, share, graph.ends, stays
