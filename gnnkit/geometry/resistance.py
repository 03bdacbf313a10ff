"""Effective resistance, and what is made of it: total resistance, commute times, curvature."""

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.geometry.laplacian import (
    BLOCK,
    LARGEST_DENSE,
    Laplacian,
    edge_weight,
    inverse_of_positive,
    members_by_label,
    position_weight,
)
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.geometry.sketch import num_sketch_rows, sketch_resistance
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
    if method not in _METHODS:
        raise ConfigError(f"method must be one of {', '.join(_METHODS)}, got {method!r}")
    epsilon = check_number("epsilon", epsilon)
    if not 0 < epsilon < 1:
        raise ConfigError(f"epsilon must lie between 0 and 1, got {epsilon}")
    if isinstance(pairs, str) and pairs == "all":
        if method == "sketch":
            raise ConfigError("all pairs fill a matrix, which a sketch cannot spare; use method='exact'")
        value = all_resistances(graph)
    elif pairs is None or (isinstance(pairs, str) and pairs == "edges"):
        value = _per_column(graph, edge_resistance(graph, method=method, epsilon=epsilon, seed=seed)[0])
    elif isinstance(pairs, Tensor):
        value = _pair_resistance(graph, _checked_pairs(pairs, graph.num_nodes), method, epsilon, seed)
    else:
        raise ConfigError(f"pairs must be None, 'edges', 'all' or a tensor [2, P], got {pairs!r}")
    return value.to(edge_index.device)


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
    value = effective_resistance(
        edge_index, num_nodes, pairs=pairs, weight=weight, method=method, epsilon=epsilon, seed=seed
    )
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight, allow_self_loops=True)
    label, conductance = graph.components(), edge_weight(graph)
    volume = conductance.new_zeros(graph.num_nodes).index_add_(0, label[graph.ends[0]], 2 * conductance)
    if isinstance(pairs, Tensor):
        node = pairs[0].cpu().long()
    elif pairs == "all":
        node = torch.arange(graph.num_nodes)
    else:
        node = edge_index[0].cpu().long()
    factor = volume[label[node]].to(value.device)
    product = value * (factor[:, None] if value.dim() == 2 else factor)
    return torch.where(value.isinf(), value, product)


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


def all_resistances(graph: SimpleGraph) -> Tensor:
    """Resistances of all pairs, float64 ``[N, N]``; a Cholesky factorisation per component."""
    out = torch.full((graph.num_nodes, graph.num_nodes), torch.inf, dtype=torch.float64)
    for nodes in members_by_label(graph.components()):
        out[nodes[:, None], nodes] = _component_resistance(graph, nodes)
    return out


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


def _per_column(graph: SimpleGraph, value: Tensor) -> Tensor:
    column = graph.column_edge
    return torch.cat([value, value.new_zeros(1)])[column]  # -1, a self-loop, reads the 0 at the end


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


def _component_resistance(graph: SimpleGraph, nodes: Tensor) -> Tensor:
    """Resistances of all pairs within one component, ``[n, n]``."""
    size = nodes.numel()
    if size == 1:
        return torch.zeros(1, 1, dtype=torch.float64)
    local = torch.full((graph.num_nodes,), -1).scatter_(0, nodes, torch.arange(size))
    inside = local[graph.ends[0]] >= 0
    row, col = local[graph.ends[:, inside]]
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix[row, col] = matrix[col, row] = -edge_weight(graph)[inside]
    matrix.diagonal().copy_(-matrix.sum(1))
    # The constant vector, in the null space, gets an eigenvalue amid the others.
    matrix += matrix.diagonal().mean() / size
    inverse = inverse_of_positive(matrix)
    diagonal = inverse.diagonal()
    out = diagonal[:, None] + diagonal - 2 * inverse
    out.diagonal().zero_()
    return out.clamp_(min=0)


def _checked_pairs(pairs: Tensor, num_nodes: int) -> Tensor:
    check_index("pairs", pairs, dim=2)
    if pairs.size(0) != 2:
        raise ShapeError(f"pairs must have shape [2, P], got {describe(pairs)}")
    pairs = pairs.detach().cpu().long()
    for row in range(2):
        check_index_range(f"pairs[{row}]", pairs[row], num_nodes, "num_nodes")
    return pairs


def _pair_resistance(graph: SimpleGraph, pairs: Tensor, method: str, epsilon: float, seed: int) -> Tensor:
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


def _node_curvature(graph: SimpleGraph, resistance: Tensor) -> Tensor:
    along = edge_weight(graph) * resistance / 2
    node = torch.ones(graph.num_nodes, dtype=torch.float64)
    return node.index_add_(0, graph.ends[0], -along).index_add_(0, graph.ends[1], -along)
