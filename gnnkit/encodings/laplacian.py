"""Laplacian eigenvectors."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.linalg import ArpackError, eigsh, splu
from threadpoolctl import ThreadpoolController
from torch_geometric.transforms import BaseTransform

from gnnkit.compat.pyg import put_node_attribute
from gnnkit.encodings._adjacency import adjacency, chunks, components_by_size, num_nodes, scaled
from gnnkit.errors import ConfigError, DataError

_DENSE_SIZE = 256
_DENSE_ENTRIES = 2**22
_LARGEST_DENSE = 8192
_NORMALIZATIONS = ("sym", "rw", None)


class LaplacianEigenvectors(BaseTransform):
    r"""The eigenvectors of the graph Laplacian that belong to its ``k`` smallest non-trivial eigenvalues.

    .. math::
        L_\mathrm{sym} = I - D^{-1/2} A D^{-1/2}, \qquad L_\mathrm{rw} = I - D^{-1} A, \qquad L = D - A

    Dwivedi et al., "Benchmarking graph neural networks", 2020. Every connected component has one trivial eigenvector
    (eigenvalue 0), and all of them are skipped. Each remaining eigenvector lives on one component and is zero
    elsewhere; those of all components of a graph are ordered by eigenvalue, equal ones by the lowest node of their
    component. A graph of ``n`` nodes and ``c`` components has ``n - c`` such vectors; missing columns are zero. On a
    ``Batch`` each graph is treated by itself.

    Vectors have length 1. The sign is such that the entry largest in magnitude is positive (of equal ones, within a
    relative 1e-6, that of the lowest node). Within the eigenspace of a repeated eigenvalue the basis is arbitrary,
    though the same every time; it is not equivariant to a relabelling of the nodes.

    Written as node attributes: ``attr_name`` float32 ``[N, k]``; ``attr_name + "_eigenvalue"`` float32 ``[N, k]``, the
    eigenvalues of the node's graph; ``attr_name + "_mask"`` bool ``[N, k]``, False in missing columns.

    Args:
        k: Number of eigenvectors, at least 1.
        normalization: ``"sym"``, ``"rw"`` or None, for the matrices above.
        attr_name: Name of the node attribute.
        weight_attr: Name of the edge attribute that holds weights, used where the data has it. None: all weights 1.

    Raises:
        ConfigError: If ``k`` is below 1 or ``normalization`` unknown.

    Determinism: bitwise on one machine; the iterative solver starts from a fixed vector.
    Complexity: ``O(n^3)`` per component of up to 256 nodes; above, two sparse factorisations and some solves.
    """

    def __init__(
        self,
        k: int,
        *,
        normalization: str | None = "sym",
        attr_name: str = "laplacian_eigenvector_pe",
        weight_attr: str | None = "edge_weight",
    ) -> None:
        if k < 1:
            raise ConfigError(f"k must be at least 1, got {k}")
        if normalization not in _NORMALIZATIONS:
            raise ConfigError(f"normalization must be 'sym', 'rw' or None, got {normalization!r}")
        self.k = k
        self.normalization = normalization
        self.attr_name = attr_name
        self.weight_attr = weight_attr

    def forward(self, data: Any) -> Any:
        """Adds the attributes to a ``Data`` or ``Batch``.

        Raises:
            DataError: If ``edge_index`` is missing, a weight is negative or not finite, the graph is directed, or the
                eigenvalues of a very large component cannot be found.
            ShapeError: If there is not one weight per edge.
        """
        matrix = _symmetric(adjacency(data, self.weight_attr, transform="LaplacianEigenvectors"))
        batch = getattr(data, "batch", None)
        graph_of_node = np.zeros(num_nodes(matrix), np.int64) if batch is None else batch.cpu().numpy()
        vectors, values, mask = laplacian_eigenvectors(matrix, graph_of_node, self.k, self.normalization)
        for suffix, value in (("", vectors), ("_eigenvalue", values[graph_of_node]), ("_mask", mask[graph_of_node])):
            tensor = torch.from_numpy(value)
            tensor = tensor if value.dtype == bool else tensor.float()
            put_node_attribute(data, self.attr_name + suffix, tensor.to(data.edge_index.device))
        return data

    def __repr__(self) -> str:
        """The settings."""
        return (
            f"LaplacianEigenvectors({self.k}, normalization={self.normalization!r}, "
            f"attr_name={self.attr_name!r}, weight_attr={self.weight_attr!r})"
        )


class _Eigenpairs(NamedTuple):
    nodes: np.ndarray
    """``[components, size]``."""
    values: np.ndarray
    """``[components, count]``, ascending."""
    vectors: np.ndarray
    """``[components, size, count]``."""


def laplacian_eigenvectors(
    matrix: scipy.sparse.csr_array, graph_of_node: np.ndarray, k: int, normalization: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvectors for a symmetric matrix of non-negative weights ``[N, N]``.

    Returns:
        Vectors ``[N, k]``, eigenvalues ``[G, k]`` and which of them exist, bool ``[G, k]``, for
        ``G = max(graph_of_node) + 1`` graphs.
    """
    num_graphs = int(graph_of_node.max(initial=-1)) + 1
    vectors = np.zeros((num_nodes(matrix), k))
    values = np.zeros((num_graphs, k))
    mask = np.zeros((num_graphs, k), dtype=bool)
    with _single_threaded_blas():
        found = list(_solved(matrix, k, normalization))
    if not found:
        return vectors, values, mask
    for pairs, column in zip(found, _columns(found, graph_of_node), strict=True):
        component, index = np.nonzero(column < k)
        target = column[component, index]
        nodes = pairs.nodes[component]
        vectors[nodes, target[:, None]] = pairs.vectors[component, :, index]
        graph = graph_of_node[nodes[:, 0]]
        values[graph, target] = pairs.values[component, index]
        mask[graph, target] = True
    return vectors, values, mask


