"""Diagnostics of over-squashing and over-smoothing: how much a node hears of another, and how alike neighbours are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import BackendError, ConfigError, DataError, ShapeError
from gnnkit.geometry.laplacian import members_by_label
from gnnkit.geometry.pair_resistance import all_resistances
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_index_range, describe

Call = Callable[[Any, Tensor, Any], Tensor]


def jacobian_sensitivity(
    model: Any,
    data: Any,
    *,
    targets: Tensor | None = None,
    sources: Tensor | None = None,
    call: Call | None = None,
    batch_size: int = 32,
) -> Tensor:
    r"""How strongly the output of each node depends on the input of each other.

    .. math::
        J_{vu} = \Big\| \frac{\partial h_v}{\partial x_u} \Big\|_1
               = \sum_{i, j} \Big| \frac{\partial h_{v, i}}{\partial x_{u, j}} \Big|

    for outputs :math:`h` and inputs :math:`x`. Where it is small although the task needs the pair, the model
    over-squashes; where it is zero, ``v`` is out of the reach of ``u``.

    Di Giovanni et al., "On Over-Squashing in Message Passing Neural Networks: The Impact of Width, Depth, and
    Topology", ICML 2023, https://arxiv.org/abs/2302.02941.

    Args:
        model: Gives an output for each node. A module is put in evaluation mode for the time of the call, so that
            dropout does not blur the result and normalisation uses its running statistics.
        data: A ``Data`` or ``Batch`` with floating ``x`` ``[N, *]`` and ``edge_index``.
        targets: Nodes ``v``, int64 ``[T]``. None: all.
        sources: Nodes ``u``, int64 ``[S]``. None: all.
        call: ``call(model, x, data)`` gives the outputs ``[N, *]``. None: ``model(x, graph)`` with the
            :class:`~gnnkit.Graph` of ``data.edge_index``, as gnnkit's layers want it; for a layer of PyTorch Geometric,
            ``lambda model, x, data: model(x, data.edge_index)``.
        batch_size: How many of the derivatives are taken in one backward pass, which torch vectorises with ``vmap``.
            1 takes them one by one, which works with every model.

    Returns:
        ``[T, S]``, dtype and device of the outputs, without gradient.

    Raises:
        DataError: If ``data`` has no floating ``x`` or no ``edge_index``.
        ShapeError: If the model does not give one row for each node.
        IndexRangeError: If a target or source is no node.
        ConfigError: If ``batch_size`` is below 1.
        BackendError: If torch cannot vectorise an operator of the model.

    Determinism: as that of the model's backward pass.
    Complexity: one forward pass, and one backward pass for every target and output channel; they go all the way back
    whatever the sources are. Memory as in training, with ``batch_size`` times the gradients.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    x = data.x
    if not isinstance(x, Tensor) or not x.is_floating_point():
        found = describe(x) if isinstance(x, Tensor) else "nothing"
        raise DataError(f"jacobian_sensitivity needs floating node features data.x, got {found}; encode them first")
    if not isinstance(data.edge_index, Tensor):
        raise DataError("jacobian_sensitivity needs data.edge_index, which is missing")
    num_nodes = x.size(0)
    rows = _nodes("targets", targets, num_nodes, x.device)
    columns = _nodes("sources", sources, num_nodes, x.device)
    leaf = x.detach().clone().requires_grad_()
    with _evaluating(model), torch.enable_grad():
        if call is None:
            graph = Graph.from_edge_index(data.edge_index, num_nodes)
            out = model(leaf, graph)
        else:
            out = call(model, leaf, data)
        if not isinstance(out, Tensor) or out.dim() == 0 or out.size(0) != num_nodes:
            found = describe(out) if isinstance(out, Tensor) else type(out).__name__
            raise ShapeError(f"the model must give one row for each of the {num_nodes} nodes, got {found}")
        flat = out.flatten(1) if out.dim() > 1 else out[:, None]
        return _row_sums(flat, leaf, rows, columns, batch_size)


