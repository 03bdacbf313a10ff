"""Between a :class:`Graph` and SciPy's sparse matrices."""

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.graph import Graph

if TYPE_CHECKING:
    import scipy.sparse


def to_scipy(
    graph: Graph,
    values: Tensor | None = None,
    *,
    layout: Literal["csr", "csc", "coo"] = "csr",
) -> "scipy.sparse.sparray":
    """The adjacency matrix with **row = source, column = destination**: ``A[i, j]`` belongs to the edge ``i -> j``.

    This is the convention of NetworkX and of PyTorch Geometric. Aggregation over in-edges is therefore ``A.T @ x``.
    Multi-edges are stored as several entries and not summed; call ``sum_duplicates()`` for that.

    Args:
        graph: ``num_src`` rows and ``num_dst`` columns.
        values: One number per edge in the caller's edge order, ``[E]``. None: float32 ones.
        layout: Storage of the result. ``"coo"`` keeps the caller's edge order.

    Returns:
        A SciPy sparse array ``[num_src, num_dst]`` on the host, detached from autograd.

    Raises:
        ShapeError: If ``values`` is not ``[E]``.
        ConfigError: If ``layout`` is unknown.
    """
    import scipy.sparse

    if values is None:
        values = torch.ones(graph.num_edges)
    if values.shape != (graph.num_edges,):
        raise ShapeError(f"values must hold one number per edge, [{graph.num_edges}], got {tuple(values.shape)}")
    shape = (graph.num_src, graph.num_dst)
    host = values.detach().cpu()
    if layout == "coo":
        src, dst = graph.edge_index.cpu().numpy()
        return scipy.sparse.coo_array((host.numpy(), (src, dst)), shape=shape)
    if layout not in ("csr", "csc"):
        raise ConfigError(f"layout must be 'csr', 'csc' or 'coo', got {layout!r}")
    # A graph stores the in-edges of each destination: that is the matrix by columns, its transpose the one by rows.
    stored = graph if layout == "csc" else graph.transpose()
    if stored.edge_id is not None:
        host = host.index_select(0, stored.edge_id.cpu())
    arrays = (host.numpy(), stored.col.cpu().numpy(), stored.rowptr.cpu().numpy())
    make = scipy.sparse.csc_array if layout == "csc" else scipy.sparse.csr_array
    return make(arrays, shape=shape)


def from_scipy(matrix: Any) -> tuple[Graph, Tensor]:
    """The graph of a sparse matrix: every stored entry ``A[i, j]`` is an edge ``i -> j``.

    Explicitly stored zeros and duplicate entries are edges as well. A matrix that is not square gives a bipartite
    graph from its rows to its columns.

    Args:
        matrix: A SciPy sparse array or matrix of any storage.

    Returns:
        The graph, its edges in the order of ``matrix.tocoo()``, and the values ``[E]`` in the same order.

    Raises:
        DataError: If ``matrix`` is not a sparse matrix, or its values are of no dtype that torch has.
    """
    import scipy.sparse

    if not scipy.sparse.issparse(matrix) or matrix.ndim != 2:
        raise DataError(f"expected a two-dimensional SciPy sparse array or matrix, got {type(matrix).__name__}")
    entries = matrix.tocoo()
    try:
        values = torch.from_numpy(entries.data.copy())
    except TypeError as error:
        raise DataError(f"values of dtype {entries.dtype} have no counterpart in torch; convert them first") from error
    edge_index = torch.stack([torch.from_numpy(index.copy()).long() for index in (entries.row, entries.col)])
    rows, columns = matrix.shape
    return Graph.from_edge_index(edge_index, num_src=rows, num_dst=columns), values