def _single_threaded_blas() -> AbstractContextManager[object]:
    # Waking threads costs more than matrices of this size take, a hundredfold on a busy machine, and the number of
    # threads must not show in the last bits.
    return _controller().limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def _solved(matrix: scipy.sparse.csr_array, k: int, normalization: str | None) -> Iterator[_Eigenpairs]:
    for group in components_by_size(matrix):
        size = group.nodes.shape[1]
        if size == 1:
            continue
        if size > _DENSE_SIZE:
            for index, nodes in enumerate(group.nodes):
                yield _solve(group.blocks(index, index + 1), nodes[None], k, normalization)
        else:
            for begin, end in chunks(group, size * size, _DENSE_ENTRIES):
                yield _solve(group.dense(begin, end), group.nodes[begin:end], k, normalization)


def _columns(found: list[_Eigenpairs], graph_of_node: np.ndarray) -> list[np.ndarray]:
    """The rank of every eigenpair within its graph, per entry of ``found`` ``[components, count]``."""
    value = np.concatenate([pairs.values.ravel() for pairs in found])
    first = np.concatenate([np.repeat(pairs.nodes[:, 0], pairs.values.shape[1]) for pairs in found])
    graph = graph_of_node[first]
    # Equal eigenvalues of two components differ in their last bits, which must not decide on the order.
    rounded = np.round(value / max(1.0, value.max()), 9)
    order = np.lexsort((value, first, rounded, graph))
    begin = np.searchsorted(graph[order], graph[order])
    rank = np.empty(len(value), dtype=np.int64)
    rank[order] = np.arange(len(value)) - begin
    ends = np.cumsum([pairs.values.size for pairs in found])
    return [part.reshape(pairs.values.shape) for part, pairs in zip(np.split(rank, ends[:-1]), found, strict=True)]


def _solve(
    weights: np.ndarray | scipy.sparse.csr_array, nodes: np.ndarray, k: int, normalization: str | None
) -> _Eigenpairs:
    """Non-trivial eigenpairs of components of one size: dense blocks ``[G, n, n]``, or one sparse matrix."""
    size = nodes.shape[1]
    count = min(k, size - 1)
    if isinstance(weights, np.ndarray):
        degree = weights.sum(axis=2)
        values, vectors = np.linalg.eigh(_dense_laplacian(weights, degree, normalization))
        values, vectors = values[:, 1 : count + 1], vectors[:, :, 1 : count + 1]
    else:
        degree = weights.sum(axis=1)[None]
        values, vectors = _sparse_eigenpairs(_sparse_laplacian(weights, degree[0], normalization), count)
    if normalization == "rw":
        vectors = vectors / np.sqrt(degree)[:, :, None]
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return _Eigenpairs(nodes, np.maximum(values, 0), _with_fixed_sign(vectors))


