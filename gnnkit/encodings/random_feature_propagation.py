"""Random features that are propagated along the edges."""

from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.compat import from_scipy
from gnnkit.encodings._adjacency import adjacency, check_undirected, num_nodes, scaled
from gnnkit.encodings._encoding import Encoding
from gnnkit.encodings._noise import check_optional_seed, drawn_seed, node_keys, standard_normal
from gnnkit.errors import ConfigError
from gnnkit.ops._checks import check_count, check_flag

_OPERATORS = ("adjacency", "self_loops", "laplacian", "walk")
_NORMALIZE = ("l2", "qr", None)
_DEPENDENT = 1e-10


class RandomFeaturePropagation(Encoding):
    r"""The trajectory of random node features under repeated propagation and normalisation.

    .. math::
        X_0 \sim \mathcal{N}(0, 1)^{n \times k}, \qquad X_{t+1} = \mathrm{normalise}(S X_t)

    Eliasof et al., "Graph positional encoding via random feature propagation", ICML 2023. Early steps are random
    features that tell nodes apart, late ones approach the dominant eigenvectors of ``S``: this is power iteration with
    ``normalize="l2"``, which scales every column to length 1, and orthogonal iteration with ``normalize="qr"``, where
    the first ``j`` columns converge to the invariant subspace of the ``j`` eigenvalues that are largest in magnitude,
    at the rate :math:`|\lambda_{j+1} / \lambda_j|`.

    Operators, with the weighted adjacency matrix ``A`` (multi-edges add) and its row sums ``D``:

    * ``"adjacency"``: :math:`D^{-1/2} A D^{-1/2}`;
    * ``"self_loops"``: :math:`(D + I)^{-1/2} (A + I) (D + I)^{-1/2}`, which has no eigenvalue -1;
    * ``"laplacian"``: :math:`I - D^{-1/2} A D^{-1/2}`, zero at isolated nodes;
    * ``"walk"``: :math:`D^{-1} A`, which may be directed; a node takes from the nodes that its edges point to.

    Columns are normalised per graph (not per component). A column is zero where nothing is left to normalise: after a
    propagation to zero (an isolated node has only zeros under all operators but ``"self_loops"``), and with ``"qr"``
    also where the columns before it span it, within a relative 1e-10 of the longest column. So for ``width`` above the
    rank of ``S``, as for a graph of fewer nodes, the last columns are zero.

    The noise of a graph depends on the seed, the number of its nodes and which of them are joined, and on nothing else:
    it is the same alone and in any ``Batch``, and independent in different graphs. Since it tells nodes apart, the
    encoding is equivariant to a relabelling of the nodes in distribution only. For fresh noise in every epoch, use
    ``seed=None`` as the ``transform`` (not the ``pre_transform``) of a data set, or make the transform anew with
    ``seed=epoch``; ``num_draws`` gives several draws at once, for a model to average over or to treat as a set.

    Written as a node attribute: ``attr_name`` float32 ``[N, C]``, or ``[N, num_draws, C]`` for more than one draw, with
    ``C = width * (steps + 1)``, or ``width * steps`` without the initial noise; column ``t * width + j`` is column
    ``j`` of step ``t``.

    Args:
        width: :math:`k`, the number of random columns, at least 1.
        steps: Number of propagations, at least 1.
        operator: ``S``, see above.
        normalize: ``"l2"``, ``"qr"``, or None for plain powers :math:`S^t X_0`. The initial noise is as it was drawn.
        include_initial: Whether the trajectory begins with the initial noise.
        num_draws: Number of independent draws, at least 1.
        seed: Any integer. None: drawn from torch's global generator in every call; results must not be cached then.
        attr_name: Name of the node attribute.
        weight_attr: Name of the edge attribute that holds weights, used where the data has it. None: all weights 1.

    Raises:
        ConfigError: If a number is out of range, or ``operator`` or ``normalize`` unknown.
        DataError: In a call, if ``edge_index`` is missing, a weight is negative or not finite, or the graph is directed
            and the operator is not ``"walk"``.
        ShapeError: In a call, if there is not one weight per edge.

    Determinism: bitwise on one machine, for any number of threads.
    Complexity: ``O(steps (m + n) width num_draws)`` time for ``m`` edges and ``n`` nodes, with ``"qr"`` and
    ``O(steps n width^2 num_draws)`` more; memory as the result in float64.
    """

    def __init__(
        self,
        width: int,
        steps: int,
        *,
        operator: str = "adjacency",
        normalize: str | None = "l2",
        include_initial: bool = True,
        num_draws: int = 1,
        seed: int | None = 0,
        attr_name: str = "random_feature_propagation",
        weight_attr: str | None = "edge_weight",
    ) -> None:
        if operator not in _OPERATORS:
            raise ConfigError(f"operator must be one of {', '.join(_OPERATORS)}, got {operator!r}")
        if normalize not in _NORMALIZE:
            raise ConfigError(f"normalize must be 'l2', 'qr' or None, got {normalize!r}")
        check_flag("include_initial", include_initial)
        self.width = check_count("width", width, 1)
        self.steps = check_count("steps", steps, 1)
        self.operator = operator
        self.normalize = normalize
        self.include_initial = include_initial
        self.num_draws = check_count("num_draws", num_draws, 1)
        self.seed = check_optional_seed(seed)
        self.attr_name = attr_name
        self.weight_attr = weight_attr

    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        """The trajectory."""
        matrix = adjacency(data, self.weight_attr, transform="RandomFeaturePropagation")
        if self.operator != "walk":
            check_undirected(matrix, f"RandomFeaturePropagation with operator={self.operator!r}")
        keys = node_keys(matrix, graph_of_node, drawn_seed(self.seed))
        noise = torch.from_numpy(standard_normal(keys, self.width * self.num_draws))
        step = propagation_matrix(matrix, self.operator)
        trajectory = propagate(step, torch.from_numpy(keys.ptr), noise, self.steps, self.normalize, self.width)
        kept = trajectory if self.include_initial else trajectory[1:]
        # [T, N, D * k] to [N, D, T * k].
        parts = torch.stack(kept).float().unflatten(2, (self.num_draws, self.width))
        value = parts.permute(1, 2, 0, 3).flatten(2)
        return {self.attr_name: (value.squeeze(1) if self.num_draws == 1 else value).contiguous()}