def _row_sums(out: Tensor, leaf: Tensor, rows: Tensor, columns: Tensor, batch_size: int) -> Tensor:
    channels = out.size(1)
    result = out.new_zeros(rows.numel(), columns.numel())
    if not out.requires_grad or result.numel() == 0:
        # The outputs do not depend on the inputs at all.
        return result.detach()
    # Position in the flat outputs of every derivative, target by target.
    place = (rows[:, None] * channels + torch.arange(channels, device=rows.device)).flatten()
    owner = torch.arange(rows.numel(), device=rows.device).repeat_interleave(channels)
    for chosen, target in zip(place.split(batch_size), owner.split(batch_size), strict=True):
        seed = out.new_zeros(chosen.numel(), out.numel())
        seed[torch.arange(chosen.numel(), device=seed.device), chosen] = 1
        seed = seed.view(-1, *out.shape)
        batched = batch_size > 1
        try:
            (gradient,) = torch.autograd.grad(
                out, leaf, seed if batched else seed[0], retain_graph=True, is_grads_batched=batched, allow_unused=True
            )
        except RuntimeError as error:
            if not batched:
                raise
            raise BackendError(
                f"torch cannot take derivatives {batch_size} at once; give batch_size=1: {error}"
            ) from error
        if gradient is None:
            break  # the outputs depend on something, but not on the inputs
        gradient = gradient if batched else gradient[None]
        sums = (
            gradient.index_select(1, columns).abs().flatten(2).sum(2) if leaf.dim() > 1 else gradient[:, columns].abs()
        )
        result.index_add_(0, target, sums.to(result.dtype))
    return result.detach()


def _nodes(name: str, given: Tensor | None, num_nodes: int, device: torch.device) -> Tensor:
    if given is None:
        return torch.arange(num_nodes, device=device)
    given = torch.as_tensor(given, device=device)
    if given.dim() != 1 or given.dtype not in (torch.int32, torch.int64):
        raise ShapeError(f"{name} must be a vector of node numbers, got {describe(given)}")
    check_index_range(name, given, num_nodes, "num_nodes")
    return given.long()


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    training = [module.training for module in modules]
    try:
        if isinstance(model, torch.nn.Module):
            model.eval()
        yield
    finally:
        for module, mode in zip(modules, training, strict=True):
            module.training = mode


