"""The check that a graph is undirected."""

import scipy.sparse

from gnnkit.errors import DataError

_TOLERANCE = 1e-6


def check_undirected(matrix: scipy.sparse.csr_array, name: str) -> None:
    """Raises DataError where the two directions of an edge weigh differently, relative to the largest weight."""
    difference = abs(matrix - matrix.T).tocoo()
    if difference.nnz == 0 or difference.data.max() <= _TOLERANCE * matrix.data.max():
        return
    worst = int(difference.data.argmax())
    i, j = int(difference.row[worst]), int(difference.col[worst])
    raise DataError(
        f"{name} needs an undirected graph, but the edges {i} -> {j} weigh {matrix[i, j]} and the edges {j} -> {i} "
        f"weigh {matrix[j, i]}; apply torch_geometric.transforms.ToUndirected() first"
    )
