"""Between a :class:`Hypergraph` and incidence matrices, and the dictionaries of XGI and HypernetX."""

import warnings
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence, Set
from typing import Any, Literal

import torch
from torch import Tensor

from gnnkit.compat.scipy_sparse import to_scipy
from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.ops._checks import describe

Layout = Literal["dense", "coo", "csr", "scipy"]

_LAYOUTS = (torch.strided, torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)


def to_incidence_matrix(hypergraph: Hypergraph, *, layout: Layout = "dense", dtype: torch.dtype | None = None) -> Any:
    """The incidence matrix ``[N, M]``: how often each node is in each hyperedge.

    Args:
        hypergraph: The hypergraph.
        layout: ``"dense"``, ``"coo"`` or ``"csr"`` for a torch tensor, ``"scipy"`` for a ``scipy.sparse.csr_array`` on
            the host.
        dtype: Of the entries. None: torch's default dtype.

    Returns:
        The matrix; a repeated incidence adds up in it.

    Raises:
        ConfigError: If ``layout`` is unknown.
    """
    ones = torch.ones(hypergraph.num_incidences, dtype=dtype or torch.get_default_dtype(), device=hypergraph.device)
    if layout == "scipy":
        matrix = to_scipy(hypergraph.to_hyperedges, ones)
        matrix.sum_duplicates()  # type: ignore[attr-defined]
        return matrix
    if layout not in ("dense", "coo", "csr"):
        raise ConfigError(f"layout must be 'dense', 'coo', 'csr' or 'scipy', got {layout!r}")
    shape = (hypergraph.num_nodes, hypergraph.num_hyperedges)
    matrix = torch.sparse_coo_tensor(hypergraph.hyperedge_index.long(), ones, shape, check_invariants=False).coalesce()
    if layout == "coo":
        return matrix
    if layout == "dense":
        return matrix.to_dense()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return matrix.to_sparse_csr()


def from_incidence_matrix(matrix: Any) -> Hypergraph:
    """The hypergraph of an incidence matrix.

    Args:
        matrix: ``[N, M]``, one row per node and one column per hyperedge: a torch tensor, dense or sparse (COO, CSR,
            CSC), a NumPy array, or a SciPy sparse array or matrix. Entries are 0, or how often the node is in the
            hyperedge: 1, as a rule. Stored zeros are no incidences. Sparse COO entries at the same place add up.

    Returns:
        The hypergraph, its incidences in order of node, then hyperedge.

    Raises:
        DataError: If ``matrix`` is of no kind named, or an entry is not a natural number; it names the entry.
        ShapeError: If it is not two-dimensional.
    """
    matrix = _as_tensor(matrix)
    if matrix.dim() != 2 or (matrix.layout == torch.sparse_coo and matrix.dense_dim() > 0):
        raise ShapeError(f"an incidence matrix is [nodes, hyperedges], got {describe(matrix)}")
    entries = (matrix if matrix.layout == torch.sparse_coo else matrix.to_sparse_coo()).detach().coalesce()
    index, value = entries.indices(), entries.values()
    if value.dtype == torch.bool:
        value = value.long()
    wrong = ~((value >= 0) & (value.isfinite()) & (value == value.round())) if value.is_floating_point() else value < 0
    if bool(wrong.any()):
        where = int(wrong.nonzero()[0, 0])
        raise DataError(
            f"entries of an incidence matrix are 0, 1, or how often a node is in a hyperedge, but that of node "
            f"{int(index[0, where])} and hyperedge {int(index[1, where])} is {value[where].item()}; weights of "
            "hyperedges are given apart, as hyperedge_weight"
        )
    index = index.repeat_interleave(value.long(), dim=1)
    return Hypergraph.from_incidence(index, num_nodes=matrix.size(0), num_hyperedges=matrix.size(1))


def _as_tensor(matrix: Any) -> Tensor:
    import numpy as np
    import scipy.sparse

    if scipy.sparse.issparse(matrix):
        if matrix.ndim != 2:
            raise ShapeError(f"an incidence matrix is [nodes, hyperedges], got {matrix.ndim} dimension(s)")
        entries = matrix.tocoo()
        index = torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64))
        values = _from_numpy(entries.data)
        return torch.sparse_coo_tensor(index, values, entries.shape, check_invariants=True)
    if isinstance(matrix, np.ndarray):
        matrix = _from_numpy(matrix)
    if not isinstance(matrix, Tensor) or matrix.layout not in _LAYOUTS or matrix.is_complex():
        found = describe(matrix) if isinstance(matrix, Tensor) else type(matrix).__name__
        raise DataError(
            "an incidence matrix is a tensor of real numbers (dense, COO, CSR or CSC), a NumPy array, or a SciPy "
            f"sparse matrix, got {found}"
        )
    return _signed(matrix)


def _from_numpy(values: Any) -> Tensor:
    try:
        return _signed(torch.from_numpy(values.copy()))
    except TypeError as error:
        raise DataError(f"an incidence matrix holds real numbers: {error}") from error


