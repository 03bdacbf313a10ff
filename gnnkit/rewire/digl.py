"""Graph diffusion convolution: edges by personalised PageRank or the heat kernel."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy.sparse
import torch
from scipy.fft import dct
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import check_count
from gnnkit.rewire._rewiring import Change, Fill, Rewiring

_ENTRIES = 2**22
_RESOLUTION = 1e-12
_MAX_TERMS = 2**14


class DigL(Rewiring):
    r"""Replaces the edges by the strongest entries of a diffusion matrix.

    Klicpera, Weißenberger, Günnemann, "Diffusion improves graph learning", 2019 (GDC; called DIGL in the literature on
    rewiring). With :math:`\tilde A = A + I`, its degrees :math:`\tilde D` and
    :math:`T = \tilde D^{-1/2} \tilde A \tilde D^{-1/2}`,

    .. math::
        S_\mathrm{ppr} = \alpha (I - (1 - \alpha) T)^{-1}, \qquad S_\mathrm{heat} = e^{-t (I - T)},

    and of :math:`S` there stay, off the diagonal, either the entries of at least ``threshold``, or the ``top_k``
    largest of each column, its diagonal entry among those counted (as the authors do), equal ones by lowest index. An
    edge is there if either of its ends has kept it; its ``edge_weight`` is :math:`S_{uv}`. Original edges that stay are
    ``edge_type`` 0, new ones 1; **original edges that are not among the strongest go**. The diagonal is left to the
    layers, which add self-loops of their own; self-loops of the input stay with weight 1. No entry joins components.

    An ``edge_weight`` of the input gives the entries of :math:`A`.

    Args:
        method: ``"ppr"`` or ``"heat"``.
        alpha: Teleport probability :math:`\alpha` of PageRank, in (0, 1).
        time: Diffusion time :math:`t` of the heat kernel, positive.
        top_k: Entries kept per column, at least 1; more than there are means all. Either this or ``threshold``.
        threshold: Smallest entry kept, positive.
        edge_fill: What new edges get in edge attributes but the weight; see :class:`~gnnkit.rewire.Rewiring`.
        seed: Not looked at: nothing is left to chance.

    Raises:
        ConfigError: If an argument is out of its range, or both or none of ``top_k`` and ``threshold`` are given; if
            ``alpha`` is so small, or ``time`` so large, that more than 16384 terms would be needed.
        DataError: On :meth:`forward`, as for every rewiring, and if weights are not finite, positive and symmetric.

    Determinism: bitwise on one machine. :math:`S` is exact to about 1e-13, is compared in steps of 1e-12, and smaller
    entries count as zero; so the choice is equivariant but for ties.
    Complexity: a Chebyshev series of ``K`` terms (about :math:`16 / \sqrt{\alpha}`, or :math:`t + 6 \sqrt{t} + 15`),
    applied to blocks of columns: ``O(K N (N + M))`` time, and memory for the result and four million numbers.
    """

    def __init__(
        self,
        *,
        method: Literal["ppr", "heat"] = "ppr",
        alpha: float = 0.15,
        time: float = 5.0,
        top_k: int | None = None,
        threshold: float | None = None,
        edge_fill: Fill | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(edge_fill=edge_fill, seed=seed)
        if method not in ("ppr", "heat"):
            raise ConfigError(f"method must be 'ppr' or 'heat', got {method!r}")
        if not _is_number(alpha) or not 0 < alpha < 1:
            raise ConfigError(f"alpha must be a number in (0, 1), got {alpha!r}")
        if not _is_number(time) or not 0 < time < float("inf"):
            raise ConfigError(f"time must be a positive number, got {time!r}")
        if (top_k is None) == (threshold is None):
            raise ConfigError("give either top_k (entries per column) or threshold (smallest entry), not both")
        if top_k is not None:
            check_count("top_k", top_k, 1)
        if threshold is not None and (not _is_number(threshold) or not threshold > 0):
            raise ConfigError(f"threshold must be a positive number, got {threshold!r}")
        self.method = method
        self.alpha = alpha
        self.time = time
        self.top_k = top_k
        self.threshold = threshold

    def read(self, data: Any) -> SimpleGraph:
        """The graph with the weights of ``data``, if it has any; multi-edges that are the same count once."""
        weight = data.get("edge_weight")
        return SimpleGraph.from_edge_index(
            data.edge_index, int(data.num_nodes), weight=weight, parallel="min", allow_self_loops=True
        )

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        """Diffuses, and takes the strongest entries."""
        coefficients = _coefficients(self._response())
        transition = _transition(graph)
        num_nodes = graph.num_nodes
        step = max(1, _ENTRIES // max(num_nodes, 1))
        keys, values = [np.empty(0, dtype=np.int64)], [np.empty(0)]
        for begin in range(0, num_nodes, step):
            end = min(begin + step, num_nodes)
            block = _diffused(transition, coefficients, begin, end)
            row, column = self._strongest(block)
            values.append(block[row, column])
            column += begin
            keys.append(np.minimum(row, column) * num_nodes + np.maximum(row, column))
        key, first = np.unique(np.concatenate(keys), return_index=True)
        value = np.concatenate(values)[first]
        ends = np.stack([key // max(num_nodes, 1), key % max(num_nodes, 1)])
        proper = ends[0] != ends[1]
        return _replacement(graph, torch.from_numpy(ends[:, proper]), torch.from_numpy(value[proper]))

    def _response(self) -> Callable[[np.ndarray], np.ndarray]:
        """What the diffusion makes of an eigenvalue of the transition matrix."""
        if self.method == "heat":
            return lambda value: np.exp(-self.time * (1 - value))
        return lambda value: self.alpha / (1 - (1 - self.alpha) * value)

    def _strongest(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the entries that stay."""
        rounded = np.rint(block / _RESOLUTION)
        if self.threshold is not None:
            row, column = np.nonzero((rounded >= np.rint(self.threshold / _RESOLUTION)) & (rounded >= 1))
            return row, column
        row = np.argsort(-rounded, axis=0, kind="stable")[: self.top_k]
        column = np.broadcast_to(np.arange(block.shape[1]), row.shape)
        there = rounded[row, column] >= 1
        return row[there], column[there]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _transition(graph: SimpleGraph) -> scipy.sparse.csr_array:
    num_nodes = graph.num_nodes
    entries = (graph.position_weight.numpy(), graph.col.numpy(), graph.rowptr.numpy())
    adjacency = scipy.sparse.csr_array(entries, shape=(num_nodes, num_nodes))
    adjacency = adjacency + scipy.sparse.eye_array(num_nodes, format="csr")
    root = scipy.sparse.diags_array(1 / np.sqrt(adjacency.sum(axis=1)), format="csr")
    return scipy.sparse.csr_array(root @ adjacency @ root)


