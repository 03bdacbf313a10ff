"""Whether what is timed is right: against a linear program, SciPy's products and dense inverses."""

from typing import Any

import numpy as np
import scipy.sparse
from scipy.optimize import linprog
from torch import Tensor
from torch_geometric.data import Data

from benchmarks.rewiring.graphs import edges_of


def adjacency(data: Data) -> Any:
    """The 0/1 matrix of a graph, CSR, float64."""
    nodes = int(data.num_nodes or 0)
    values = np.ones(data.num_edges)
    return scipy.sparse.coo_array((values, edges_of(data).numpy()), (nodes, nodes)).tocsr()


def transport_error(data: Data, values: Tensor, alpha: float, *, sample: int = 25, seed: int = 0) -> float:
    """Largest difference of Ollivier-Ricci curvature from a linear program, on a sample of edges."""
    matrix = adjacency(data)
    columns = np.random.default_rng(seed).choice(data.num_edges, size=min(sample, data.num_edges), replace=False)
    worst = 0.0
    for column in columns:
        source, target = (int(end) for end in edges_of(data)[:, column])
        here, there = (np.append(matrix[[end]].indices, end) for end in (source, target))
        mass = [np.append(np.full(ends.size - 1, (1 - alpha) / (ends.size - 1)), alpha) for ends in (here, there)]
        cost = _distances(matrix, here, there)
        rows, cols = here.size, there.size
        constraints = scipy.sparse.vstack(
            [scipy.sparse.kron(scipy.sparse.eye_array(rows), np.ones((1, cols))),
             scipy.sparse.kron(np.ones((1, rows)), scipy.sparse.eye_array(cols))]
        )  # fmt: skip
        solution = linprog(cost.ravel(), A_eq=constraints, b_eq=np.concatenate(mass), method="highs")
        if not solution.success:
            raise RuntimeError(f"the linear program of edge ({source}, {target}) failed: {solution.message}")
        worst = max(worst, abs(1 - solution.fun - float(values[column])))
    return worst


def _distances(matrix: Any, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Distances between closed neighbourhoods of two neighbours: 0, 1, 2 or 3."""
    adjacent = matrix[here][:, there].toarray() > 0
    common = (matrix[here] @ matrix[:, there]).toarray() > 0
    cost = np.where(common, 2, 3)
    cost[adjacent] = 1
    cost[here[:, None] == there] = 0
    return cost.astype(np.float64)


def forman_error(data: Data, values: Tensor) -> float:
    """Largest difference of augmented Forman curvature (triangles) from sparse products."""
    matrix = adjacency(data)
    degree = matrix.sum(0)
    source, target = edges_of(data).numpy()
    triangles = np.asarray((matrix @ matrix)[source, target]).ravel()
    return float(np.abs(4 - degree[source] - degree[target] + 3 * triangles - values.numpy()).max())


def dense_resistance(data: Data) -> np.ndarray:
    """Effective resistances of a connected graph by a dense inverse, ``[N, N]``."""
    dense = adjacency(data).toarray()
    nodes = dense.shape[0]
    inverse = np.linalg.inv(np.diag(dense.sum(0)) - dense + 1 / nodes)
    diagonal = inverse.diagonal()
    return diagonal[:, None] + diagonal - 2 * inverse
