"""Random features whose inner products estimate a kernel on the nodes of a graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from gnnkit import Graph, ops
from gnnkit.encodings._adjacency import adjacency, check_undirected, num_nodes, scaled
from gnnkit.encodings._encoding import Encoding
from gnnkit.encodings._graph_kernel import check_kernel, check_positive, series, truncation_bound
from gnnkit.encodings._noise import (
    FIRST_WALKS,
    SECOND_WALKS,
    NodeKeys,
    check_optional_seed,
    drawn_seed,
    node_keys,
    random_signs,
)
from gnnkit.errors import ConfigError, DataError
from gnnkit.ops._checks import check_count, check_flag, check_number

_MOST_WALKS = 2**32


class _WalkFeatures(Encoding):
    """Settings and walks of both classes below."""

    def __init__(
        self,
        *,
        kernel: str | Sequence[float] = "diffusion",
        scale: float = 1.0,
        power: float = 1.0,
        normalization: str | None = "sym",
        num_walks: int = 32,
        halting: float = 0.1,
        max_steps: int = 32,
        transition: str = "weight",
        paired: bool = False,
        seed: int | None = 0,
        attr_name: str = "graph_random_features",
        weight_attr: str | None = "edge_weight",
    ) -> None:
        self.kernel = check_kernel(kernel)
        self.scale = check_positive("scale", scale, least=2.0 if kernel == "random_walk" else 0.0)
        self.power = check_positive("power", power)
        if normalization not in ("sym", None):
            raise ConfigError(f"normalization must be 'sym' or None, got {normalization!r}")
        if normalization is None and isinstance(self.kernel, str):
            raise ConfigError(
                f"kernel {self.kernel!r} is one of the normalised Laplacian; give coefficients for normalization=None"
            )
        if transition not in ("weight", "uniform"):
            raise ConfigError(f"transition must be 'weight' or 'uniform', got {transition!r}")
        check_flag("paired", paired)
        if not 0 <= check_number("halting", halting) < 1:
            raise ConfigError(f"halting must be at least 0 and below 1, got {halting}")
        if check_count("num_walks", num_walks, 1) > _MOST_WALKS:
            raise ConfigError(f"num_walks must be at most 2^32, got {num_walks}")
        self.normalization = normalization
        self.num_walks = num_walks
        self.halting = halting
        self.max_steps = check_count("max_steps", max_steps, 0)
        self.transition = transition
        self.paired = paired
        self.seed = check_optional_seed(seed)
        self.attr_name = attr_name
        self.weight_attr = weight_attr

    def coefficients(self) -> np.ndarray:
        r""":math:`\alpha_0 \ldots \alpha_L`, float64 ``[max_steps + 1]``."""
        return series(self.kernel, self.scale, self.power, self.max_steps + 1)

    def modulation(self) -> np.ndarray:
        """:math:`f_0` and the following up to the last one that is not zero, float64 ``[max_steps + 1]`` at most."""
        found = series(self.kernel, self.scale, self.power / 2, self.max_steps + 1)
        return found[: np.flatnonzero(found)[-1] + 1]

    def truncation_bound(self) -> float:
        r"""Largest spectral norm of :math:`E[\Phi \Phi'^\top] - K` over all graphs: by how much coefficients are off.

        Of the series of the kernel, the first 10,000 coefficients are looked at.

        Raises:
            ConfigError: If ``normalization`` is None, where it depends on the graph.
        """
        if self.normalization is None:
            raise ConfigError("the error of the truncation depends on the graph where normalization is None")
        return truncation_bound(self.kernel, self.scale, self.power, self.modulation())

    def _walk(self, data: Any, graph_of_node: Tensor) -> tuple[dict[str, tuple[Graph, Tensor]], NodeKeys]:
        """Features by name, in a row for each node, float64."""
        name = type(self).__name__
        matrix = adjacency(data, self.weight_attr, transform=name)
        check_undirected(matrix, name)
        keys = node_keys(matrix, graph_of_node, drawn_seed(self.seed))
        factor, probability = _transitions(matrix, self.normalization, self.transition, self.halting)
        rowptr, col = (torch.from_numpy(index).long() for index in (matrix.indptr, matrix.indices))
        arguments = [rowptr, col, *(torch.from_numpy(value) for value in (factor, probability))]
        arguments += [torch.from_numpy(value) for value in (keys.key.view(np.int64), keys.node, self.modulation())]
        ensembles = {self.attr_name: FIRST_WALKS}
        if self.paired:
            ensembles[self.attr_name + "_second"] = SECOND_WALKS
        out = {}
        for attr, ensemble in ensembles.items():
            found = torch.ops.gnnkit.graph_random_features(*arguments, self.halting, self.num_walks, ensemble)
            if not bool(found[2].isfinite().all()):
                raise DataError(
                    f"{name}: the loads of random walks overflow; lower max_steps, scale the weights down, or use "
                    "normalization='sym'"
                )
            out[attr] = Graph(found[0], found[1], None, num_nodes(matrix)), found[2]
        return out, keys


class SparseGraphRandomFeatures(_WalkFeatures):
    r"""Features from random walks, most of them zero, whose inner products estimate a graph kernel without bias.

    .. math::
        K = \sum_r \alpha_r S^r \approx \Phi \Phi'^\top, \qquad
        \Phi_{iv} = \frac{1}{m} \sum_{w = 1}^{m} \sum_{s \,:\, w_s = v} f_s \prod_{t < s}
        \frac{S_{w_t w_{t+1}}}{p_{w_t w_{t+1}} (1 - h)}

    Reid et al., "General graph random features", ICLR 2024; Choromanski, "Taming graph kernels with random features",
    ICML 2023. From every node ``i`` go ``m`` random walks. Before each step a walk ends with the halting probability
    ``h``; otherwise it moves from ``u`` to ``v`` with probability :math:`p_{uv}`. The modulation ``f`` is the series
    whose square is that of the kernel, :math:`\sum_{a + b = r} f_a f_b = \alpha_r`.

    ``S`` is :math:`D^{-1/2} A D^{-1/2}` for the weighted adjacency matrix ``A`` (multi-edges add, an isolated node has
    a row of zeros), and :math:`L = I - S`. Kernels, each to the power ``power``:

    * ``"diffusion"``: :math:`\exp(-c L)` for ``scale`` ``c`` above 0;
    * ``"regularized_laplacian"``: :math:`(I + c L)^{-1}` for ``scale`` ``c`` above 0;
    * ``"random_walk"``: :math:`c I - L` for ``scale`` ``c`` of at least 2;
    * ``"inverse_cosine"``: :math:`\cos(\pi L / 4)`; ``scale`` is not looked at;
    * coefficients :math:`(\alpha_0, \alpha_1, \ldots)` with :math:`\alpha_0 > 0`, and zeros after them; ``scale`` is
      not looked at. Their square root converges within the spectrum of ``S`` only where the polynomial has no zero of
      that magnitude; see :meth:`truncation_bound`.

    Walks of different nodes are independent, so that :math:`\Phi_i \cdot \Phi_j` has expectation :math:`K_{ij}` for
    :math:`i \ne j`. On the diagonal it is too large, by the variance of the features. With ``paired=True`` a second,
    independent ensemble :math:`\Phi'` is given too, and :math:`\Phi \Phi'^\top` is unbiased everywhere, though neither
    symmetric nor positive.

    Walks are cut off after ``max_steps`` steps, so that exactly
    :math:`E[\Phi \Phi'^\top] = (\sum_{r \le L} f_r S^r)^2` for ``L`` of them: the coefficients up to
    :math:`\alpha_L` are right. :meth:`truncation_bound` says how far that is from ``K`` at most.

    Written: ``attr_name + "_index"`` int64 ``[2, P]``, pairs (node, feature) in ascending order, where features are
    nodes too; ``attr_name + "_value"`` float32 ``[P]``. With ``paired``, the same of the second ensemble with
    ``"_second_index"`` and ``"_second_value"``.

    Random numbers depend on the seed, on the number of nodes of the graph and which of them are joined, and on node,
    walk and step: a graph has the same features alone and in any ``Batch``.

    Args:
        kernel: Name or coefficients, see above.
        scale: ``c``, see above.
        power: Exponent of the kernel, above 0.
        normalization: ``"sym"``: ``S`` as above. None: ``S = A``, for coefficients only.
        num_walks: ``m``, from every node. The variance falls as ``1 / m``.
        halting: ``h``, at least 0 and below 1. Expected length of a walk: ``(1 - h) / h``.
        max_steps: ``L``, at least 0.
        transition: ``"weight"``: :math:`p_{uv} = A_{uv} / D_{uu}`, for which the loads stay bounded. ``"uniform"``: all
            neighbours alike, as in the paper. The same on graphs without weights.
        paired: Whether to give a second ensemble.
        seed: Any integer. None: drawn from torch's global generator in every call; results must not be cached then.
        attr_name: First part of the names of the attributes.
        weight_attr: Name of the edge attribute that holds weights, used where the data has it. None: all weights 1.

    Raises:
        ConfigError: If a setting is unknown or out of range.
        DataError: In a call, if ``edge_index`` is missing, a weight is negative or not finite, the graph is directed,
            or loads overflow, as they can for ``S = A``.
        ShapeError: In a call, if there is not one weight per edge.

    Determinism: bitwise on one machine, for any number of threads.
    Complexity: ``O(n m / h log d)`` time for degree ``d`` (``max_steps`` in place of ``1 / h`` where that is less), and
    as many entries at most.
    """

    def encode(self, data: Any) -> dict[str, Tensor]:
        """The non-zero features."""
        features, _ = self._walk(data, torch.zeros(int(data.num_nodes), dtype=torch.int64))
        out = {}
        for name, (graph, value) in features.items():
            out[name + "_index"] = graph.edge_index.flip(0)
            out[name + "_value"] = value.float()
        return out


class GraphRandomFeatures(_WalkFeatures):
    r"""Node features of a fixed width whose inner products estimate a graph kernel without bias.

    .. math::
        Y = \Phi R / \sqrt{k}, \qquad E[Y_i \cdot Y'_j] = E[\Phi_i \cdot \Phi'_j] = K_{ij}

    with the features :math:`\Phi` of :class:`SparseGraphRandomFeatures`, where kernels, walks and settings are
    explained, and a matrix ``R`` of ``width`` ``k`` columns of independent random signs (Achlioptas, "Database-friendly
    random projections", 2003), the same one for both ensembles. The projection adds a variance of at most
    :math:`2 |\Phi_i|^2 |\Phi'_j|^2 / k` to every inner product, also where ``K`` is nearly zero: for the kernel matrix
    of a large graph take the sparse features. On a ``Batch`` the signs of each graph are its own, so that inner
    products of nodes of different graphs estimate zero.

    Written as a node attribute: ``attr_name`` float32 ``[N, width]``, and with ``paired`` also
    ``attr_name + "_second"``.

    Args:
        width: Number of features, at least 1.
        kernel: As :class:`SparseGraphRandomFeatures`, and all others too.

    Raises:
        ConfigError: If a setting is unknown or out of range.
        DataError: In a call, as :class:`SparseGraphRandomFeatures`.
        ShapeError: In a call, if there is not one weight per edge.

    Determinism: bitwise on one machine, for any number of threads.
    Complexity: that of the walks, and ``O(P width)`` time for ``P`` non-zero features.
    """

    def __init__(
        self,
        width: int,
        *,
        kernel: str | Sequence[float] = "diffusion",
        scale: float = 1.0,
        power: float = 1.0,
        normalization: str | None = "sym",
        num_walks: int = 32,
        halting: float = 0.1,
        max_steps: int = 32,
        transition: str = "weight",
        paired: bool = False,
        seed: int | None = 0,
        attr_name: str = "graph_random_features",
        weight_attr: str | None = "edge_weight",
    ) -> None:
        super().__init__(
            kernel=kernel,
            scale=scale,
            power=power,
            normalization=normalization,
            num_walks=num_walks,
            halting=halting,
            max_steps=max_steps,
            transition=transition,
            paired=paired,
            seed=seed,
            attr_name=attr_name,
            weight_attr=weight_attr,
        )
        self.width = check_count("width", width, 1)

    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        """The projected features."""
        features, keys = self._walk(data, graph_of_node)
        signs = torch.from_numpy(random_signs(keys, self.width)).double()
        return {
            name: (ops.spmm(graph, signs, value) / self.width**0.5).float() for name, (graph, value) in features.items()
        }


def _transitions(
    matrix: scipy.sparse.csr_array, normalization: str | None, transition: str, halting: float
) -> tuple[np.ndarray, np.ndarray]:
    """For each entry, what it multiplies a load by, and the probability that a walk takes it."""
    weight = np.asarray(matrix.sum(axis=1)).reshape(-1)
    entries = np.diff(matrix.indptr)
    total = np.repeat(weight if transition == "weight" else entries.astype(np.float64), entries)
    probability = (matrix.data if transition == "weight" else 1.0) / total
    value = matrix.data
    if normalization == "sym":
        root = np.divide(1.0, np.sqrt(weight), out=np.zeros_like(weight), where=weight > 0)
        value = scaled(matrix, root, root).data
    return value / probability / (1 - halting), probability