def _coefficients(response: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Chebyshev coefficients of a smooth function on [-1, 1], to rounding error."""
    terms = 32
    while terms <= _MAX_TERMS:
        angle = (np.arange(terms) + 0.5) * (np.pi / terms)
        # A type-2 cosine transform of the values at the Chebyshev nodes.
        coefficients = np.asarray(dct(response(np.cos(angle)))) / terms
        coefficients[0] /= 2
        small = np.abs(coefficients) <= 1e-14 * np.abs(coefficients).max()
        if small[terms // 2 :].all():
            return coefficients[: int(np.flatnonzero(~small)[-1]) + 1]
        terms *= 2
    raise ConfigError(
        f"this diffusion needs a series of more than {_MAX_TERMS // 2} terms; take a larger alpha or a shorter time"
    )


def _diffused(transition: scipy.sparse.csr_array, coefficients: np.ndarray, begin: int, end: int) -> np.ndarray:
    """Columns ``begin:end`` of the series in the transition matrix, by Clenshaw's recurrence."""
    diagonal = (np.arange(begin, end), np.arange(end - begin))
    ahead = np.zeros((len(transition.indptr) - 1, end - begin))
    ahead[diagonal] = coefficients[-1]
    two_ahead = np.zeros_like(ahead)
    for coefficient in coefficients[-2:0:-1]:
        current = 2 * (transition @ ahead) - two_ahead
        current[diagonal] += coefficient
        ahead, two_ahead = current, ahead
    if len(coefficients) == 1:
        return ahead
    out = transition @ ahead - two_ahead
    out[diagonal] += coefficients[0]
    return out


def _replacement(graph: SimpleGraph, ends: Tensor, value: Tensor) -> Change:
    edge = graph.find(ends)
    known = edge >= 0
    # Both are in lexicographic order, so that the values of edges that stay come in order of the edges.
    goes = torch.ones(graph.num_edges, dtype=torch.bool)
    goes[edge[known]] = False
    weight = torch.cat([value[known], value[~known]])
    return Change(added=ends[:, ~known], removed=goes.nonzero().squeeze(1), weight=weight)
