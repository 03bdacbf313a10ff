"""Laplacian eigenvectors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.encodings._basis import same_eigenvalue, sign_of_largest
from gnnkit.encodings._eigensolver import Eigenpairs, eigenpairs
from gnnkit.encodings._encoding import Encoding
from gnnkit.encodings._laplacian import UndirectedGraph, check_normalization, single_threaded_blas
from gnnkit.errors import ConfigError


class LaplacianEigenvectors(Encoding):
    r"""The eigenvectors of the graph Laplacian that belong to its ``k`` smallest non-trivial eigenvalues.

    .. math::
        L_\mathrm{sym} = I - D^{-1/2} A D^{-1/2}, \qquad L_\mathrm{rw} = I - D^{-1} A, \qquad L = D - A

    Dwivedi et al., "Benchmarking graph neural networks", 2020. Every connected component has one trivial eigenvector
    (eigenvalue 0), and all of them are skipped. Each remaining eigenvector lives on one component and is zero
    elsewhere; those of all components of a graph are ordered by eigenvalue, equal ones by the lowest node of their
    component. A graph of ``n`` nodes and ``c`` components has ``n - c`` such vectors; missing columns are zero. On a
    ``Batch`` each graph is treated by itself. Multi-edges add their weights; self-loops and edges of weight 0 are left
    out.

    Vectors have length 1. **Sign and basis** are functions of the eigenspace and of the order of the nodes, whatever
    the solver has found: of a repeated eigenvalue (two that differ by at most 1e-9 of their size and 1e-13 of the
    matrix's norm), the first vector is the longest of the projections of unit vectors of nodes onto its space, the
    next the longest onto what is orthogonal to the first, and so on. So each vector is positive where its entry is
    largest in magnitude (of entries equal within a relative 1e-6, at the lowest node), and the vectors after it are
    zero there. For a simple eigenvalue this is the usual sign rule. The eigenspaces of ``"rw"`` are those of ``"sym"``
    with entries divided by the square root of the degree, and so are their bases, which are orthogonal in the scalar
    product with weights :math:`D`; the sign rule holds for what results. Where ``k`` cuts an eigenspace, all of it is
    found nonetheless, and the first vectors of its basis are kept: smaller ``k`` give the leading columns of larger
    ones. The rule is not equivariant to a relabelling of the nodes where eigenvalues are repeated or entries tie.

    Written as node attributes: ``attr_name`` float32 ``[N, k]``; ``attr_name + "_eigenvalue"`` float32 ``[N, k]``, the
    eigenvalues of the node's graph; ``attr_name + "_mask"`` bool ``[N, k]``, False in missing columns.

    Args:
        k: Number of eigenvectors, at least 1. It may exceed the number of nodes.
        normalization: ``"sym"``, ``"rw"`` or None, for the matrices above.
        attr_name: Name of the node attribute.
        weight_attr: Name of the edge attribute that holds weights, used where the data has it. None: all weights 1.

    Raises:
        ConfigError: If ``k`` is below 1 or ``normalization`` unknown.
        DataError: When applied, if ``edge_index`` is missing, a weight is negative or not finite, the graph is directed
            (weights of both directions may differ by a relative 1e-6), or the eigenvalues of a component of more than
            8192 nodes are repeated too often.
        ShapeError: When applied, if there is not one weight per edge.

    Determinism: bitwise on one machine, for any number of threads.
    Complexity: ``O(n^3)`` per component of up to 256 nodes. Above, subspace iteration with Chebyshev polynomials: a few
    hundred products of the matrix with about ``1.5 k`` columns where eigenvalues are well apart; otherwise (on long
    paths, say) a sparse factorisation and some dozen solutions. Accurate to about 1e-8.
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
        check_normalization(normalization)
        self.k = k
        self.normalization = normalization
        self.attr_name = attr_name
        self.weight_attr = weight_attr

    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        """Eigenvectors, eigenvalues and mask, each ``[N, k]``."""
        graph = UndirectedGraph.from_data(data, self.weight_attr, transform="LaplacianEigenvectors")
        owner = graph_of_node.numpy()
        vectors, values, mask = _eigenvectors(graph, owner, self.k, self.normalization)
        return {
            self.attr_name: torch.from_numpy(vectors),
            self.attr_name + "_eigenvalue": torch.from_numpy(values[owner]),
            self.attr_name + "_mask": torch.from_numpy(mask[owner]),
        }


def _eigenvectors(
    graph: UndirectedGraph, owner: np.ndarray, k: int, normalization: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors ``[N, k]``, eigenvalues ``[G, k]`` and which of them exist, bool ``[G, k]``."""
    num_graphs = int(owner.max(initial=-1)) + 1
    vectors = np.zeros((graph.num_nodes, k), np.float32)
    values = np.zeros((num_graphs, k), np.float32)
    mask = np.zeros((num_graphs, k), dtype=bool)
    with single_threaded_blas():
        normalized = normalization is not None
        found = list(eigenpairs(graph, k, normalized=normalized, transform="LaplacianEigenvectors"))
    if not found:
        return vectors, values, mask
    for pairs, column in zip(found, rank_in_graph(found, owner, num_graphs), strict=True):
        component, index = np.nonzero(column < k)
        target = column[component, index]
        nodes = pairs.part.nodes[component]
        basis = _of_random_walk(pairs) if normalization == "rw" else pairs.vectors
        vectors[nodes, target[:, None]] = basis[component, :, index]
        number = owner[nodes[:, 0]]
        values[number, target] = pairs.values[component, index]
        mask[number, target] = True
    return vectors, values, mask


def _of_random_walk(pairs: Eigenpairs) -> np.ndarray:
    """The eigenvectors of ``I - D^-1 A`` that belong to those of ``I - D^-1/2 A D^-1/2``."""
    vectors = pairs.vectors / np.sqrt(pairs.part.degree)[:, :, None]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors * sign_of_largest(vectors)[:, None, :]


def rank_in_graph(found: list[Eigenpairs], owner: np.ndarray, num_graphs: int) -> list[np.ndarray]:
    """The rank of every eigenpair within its graph, per entry of ``found`` ``[components, count]``."""
    if not found:
        return []
    shapes = [pairs.values.shape for pairs in found]
    graph = np.concatenate([owner[pairs.part.nodes[:, 0]] for pairs in found])
    if np.bincount(graph).max() == 1:
        return [np.broadcast_to(np.arange(shape[1]), shape) for shape in shapes]
    value = np.concatenate([pairs.values.ravel() for pairs in found])
    first = np.concatenate([np.repeat(pairs.part.nodes[:, 0], pairs.values.shape[1]) for pairs in found])
    graph = owner[first]
    scale = np.concatenate([np.repeat(pairs.scale, pairs.values.shape[1]) for pairs in found])
    largest = np.zeros(num_graphs)
    np.maximum.at(largest, graph, scale)
    # Equal eigenvalues of two components differ in their last bits, which must not decide on the order.
    order = np.lexsort((value, graph))
    opens = np.ones(len(order), dtype=bool)
    low, high = order[:-1], order[1:]
    opens[1:] = (graph[low] != graph[high]) | ~same_eigenvalue(value[low], value[high], largest[graph[high]])
    cluster = np.empty(len(order), dtype=np.int64)
    cluster[order] = np.cumsum(opens)
    order = np.lexsort((first, cluster))
    begin = np.searchsorted(graph[order], graph[order])
    rank = np.empty(len(value), dtype=np.int64)
    rank[order] = np.arange(len(value)) - begin
    ends = np.cumsum([rows * columns for rows, columns in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(rank, ends[:-1]), shapes, strict=True)]