def propagation_matrix(matrix: scipy.sparse.csr_array, operator: str) -> scipy.sparse.csr_array:
    """``S`` for a matrix of non-negative weights, float64 ``[N, N]``."""
    size = num_nodes(matrix)
    if operator == "self_loops":
        matrix = (matrix + scipy.sparse.eye_array(size, format="csr")).tocsr()
    degree = np.asarray(matrix.sum(axis=1)).reshape(-1)
    joined = degree > 0
    if operator == "walk":
        return scaled(matrix, np.divide(1.0, degree, out=np.zeros(size), where=joined))
    root = np.divide(1.0, np.sqrt(degree), out=np.zeros(size), where=joined)
    normalised = scaled(matrix, root, root)
    if operator == "laplacian":
        identity = scipy.sparse.dia_array((joined[None].astype(np.float64), [0]), shape=(size, size))
        return (identity.tocsr() - normalised).tocsr()
    return normalised


def propagate(
    step: scipy.sparse.csr_array, ptr: Tensor, noise: Tensor, steps: int, normalize: str | None, width: int
) -> list[Tensor]:
    """``noise`` and what becomes of it, ``steps + 1`` tensors ``[N, D * width]``; draws are orthonormalised apart.

    Args:
        step: ``S``.
        ptr: Boundaries of the graphs, int64 ``[G + 1]``.
        noise: float64 ``[N, D * width]``.
        steps: Number of propagations.
        normalize: ``"l2"``, ``"qr"`` or None.
        width: Columns of one draw.
    """
    # Row i of S is what node i takes from others: its columns are the sources.
    graph, weight = from_scipy(step.T.tocsr())
    graph_of_node = torch.arange(ptr.numel() - 1).repeat_interleave(ptr.diff())
    trajectory = [noise]
    for _ in range(steps):
        x = ops.spmm(graph, trajectory[-1], weight)
        if normalize == "l2":
            length = ops.segment_reduce(x.square(), ptr, "sum").sqrt()
            x = x * torch.where(length > 0, 1 / length, 0.0)[graph_of_node]
        elif normalize == "qr":
            draws = [torch.ops.gnnkit.orthonormal_columns(part, ptr, _DEPENDENT) for part in x.split(width, dim=1)]
            x = torch.cat(draws, dim=1)
        trajectory.append(x)
    return trajectory
