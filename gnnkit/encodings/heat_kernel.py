"""Diagonals of heat kernels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import ive
from torch import Tensor

from gnnkit.encodings._eigensolver import dense_eigenpairs
from gnnkit.encodings._encoding import Encoding
from gnnkit.encodings._laplacian import (
    Laplacians,
    UndirectedGraph,
    check_normalization,
    components,
    laplacians,
    single_threaded_blas,
)
from gnnkit.errors import ConfigError, DataError

_DENSE_SIZE = 256
_LARGEST_DEGREE = 20_000


class HeatKernel(Encoding):
    r"""How much of the heat that starts at a node is there after some times: the heat kernel signature.

    .. math::
        p_i = [(e^{-t_1 L})_{ii}, (e^{-t_2 L})_{ii}, \ldots]
            = \Big[\sum_k e^{-t_1 \lambda_k} v_{ki}^2, \ldots\Big]

    Sun, Ovsjanikov and Guibas, "A concise and provably informative multi-scale signature based on heat diffusion",
    2009; as a feature of nodes (``HKdiagSE``) Rampasek et al., "Recipe for a general, powerful, scalable graph
    transformer", 2022. :math:`L` is the symmetrically normalised or the plain Laplacian; that of the random walk has
    the same diagonals as the former. The values depend on neither signs nor bases of eigenvectors and are equivariant
    to a relabelling of the nodes. An isolated node keeps its heat: 1. At :math:`t \to 0` all values are 1, at
    :math:`t \to \infty` they are those of the null vector of the node's component, ``1 / n`` for the plain Laplacian.
    Multi-edges add up, self-loops do not matter. On a ``Batch`` each graph is treated by itself.

    Args:
        times: Diffusion times, each finite and not negative, in units of one over the Laplacian's eigenvalues.
        normalization: ``"sym"``, ``"rw"`` (the same), or None for the plain Laplacian ``D - A``.
        attr_name: Name of the node attribute that is written, float32 ``[N, len(times)]``.
        weight_attr: Name of the edge attribute that holds weights, used where the data has it. None: all weights 1.

    Raises:
        ConfigError: If there is no time, or one is negative or not finite, or ``normalization`` is unknown.

    Determinism: bitwise on one machine.
    Complexity: ``O(n^3)`` for a component of up to 256 nodes. Above, a Chebyshev expansion whose error is below 1e-10:
    ``O(K m n)`` time for ``m`` edges and a degree ``K`` of about ``7 sqrt(t s) + 20``, where ``2 s`` bounds the
    eigenvalues (``s = 1`` where normalised, else the largest degree), and memory linear in ``n``.
    """

    def __init__(
        self,
        times: Sequence[float],
        *,
        normalization: str | None = "sym",
        attr_name: str = "heat_kernel_pe",
        weight_attr: str | None = "edge_weight",
    ) -> None:
        given = [times] if isinstance(times, (int, float)) else list(times)
        if not given or not all(isinstance(t, (int, float)) and math.isfinite(t) and t >= 0 for t in given):
            raise ConfigError(f"times must be one or more finite numbers of at least 0, got {times!r}")
        check_normalization(normalization)
        self.times = tuple(float(t) for t in given)
        self.normalization = normalization
        self.attr_name = attr_name
        self.weight_attr = weight_attr

    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        """The diagonals, float32 ``[N, len(times)]``.

        Raises:
            DataError: If the graph is directed, a weight is negative or not finite, or the time is too long for the
                expansion that a large component takes.
            ShapeError: If there is not one weight per edge.
        """
        del graph_of_node  # heat does not leave its component
        graph = UndirectedGraph.from_data(data, self.weight_attr, transform="HeatKernel")
        out = np.ones((graph.num_nodes, len(self.times)))
        times = np.array(self.times)
        with single_threaded_blas():
            for part in components(graph, _DENSE_SIZE):
                if part.nodes.shape[1] == 1:
                    continue
                found = laplacians(part, normalized=self.normalization is not None)
                if isinstance(found.matrix, np.ndarray):
                    out[part.nodes] = _dense(found, times)
                else:
                    out[part.nodes[0]] = _expanded(found, times)
        return {self.attr_name: torch.from_numpy(out).float()}


def _dense(found: Laplacians, times: np.ndarray) -> np.ndarray:
    """``[G, n, T]``."""
    values, vectors = dense_eigenpairs(np.asarray(found.matrix), found.null)
    decay = np.exp(-times[None, :, None] * found.scale[:, None, None] * values[:, None, :])
    # The null vector keeps its heat.
    return np.square(found.null)[:, :, None] + np.einsum("gik,gtk->git", np.square(vectors), decay)


def _expanded(found: Laplacians, times: np.ndarray) -> np.ndarray:
    r"""``[n, T]``, with :math:`e^{-a x} = e^{-a} \sum_k (2 - [k = 0]) I_k(a) T_k(1 - x)` for ``x`` in [0, 2]."""
    matrix: Any = found.matrix
    reach = times * float(found.scale[0])
    degree = int(7 * math.sqrt(float(reach.max())) + 20)
    if degree > _LARGEST_DEGREE:
        raise DataError(
            f"HeatKernel: a time of {times.max():g} on a component of {matrix.shape[0]} nodes would take an expansion "
            f"of degree {degree}, more than {_LARGEST_DEGREE}; use normalization='sym', or shorter times"
        )
    order = np.arange(degree + 1)
    coefficient = ive(order[None, :], reach[:, None]) * np.where(order == 0, 1.0, 2.0)
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    weight = (row == matrix.indices) - matrix.data
    index = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    values = (torch.from_numpy(np.ascontiguousarray(part)) for part in (weight, coefficient))
    return torch.ops.gnnkit.chebyshev_diagonal(*index, *values).numpy()
