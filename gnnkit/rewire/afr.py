"""Rewiring by augmented Forman curvature."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.geometry.forman import augmented_forman_of_edges, check_cycles
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.rewire._rewiring import Change, Fill, Rewiring, check_edge_count, edge_count


class AFR(Rewiring):
    r"""Closes triangles over the edges of lowest augmented Forman curvature, and removes those of highest, in one pass.

    For each of the lowest edges :math:`(u, v)`, :math:`u < v`, in order of curvature, :math:`v` is joined to the lowest
    neighbour of :math:`u` that is not joined to it yet; where there is none, :math:`u` to such a neighbour of
    :math:`v`; where there is none either, nothing is added. Curvatures and neighbours are those of the graph given. Of
    equal curvatures, the lowest pair of nodes comes first.

    How many edges are meant can be left to the curvature itself. A mixture of two normal distributions with means
    :math:`\mu_1 \ge \mu_2` and standard deviations :math:`\sigma_1, \sigma_2` is fitted to it, and

    .. math::
        \Delta_L = \frac{\sigma_2}{\sigma_1 + \sigma_2} \mu_1 + \frac{\sigma_1}{\sigma_1 + \sigma_2} \mu_2, \qquad
        \Delta_U = \mu_1 + \sigma_1 :

    edges below :math:`\Delta_L`, which lies as many standard deviations from the one mean as from the other, are
    supported, those above :math:`\Delta_U` removed. Where all curvatures are equal, there are neither.

    Args:
        add: Number of edges to support: an int, or a float in [0, 1] as that fraction of the edges. None: those below
            :math:`\Delta_L`.
        remove: Number of edges to remove, in the same way. None: those above :math:`\Delta_U`. They can be bridges, so
            that a component may fall apart; components are never joined.
        cycles: 3 for AFR-3, whose curvature counts triangles; 4 for AFR-4, which counts 4-cycles too.
        edge_fill: What added edges get in edge attributes; see :class:`gnnkit.rewire._rewiring.Rewiring`.
        seed: Not looked at: no choice is left to chance. (The paper takes a random neighbour; its authors' code may
            take ``v`` itself, and adds self-loops then.)

    Raises:
        ConfigError: If an argument lies outside of its range.

    Determinism: exact; thresholds are bitwise on one machine with one version of scikit-learn.
    Complexity: that of :func:`gnnkit.geometry.augmented_forman`, sorting, and the degrees of the edges supported.

    Paper: `Fesser and Weber, Mitigating over-smoothing and over-squashing using augmentations of Forman-Ricci curvature
    (LoG 2023) <https://arxiv.org/abs/2309.09384>`_.
    """

    def __init__(
        self,
        *,
        add: float | None = None,
        remove: float | None = None,
        cycles: int = 3,
        edge_fill: Fill | None = None,
        seed: int = 0,
    ) -> None:
        self.add = None if add is None else check_edge_count("add", add)
        self.remove = None if remove is None else check_edge_count("remove", remove)
        check_cycles(cycles)
        self.cycles = cycles
        super().__init__(edge_fill=edge_fill, seed=seed)

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        """Finds the edges to support and to remove."""
        curvature = augmented_forman_of_edges(graph, self.cycles)
        bounds = curvature_bounds(curvature) if self.add is None or self.remove is None else (-math.inf, math.inf)
        # Edges are in lexicographic order, and sorting is stable.
        lowest, highest = curvature.argsort(stable=True), (-curvature).argsort(stable=True)
        if self.add is not None:
            lowest = lowest[: edge_count(self.add, graph.num_edges)]
        else:
            lowest = lowest[curvature[lowest] < bounds[0]]
        if self.remove is not None:
            highest = highest[: edge_count(self.remove, graph.num_edges)]
        else:
            highest = highest[curvature[highest] > bounds[1]]
        added = torch.ops.gnnkit.supporting_edges(graph.rowptr, graph.col, graph.ends[:, lowest])
        return Change(added=added, removed=highest)


def curvature_bounds(curvature: Tensor) -> tuple[float, float]:
    """The lower and the upper threshold; infinite, with nothing beyond, where there are no two different values.

    The fit starts with the values up to their mean and those above it, and takes them in ascending order: it does not
    depend on how nodes and edges are numbered.
    """
    from sklearn.mixture import GaussianMixture

    values = curvature.sort().values.numpy()
    if values.size == 0 or values[0] == values[-1]:
        return -math.inf, math.inf
    smallest_variance = 1e-6
    parts = [values[values <= values.mean()], values[values > values.mean()]]
    mixture: Any = GaussianMixture(
        n_components=2,
        max_iter=1000,
        reg_covar=smallest_variance,
        weights_init=np.array([part.size / values.size for part in parts]),
        means_init=np.array([[part.mean()] for part in parts]),
        precisions_init=np.array([[[1 / (part.var() + smallest_variance)]] for part in parts]),
        random_state=0,
    ).fit(values[:, None])
    mean, deviation = mixture.means_[:, 0], np.sqrt(mixture.covariances_[:, 0, 0])
    low, high = np.argsort(mean, kind="stable")
    lower = (deviation[low] * mean[high] + deviation[high] * mean[low]) / (deviation[low] + deviation[high])
    return float(lower), float(mean[high] + deviation[high])