def _dense_laplacian(weights: np.ndarray, degree: np.ndarray, normalization: str | None) -> np.ndarray:
    identity = np.eye(weights.shape[1])
    if normalization is None:
        return degree[:, :, None] * identity - weights
    root = 1 / np.sqrt(degree)
    return identity - root[:, :, None] * weights * root[:, None, :]


def _sparse_laplacian(
    weights: scipy.sparse.csr_array, degree: np.ndarray, normalization: str | None
) -> scipy.sparse.csc_array:
    if normalization is not None:
        root = 1 / np.sqrt(degree)
        weights, degree = scaled(weights, root, root), np.ones(len(degree))
    return scipy.sparse.csc_array(scipy.sparse.diags_array(degree) - weights)


def _sparse_eigenpairs(laplacian: scipy.sparse.csc_array, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The smallest eigenpairs but the first, ``[1, count]`` and ``[1, n, count]``, by shift and invert.

    A Krylov space holds one vector of each eigenspace, and further ones by rounding only: so the eigenvalues are
    counted by other means, and where some are missing the search is widened.
    """
    size, wanted, asked = len(laplacian.indptr) - 1, count + 1, count + 9
    while asked <= size // 2:
        values, vectors = _search(laplacian, asked)
        below = values[wanted - 1] * (1 - 1e-7)
        if np.count_nonzero(values < below) == _count_below(laplacian, below):
            return values[None, 1:wanted], vectors[None, :, 1:wanted]
        asked *= 3
    if size > _LARGEST_DENSE:
        raise DataError(
            f"the {count} smallest eigenvalues of a component of {size} nodes were not found: they are repeated too "
            "often; ask for fewer with k"
        )
    values, vectors = np.linalg.eigh(laplacian.toarray())
    return values[None, 1:wanted], vectors[None, :, 1:wanted]


def _search(laplacian: scipy.sparse.csc_array, count: int) -> tuple[np.ndarray, np.ndarray]:
    # Just below 0: the shifted matrix is positive definite, and well conditioned enough to factorise.
    shift = -1e-6 * max(1.0, float(laplacian.diagonal().max()))
    start = np.random.default_rng(0).standard_normal(len(laplacian.indptr) - 1)
    try:
        values, vectors = eigsh(laplacian, k=count, sigma=shift, which="LM", v0=start)
    except (ArpackError, RuntimeError) as error:
        raise DataError(f"the Laplacian's eigenvectors did not converge ({error}); check the weights") from error
    order = np.argsort(values, kind="stable")
    return values[order], vectors[:, order]


def _count_below(laplacian: scipy.sparse.csc_array, bound: float) -> int:
    """Number of eigenvalues below ``bound``: the negative pivots of the shifted matrix (Sylvester's law of inertia)."""
    shifted = scipy.sparse.csc_array(laplacian - bound * scipy.sparse.eye_array(len(laplacian.indptr) - 1))
    factors = splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    if not np.array_equal(factors.perm_r, factors.perm_c):
        return -1
    return int(np.count_nonzero(factors.U.diagonal() < 0))


def _with_fixed_sign(vectors: np.ndarray) -> np.ndarray:
    """Turns every vector, ``[G, n, count]``, so that its largest entry, or the first of equals, is positive."""
    magnitude = np.abs(vectors)
    first = np.argmax(magnitude >= magnitude.max(axis=1, keepdims=True) * (1 - 1e-6), axis=1)
    chosen = np.take_along_axis(vectors, first[:, None, :], axis=1)
    return vectors * np.where(chosen < 0, -1.0, 1.0)


def _symmetric(matrix: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    difference = abs(matrix - matrix.T).tocoo()
    if difference.nnz > 0 and difference.data.max() > 1e-6 * matrix.data.max():
        worst = int(difference.data.argmax())
        i, j = int(difference.row[worst]), int(difference.col[worst])
        raise DataError(
            f"LaplacianEigenvectors needs an undirected graph, but the edges {i} -> {j} weigh {matrix[i, j]} and the "
            f"edges {j} -> {i} weigh {matrix[j, i]}; apply torch_geometric.transforms.ToUndirected() first"
        )
    return ((matrix + matrix.T) / 2).tocsr()
