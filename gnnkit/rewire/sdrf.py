"""Stochastic discrete Ricci flow."""

import math

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import check_number
from gnnkit.rewire._rewiring import Change, Fill, Rewiring, check_edge_count, edge_count


class SDRF(Rewiring):
    r"""Supports the edges of lowest curvature and removes those of highest, one of each per step.

    A step takes the edge :math:`(i, j)` of lowest balanced Forman curvature (see
    :func:`gnnkit.geometry.balanced_forman`) and

    1. adds one of the edges :math:`(k, l)`, :math:`k` in the closed neighbourhood of :math:`i` and :math:`l` in that of
       :math:`j`, that are not there yet: with probability proportional to :math:`\exp(\tau x_{kl})`, where
       :math:`x_{kl}` is what it adds to the curvature of :math:`(i, j)`, which may be negative; the one of highest
       :math:`x_{kl}` where the temperature :math:`\tau` is infinite;
    2. removes the edge of highest curvature, as it is after the addition, if that is above the bound. The edge that was
       just added is spared, so that no step undoes itself.

    Where all nodes around the lowest edge are joined already, a step only removes; where there is nothing to remove
    either, the flow has converged and ends. Ties go to the lowest pair of nodes, the lower node first. Curvatures are
    compared as float64.

    Both nodes of an added edge lie in one connected component, and no bridge has a curvature above 0: connected
    components stay as they are.

    Args:
        num_steps: Number of steps: an int, or a float in [0, 1] as that fraction of the edges.
        temperature: :math:`\tau`, at least 0; it multiplies, as in the paper: infinity always takes the best edge, 0
            takes any with the same probability.
        removal_bound: Curvature above which edges are removed, :math:`C^+` of the paper, at least 0. None: no edge is
            removed. (The authors' code has .5; their tuned values lie between .2 and 15.)
        edge_fill: What added edges get in edge attributes; see :class:`gnnkit.rewire._rewiring.Rewiring`.
        seed: Seed of the choices at a finite temperature.

    Raises:
        ConfigError: If an argument lies outside of its range.

    Determinism: for one seed, the same edges for any number of threads.
    Complexity: after a step, only edges with an end at the changed edge are looked at anew, and those between
    neighbours of its two ends mended. Choosing takes :math:`O(d_i d_j)` time. ``O(E + N)`` memory.

    Paper: `Topping et al., Understanding over-squashing and bottlenecks on graphs via curvature (ICLR 2022)
    <https://arxiv.org/abs/2111.14522>`_, Algorithm 1. It differs from the code that its authors have published, which
    computes another curvature, on CPU of some edges only, and removes by the curvature before the addition.
    """

    def __init__(
        self,
        *,
        num_steps: float,
        temperature: float = math.inf,
        removal_bound: float | None = None,
        edge_fill: Fill | None = None,
        seed: int = 0,
    ) -> None:
        self.num_steps = check_edge_count("num_steps", num_steps)
        self.temperature = check_number("temperature", temperature)
        if not self.temperature >= 0:
            raise ConfigError(f"temperature must be at least 0, or infinite for the best edge, got {temperature}")
        self.removal_bound = None if removal_bound is None else check_number("removal_bound", removal_bound)
        if self.removal_bound is not None and not self.removal_bound >= 0:
            raise ConfigError(
                f"removal_bound must be at least 0, so that bridges stay, got {removal_bound}; None removes no edges"
            )
        super().__init__(edge_fill=edge_fill, seed=seed)

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        """Runs the flow."""
        num_steps = edge_count(self.num_steps, graph.num_edges)
        bound = math.inf if self.removal_bound is None else self.removal_bound
        if math.isinf(bound):
            num_steps = min(num_steps, graph.num_nodes * (graph.num_nodes - 1) // 2 - graph.num_edges)
        num_draws = 0 if math.isinf(self.temperature) else num_steps
        uniform = torch.rand(num_draws, dtype=torch.float64, generator=generator)
        steps = torch.ops.gnnkit.sdrf(graph.rowptr, graph.col, num_steps, self.temperature, bound, uniform)
        return _net_change(graph, steps)


def _net_change(graph: SimpleGraph, steps: Tensor) -> Change:
    """What is left of steps ``[T, 4]``, in which an edge can come and go more than once."""
    pairs = torch.cat([steps[:, :2], steps[:, 2:]])
    sign = torch.tensor([1, -1]).repeat_interleave(steps.size(0))
    present = pairs[:, 0] >= 0
    pairs, place = torch.unique(pairs[present], dim=0, return_inverse=True)
    balance = torch.zeros(pairs.size(0), dtype=torch.int64).index_add_(0, place, sign[present])
    return Change(added=pairs[balance > 0].T.contiguous(), removed=graph.find(pairs[balance < 0].T))
