"""Effective resistance, and what is made of it: total resistance, commute times, curvature."""

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.geometry.edge_resistance import component_totals, edge_resistance
from gnnkit.geometry.pair_resistance import all_resistances, pair_resistance
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import check_index, check_index_range, check_number, describe

_METHODS = ("auto", "exact", "sketch")


def effective_resistance(
    edge_index: Tensor,
    num_nodes: int,
    *,
    pairs: str | Tensor | None = None,
    weight: Tensor | None = None,
    method: str = "auto",
    epsilon: float = 0.3,
    seed: int = 0,
) -> Tensor:
    r"""Resistance between two nodes of a graph whose edges are resistors.

    .. math:: R_{uv} = (e_u - e_v)^\top L^+ (e_u - e_v)

    with the Laplacian :math:`L = D - A`. Weights are conductances: an edge of weight ``w`` alone has the resistance
    ``1 / w``, and parallel edges add their weights. The resistance of a node to itself is 0, so self-loops may be
    there; between components it is infinite.

    **Exact**: nodes of low degree are eliminated one by one for as long as the rest does not fill up. What remains is
    solved by conjugate gradients, or by a Cholesky factorisation where it has few nodes or many solutions are wanted.
    Resistances of edges then follow for eliminated nodes without any further solution. There is no pseudo-inverse.

    **Sketch**: a Johnson-Lindenstrauss projection of ``k`` rows (Spielman and Srivastava, "Graph sparsification by
    effective resistances", 2011). With a probability of at least 0.99 over the seed, every one of the ``P`` pairs asked
    for has :math:`(1 - \epsilon) R \le \tilde R \le (1 + \epsilon) R`:

    .. math:: k = \left\lceil \frac{\ln(2 P / 0.01)}{\epsilon'^2 / 4 - \epsilon'^3 / 6} \right\rceil

    where :math:`\epsilon'` is what is left of :math:`\epsilon` after the error of the solutions, which is held to
    :math:`\epsilon / 100` of :math:`\sqrt R` as well as the usual estimate of conjugate gradients tells it.

    **Auto** is exact unless that needs more solutions than the sketch has rows: so for edges of a graph with a core of
    more than 4096 nodes, and for more than ``k`` other pairs of nodes where components are large.

    Args:
        edge_index: ``[2, E]``, both directions of every edge.
        num_nodes: Number of nodes ``N``, isolated ones included.
        pairs: None or ``"edges"``: one value per column of ``edge_index``. ``"all"``: a matrix of all pairs. Or the
            pairs themselves, ``[2, P]``, int32 or int64.
        weight: Conductances, one per column, finite and positive, the same for both directions. None: 1.
        method: ``"auto"``, ``"exact"`` or ``"sketch"``; ``"all"`` is always exact unless a sketch is asked for, which
            is an error.
        epsilon: Relative error of the sketch, in (0, 1).
        seed: Seed of the sketch.

    Returns:
        Float64 on the device of ``edge_index``, ``[E]``, ``[N, N]`` or ``[P]``.

    Raises:
        ConfigError: If ``method`` or ``pairs`` is none of the above, ``epsilon`` is out of range, or a sketch of all
            pairs is asked for.
        DataError: If the graph is directed, a weight is not finite and positive, or a solution does not converge.
        IndexRangeError: If an edge or a pair leaves the range of the nodes.
        ShapeError: If a tensor has the wrong shape or dtype.

    Determinism: the same bits for any number of threads but where dense factorisations of LAPACK depend on it.
    Complexity: memory is linear in nodes, edges and pairs, plus dense matrices of at most 4096 by 4096; ``"all"`` takes
    ``O(N^2)`` memory and ``O(n^3)`` time per component of ``n`` nodes. An exact pair takes an elimination in about
    linear time, then as many passes over the edges as conjugate gradients have steps; the sketch ``k`` times that.
    """
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight, allow_self_loops=True)
    return _resistances(graph, pairs, method, epsilon, seed).to(edge_index.device)


def _resistances(graph: SimpleGraph, pairs: str | Tensor | None, method: str, epsilon: float, seed: int) -> Tensor:
    if method not in _METHODS:
        raise ConfigError(f"method must be one of {', '.join(_METHODS)}, got {method!r}")
    epsilon = check_number("epsilon", epsilon)
    if not 0 < epsilon < 1:
        raise ConfigError(f"epsilon must lie between 0 and 1, got {epsilon}")
    if isinstance(pairs, str) and pairs == "all":
        if method == "sketch":
            raise ConfigError("all pairs fill a matrix, which a sketch cannot spare; use method='exact'")
        return all_resistances(graph)
    if pairs is None or (isinstance(pairs, str) and pairs == "edges"):
        value = edge_resistance(graph, method=method, epsilon=epsilon, seed=seed)[0]
        return graph.per_column(value, self_loop=0.0)
    if isinstance(pairs, Tensor):
        return pair_resistance(graph, _checked_pairs(pairs, graph.num_nodes), method, epsilon, seed)
    raise ConfigError(f"pairs must be None, 'edges', 'all' or a tensor [2, P], got {pairs!r}")