def _signed(values: Tensor) -> Tensor:
    """Wide unsigned integers as int64: torch cannot tell which of them are zero."""
    return values.long() if values.dtype in (torch.uint16, torch.uint32, torch.uint64) else values


def from_dict(
    hyperedges: Mapping[Any, Collection[Hashable]], nodes: Iterable[Hashable] | None = None
) -> tuple[Hypergraph, list[Any], list[Any]]:
    """The hypergraph of a dictionary from hyperedges to their nodes.

    These are ``hypergraph.edges.members(dtype=dict)`` of XGI, whose values are sets, and ``incidence_dict`` of
    HypernetX, whose values are lists; also HypernetX's nested dictionaries from hyperedges to nodes to attributes,
    of which the attributes are left alone.

    Args:
        hyperedges: Nodes of each hyperedge; an empty hyperedge has none. A node named twice is in it twice.
        nodes: All nodes, each once, isolated ones too, in the order they are to have. None: those named, in ascending
            order.

    Returns:
        The hypergraph; the name of each node; the name of each hyperedge, in the order of the dictionary.

    Raises:
        DataError: If ``hyperedges`` is no dictionary of sets or lists of nodes, a node is not in ``nodes`` or there
            twice, or the names have no order (numbers beside text), so that ``nodes`` must be given.
    """
    if not isinstance(hyperedges, Mapping):
        raise DataError(f"expected a dictionary from hyperedges to their nodes, got {type(hyperedges).__name__}")
    for name, held in hyperedges.items():
        if isinstance(held, (str, bytes)) or not isinstance(held, Collection):
            raise DataError(f"hyperedge {name!r} must hold a set or list of nodes, got {held!r:.80}")
    members = list(hyperedges.values())
    try:
        named = {node for held in members for node in held}
    except TypeError as error:
        raise DataError(f"a node must be something that a dictionary can hold: {error}") from None
    names = _ascending(named) if nodes is None else list(nodes)
    number = {name: place for place, name in enumerate(names)}
    if len(number) != len(names):
        twice = next(name for place, name in enumerate(names) if number[name] != place)
        raise DataError(f"nodes must name every node once, but {twice!r} is there twice")
    rows: list[int] = []
    for name, held in hyperedges.items():
        try:
            places = [number[node] for node in held]
        except KeyError as error:
            raise DataError(f"hyperedge {name!r} has node {error}, which is not among the nodes given") from None
        # A set has no order of its own, and must not take one from how this process hashes text.
        rows += sorted(places) if isinstance(held, Set) else places
    sizes = torch.tensor([len(held) for held in members], dtype=torch.int64)
    hyperedge = torch.arange(len(members)).repeat_interleave(sizes)
    index = torch.stack([torch.tensor(rows, dtype=torch.int64), hyperedge])
    hypergraph = Hypergraph.from_incidence(index, num_nodes=len(names), num_hyperedges=len(members))
    return hypergraph, names, list(hyperedges)


def to_dict(
    hypergraph: Hypergraph,
    nodes: Sequence[Hashable] | None = None,
    hyperedges: Sequence[Hashable] | None = None,
    *,
    style: Literal["xgi", "hypernetx"] = "xgi",
) -> dict[Any, Any]:
    """The dictionary from hyperedges to their nodes, which ``xgi.Hypergraph`` and ``hypernetx.Hypergraph`` take.

    Isolated nodes are in no hyperedge, and so are not in the dictionary: keep ``nodes`` for the way back.

    Args:
        hypergraph: The hypergraph.
        nodes: Name of each node. None: its number.
        hyperedges: Name of each hyperedge. None: its number.
        style: ``"xgi"``: values are sets, so that a repeated incidence is there once; ``"hypernetx"``: lists, in the
            caller's order of incidences.

    Raises:
        ConfigError: If ``style`` is unknown.
        DataError: If there is not one name for each node and hyperedge, or two hyperedges share one.
    """
    if style not in ("xgi", "hypernetx"):
        raise ConfigError(f"style must be 'xgi' or 'hypernetx', got {style!r}")
    nodes = _checked_names("nodes", nodes, hypergraph.num_nodes)
    hyperedges = _checked_names("hyperedges", hyperedges, hypergraph.num_hyperedges)
    graph, make = hypergraph.to_hyperedges, set if style == "xgi" else list
    named = [nodes[number] for number in graph.col.tolist()]
    bounds = graph.rowptr.tolist()
    return {name: make(named[bounds[place] : bounds[place + 1]]) for place, name in enumerate(hyperedges)}


def _ascending(names: set[Any]) -> list[Any]:
    try:
        return sorted(names)
    except TypeError as error:
        raise DataError(f"the nodes cannot be put in order ({error}); name them all in nodes=[...]") from error


def _checked_names(what: str, names: Sequence[Any] | None, count: int) -> Sequence[Any]:
    if names is None:
        return range(count)
    if len(names) != count or len(set(names)) != count:
        raise DataError(
            f"{what} must be {count} different names, got {len(names)}, {len(set(names))} of them different"
        )
    return names