def dirichlet_energy(
    x: Tensor,
    edge_index: Tensor,
    num_nodes: int,
    *,
    weight: Tensor | None = None,
    self_loops: bool = False,
    normalized: bool = False,
) -> Tensor:
    r"""How unlike the features of neighbours are: 0 where a model has smoothed all differences away.

    .. math::
        E(X) = \operatorname{tr} X^\top (I - \hat A) X
             = \sum_{\{i, j\}} w_{ij} \Big\| \frac{x_i}{\sqrt{d_i}} - \frac{x_j}{\sqrt{d_j}} \Big\|^2,
        \qquad \hat A = D^{-1/2} A D^{-1/2}

    over undirected edges. It is 0 exactly if within each component :math:`x_i` is proportional to
    :math:`\sqrt{d_i}`. The sum of squares is what is computed: it has no cancellation where the energy is small. An
    isolated node adds nothing (its row of :math:`I - \hat A` is taken to be 0).

    Cai and Wang, "A Note on Over-Smoothing for Graph Neural Networks", ICML 2020 workshop on graph representation
    learning and beyond, https://arxiv.org/abs/2006.13318.

    Args:
        x: Features, floating ``[N, *]``.
        edge_index: Both directions of every edge, ``[2, E]``. Multi-edges add up, self-loops are set aside.
        num_nodes: ``N``.
        weight: One number per column, ``[E]``, positive, the same for both directions. It gets no gradient.
        self_loops: Count one self-loop of weight 1 at each node in its degree, as graph convolution does.
        normalized: Divide by :math:`\|X\|^2`: the Rayleigh quotient, between 0 and 2, which does not fall only because
            the features shrink. 0 for ``X = 0``.

    Returns:
        A scalar, dtype and device of ``x``; differentiable in ``x`` any number of times.

    Raises:
        DataError: If the graph is directed, or a weight is not finite and positive.
        ShapeError: If ``x`` does not have one floating row for each node.
        IndexRangeError: If an edge leaves the range of the nodes.

    Determinism: the same bits for the same number of threads.
    Complexity: ``O(E F + E log E)`` time, ``O(E F)`` memory.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() == 0 or x.size(0) != num_nodes:
        found = describe(x) if isinstance(x, Tensor) else type(x).__name__
        raise ShapeError(f"x must have one floating row for each of the {num_nodes} nodes, got {found}")
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight, allow_self_loops=True)
    edge_weight = graph.weight
    if edge_weight is None:
        # How often an edge is listed is its weight.
        proper = graph.column_edge[graph.column_edge >= 0]
        edge_weight = torch.bincount(proper, minlength=graph.num_edges).double() / 2
    source, target = graph.ends
    degree = torch.full((num_nodes,), float(self_loops), dtype=torch.float64)
    degree.index_add_(0, source, edge_weight).index_add_(0, target, edge_weight)
    features = x.flatten(1) if x.dim() > 1 else x[:, None]
    scale = degree.rsqrt().nan_to_num(posinf=0).to(dtype=x.dtype, device=x.device)[:, None]
    scaled = features * scale
    difference = scaled[source.to(x.device)] - scaled[target.to(x.device)]
    energy = (difference.square().sum(1) * edge_weight.to(dtype=x.dtype, device=x.device)).sum()
    if normalized:
        energy = energy / features.square().sum().clamp_min(torch.finfo(x.dtype).tiny)
    return energy


def commute_time_bound(
    edge_index: Tensor,
    num_nodes: int,
    *,
    num_layers: int,
    update_lipschitz: float = 1.0,
    message_lipschitz: float = 1.0,
) -> Tensor:
    r"""An upper bound of how much a node can hear of another, that falls as their effective resistance grows.

    For a network with layers :math:`h_v' = \phi(h_v, \sum_u \hat A_{vu} \psi(h_u))`, where :math:`\phi` has Lipschitz
    constant :math:`\alpha` in each argument and :math:`\psi` has :math:`\beta \ge 1`, after :math:`r` layers

    .. math::
        \Big\| \frac{\partial h_v^{(r)}}{\partial h_u^{(0)}} \Big\|
        \le (2 \alpha \beta)^r \frac{d_{\max}}{2}
        \Big[ \frac{2}{d_{\min}} \Big( r + 1 + \frac{\mu^{r + 1}}{1 - \mu} \Big) - R_{vu} \Big],
        \qquad \mu = \max(|\mu_2|, |\mu_n|)

    with eigenvalues :math:`\mu_1 = 1 \ge \mu_2 \ge \dots \ge \mu_n` of :math:`\hat A = D^{-1/2} A D^{-1/2}` and the
    effective resistance :math:`R_{vu}`, a commute time divided by the number of directed edges.

    Black et al., "Understanding Oversquashing in GNNs through the Lens of Effective Resistance", ICML 2023,
    https://arxiv.org/abs/2302.06835, theorem 3.2 and its proof.

    Args:
        edge_index: Both directions of every edge, ``[2, E]``; no self-loops. Multi-edges count once.
        num_nodes: ``N``.
        num_layers: ``r``, at least 0.
        update_lipschitz: :math:`\alpha`, at least 0.
        message_lipschitz: :math:`\beta`; at least 1 (a smaller one is bounded by 1).

    Returns:
        Float64 ``[N, N]``, symmetric, on the device of ``edge_index``. Degrees and eigenvalues are those of the pair's
        component. 0 for nodes of two components, which cannot hear of each other. Infinite within a bipartite
        component, where :math:`\mu = 1` and the theorem says nothing; :math:`(2 \alpha \beta)^r` for an isolated node.

    Raises:
        DataError: If the graph is directed or has a self-loop.
        ConfigError: If a number is out of range.

    Determinism: up to rounding of the eigenvalues.
    Complexity: ``O(N^3)`` time, ``O(N^2)`` memory.
    """
    if num_layers < 0:
        raise ConfigError(f"num_layers must not be negative, got {num_layers}")
    if not update_lipschitz >= 0:
        raise ConfigError(f"update_lipschitz must not be negative, got {update_lipschitz}")
    if not message_lipschitz >= 1:
        raise ConfigError(f"message_lipschitz must be at least 1, got {message_lipschitz}")
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes)
    resistance = all_resistances(graph)
    factor = (2 * update_lipschitz * message_lipschitz) ** num_layers
    bound = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    adjacency = _normalized_adjacency(graph)
    for nodes in members_by_label(graph.components()):
        block = (nodes[:, None], nodes)
        if nodes.numel() == 1:
            bound[block] = factor
            continue
        degree = graph.degree[nodes].double()
        eigenvalues = torch.linalg.eigvalsh(adjacency[block])
        mu = float(eigenvalues[:-1].abs().max())
        if mu > 1 - 1e-12:
            bound[block] = torch.inf
            continue
        reach = num_layers + 1 + mu ** (num_layers + 1) / (1 - mu)
        bound[block] = factor * degree.max() / 2 * (2 / degree.min() * reach - resistance[block])
    return bound.to(edge_index.device)


def _normalized_adjacency(graph: SimpleGraph) -> Tensor:
    scale = graph.degree.double().rsqrt()
    source, target = graph.ends
    adjacency = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    adjacency[source, target] = adjacency[target, source] = scale[source] * scale[target]
    return adjacency