def total_resistance(
    edge_index: Tensor, num_nodes: int, *, weight: Tensor | None = None, per_component: bool = False
) -> Tensor:
    r"""Sum of the effective resistances of all pairs of nodes, also called Kirchhoff index.

    .. math:: R_\mathrm{tot} = \sum_{u < v} R_{uv} = n \operatorname{tr} L^+ = n \sum_{i \ge 2} 1 / \lambda_i

    Args:
        edge_index: ``[2, E]``, both directions of every edge; self-loops carry no current and are passed over.
        num_nodes: Number of nodes ``N``.
        weight: Conductances, one per column. None: 1.
        per_component: Return the sums within each connected component instead, numbered by their smallest node.

    Returns:
        A float64 scalar, infinite where the graph is not connected and 0 for fewer than two nodes; or float64
        ``[components]``. On the device of ``edge_index``.

    Raises:
        DataError: As :func:`effective_resistance`.

    Determinism: as :func:`effective_resistance`.
    Complexity: that of the exact resistances of all edges; no eigenvalues are needed.
    """
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight, allow_self_loops=True)
    totals = component_totals(graph)
    if not per_component:
        infinite = totals.new_full((), torch.inf)
        totals = infinite if totals.numel() > 1 else totals.sum()
    return totals.to(edge_index.device)


def commute_time(
    edge_index: Tensor,
    num_nodes: int,
    *,
    pairs: str | Tensor | None = None,
    weight: Tensor | None = None,
    method: str = "auto",
    epsilon: float = 0.3,
    seed: int = 0,
) -> Tensor:
    r"""Mean number of steps that a random walk takes from ``u`` to ``v`` and back.

    .. math:: \tau_{uv} = \mathrm{vol}(C) \, R_{uv}, \qquad \mathrm{vol}(C) = 2 \sum_{e \in C} w_e

    with ``C`` the component of both nodes; infinite where they lie in different ones. The walk takes an edge with a
    probability in proportion to its weight; self-loops do not count.

    Arguments, shapes, errors, determinism and complexity are those of :func:`effective_resistance`.
    """
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight, allow_self_loops=True)
    value = _resistances(graph, pairs, method, epsilon, seed)
    label, conductance = graph.components(), graph.edge_weight
    volume = conductance.new_zeros(graph.num_nodes).index_add_(0, label[graph.ends[0]], 2 * conductance)
    if isinstance(pairs, Tensor):
        node = pairs[0].cpu().long()
    elif pairs == "all":
        node = torch.arange(graph.num_nodes)
    else:
        node = edge_index[0].cpu().long()
    factor = volume[label[node]]
    product = value * (factor[:, None] if value.dim() == 2 else factor)
    return torch.where(value.isinf(), value, product).to(edge_index.device)


def resistance_curvature(edge_index: Tensor, num_nodes: int, *, weight: Tensor | None = None) -> Tensor:
    r"""Resistance curvature of edges.

    .. math:: \kappa_{ij} = \frac{2 (p_i + p_j)}{R_{ij}}

    with the curvature ``p`` of nodes that :func:`node_resistance_curvature` gives. Devriendt and Lambiotte, "Discrete
    curvature on graphs from the effective resistance", 2022.

    Args:
        edge_index: ``[2, E]``, both directions of every edge.
        num_nodes: Number of nodes ``N``.
        weight: Conductances, one per column; multi-edges add. None: 1.

    Returns:
        Float64 ``[E]``, one value per column, on the device of ``edge_index``.

    Raises:
        DataError: If there is a self-loop, for which it is not defined; else as :func:`effective_resistance`.

    Determinism, complexity: those of the exact resistances of all edges.
    """
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight)
    resistance, _ = edge_resistance(graph)
    node = _node_curvature(graph, resistance)
    value = 2 * (node[graph.ends[0]] + node[graph.ends[1]]) / resistance
    return graph.per_column(value).to(edge_index.device)


def node_resistance_curvature(edge_index: Tensor, num_nodes: int, *, weight: Tensor | None = None) -> Tensor:
    r"""Resistance curvature of nodes.

    .. math:: p_i = 1 - \tfrac12 \sum_{j \sim i} w_{ij} R_{ij}

    It sums to 1 over every connected component, and is 1 at an isolated node. Devriendt and Lambiotte, "Discrete
    curvature on graphs from the effective resistance", 2022.

    Args:
        edge_index: ``[2, E]``, both directions of every edge.
        num_nodes: Number of nodes ``N``.
        weight: Conductances, one per column; multi-edges add. None: 1.

    Returns:
        Float64 ``[N]``, on the device of ``edge_index``.

    Raises:
        DataError: If there is a self-loop; else as :func:`effective_resistance`.

    Determinism, complexity: those of the exact resistances of all edges.
    """
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight)
    return _node_curvature(graph, edge_resistance(graph)[0]).to(edge_index.device)


def _checked_pairs(pairs: Tensor, num_nodes: int) -> Tensor:
    check_index("pairs", pairs, dim=2)
    if pairs.size(0) != 2:
        raise ShapeError(f"pairs must have shape [2, P], got {describe(pairs)}")
    pairs = pairs.detach().cpu().long()
    for row in range(2):
        check_index_range(f"pairs[{row}]", pairs[row], num_nodes, "num_nodes")
    return pairs


def _node_curvature(graph: SimpleGraph, resistance: Tensor) -> Tensor:
    along = graph.edge_weight * resistance / 2
    node = torch.ones(graph.num_nodes, dtype=torch.float64)
    return node.index_add_(0, graph.ends[0], -along).index_add_(0, graph.ends[1], -along)
