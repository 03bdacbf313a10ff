"""Boundary and Hodge Laplacian matrices of a clique complex."""

from typing import Literal

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.hypergraph.simplicial.complex import CliqueComplex, check_complex, check_dim
from gnnkit.ops._checks import check_flag

Part = Literal["full", "down", "up"]


def boundary_matrices(
    clique_complex: CliqueComplex, *, dtype: torch.dtype = torch.float32, normalize: bool = False
) -> tuple[Tensor, Tensor]:
    r"""The boundary matrices :math:`B_1` of the edges and :math:`B_2` of the triangles, with :math:`B_1 B_2 = 0`.

    .. math::
        \partial (a, b) = b - a, \qquad \partial (a, b, c) = (b, c) - (a, c) + (a, b)

    for :math:`a < b < c`. Normalised as by Schaub et al. ("Random walks on simplicial complexes and the normalized
    Hodge 1-Laplacian", 2020), in symmetric form,

    .. math::
        \hat B_1 = D_1^{-1/2} B_1 D_2^{1/2}, \qquad \hat B_2 = D_2^{-1/2} B_2 D_3^{1/2}

    with :math:`D_2 = \max(\mathrm{diag}(|B_2| 1), I)`, :math:`D_1 = 2\, \mathrm{diag}(|B_1| D_2 1)` and
    :math:`D_3 = I / 3`. Both then have norm at most 1, and :math:`\hat B_1 \hat B_2 = 0` still, up to rounding. What an
    entry is follows from the neighbourhood of its simplex alone.

    Args:
        clique_complex: The complex.
        dtype: float32, float64 or bfloat16.
        normalize: Whether to normalise.

    Returns:
        Sparse COO tensors ``[n_0, n_1]`` and ``[n_1, n_2]``, coalesced.

    Raises:
        DtypeError: If ``clique_complex`` is none, or ``dtype`` none of those.

    Determinism: bitwise.
    Complexity: ``O(n_0 + n_1 + n_2)``.
    """
    check_complex(clique_complex, dtype)
    check_flag("normalize", normalize)
    first, second = (_matrix(*clique_complex.boundary(dim, dtype, normalize=normalize)) for dim in (1, 2))
    return first, second


def hodge_laplacian(
    clique_complex: CliqueComplex,
    dim: int,
    part: Part = "full",
    *,
    dtype: torch.dtype = torch.float32,
    normalize: bool = False,
) -> Tensor:
    r"""The Hodge Laplacian of the simplices of one dimension.

    .. math::
        L_0 = B_1 B_1^\top, \qquad L_1 = B_1^\top B_1 + B_2 B_2^\top, \qquad L_2 = B_2^\top B_2

    The part ``"down"`` is :math:`B_k^\top B_k`, over common faces, and ``"up"`` :math:`B_{k+1} B_{k+1}^\top`, over
    common cofaces; :math:`L_0` has no lower part, and :math:`L_2` no upper one, being cut off at triangles: these are
    zero. The dimension of the kernel of :math:`L_0` is the number of components of the graph, and that of :math:`L_1`
    the number of its cycles which no triangles fill.

    Args:
        clique_complex: The complex.
        dim: 0, 1 or 2.
        part: ``"full"``, ``"down"`` or ``"up"``.
        dtype: float32, float64 or bfloat16.
        normalize: Use the normalised matrices of :func:`boundary_matrices`; eigenvalues then lie in [0, 1].

    Returns:
        Sparse COO ``[n_k, n_k]``, coalesced; entries that cancel are kept with the value 0.

    Raises:
        ConfigError: If ``dim`` or ``part`` is none of those.
        DtypeError: If ``clique_complex`` is none, or ``dtype`` none of those.

    Determinism: bitwise.
    Complexity: linear in the entries of the products, :math:`\sum_v d_v^2` for the lower part of :math:`L_1`.
    """
    check_complex(clique_complex, dtype)
    check_flag("normalize", normalize)
    if part not in ("full", "down", "up"):
        raise ConfigError(f"part must be 'full', 'down' or 'up', got {part!r}")
    size = clique_complex.size(check_dim(dim))
    parts = []
    if part != "up" and dim > 0:
        graph, entries = clique_complex.boundary(dim, dtype, normalize=normalize)
        parts.append(ops.spgemm(graph.transpose(), graph, entries, entries))
    if part != "down" and dim < 2:
        graph, entries = clique_complex.boundary(dim + 1, dtype, normalize=normalize)
        parts.append(ops.spgemm(graph, graph.transpose(), entries, entries))
    index = [product.edge_index.flip(0) for product, _ in parts]
    values = [value for _, value in parts]
    return _coalesced(
        torch.cat([*index, clique_complex.edges[:, :0]], dim=1),
        torch.cat([*values, torch.empty(0, dtype=dtype, device=clique_complex.device)]),
        (size, size),
    )


def _matrix(graph: Graph, entries: Tensor) -> Tensor:
    """The matrix ``[num_dst, num_src]`` of a graph with one number per edge."""
    return _coalesced(graph.edge_index.flip(0), entries, (graph.num_dst, graph.num_src))


def _coalesced(index: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Entries, repeated ones added up; right by construction, so that nothing is checked."""
    return torch.sparse_coo_tensor(index, values, shape, check_invariants=False).coalesce()
