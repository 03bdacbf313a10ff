"""Hypergraphs as weighted graphs on the same nodes."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import ops
from gnnkit.hypergraph.hypergraph import Hypergraph, check_hyperedge_weight
from gnnkit.hypergraph.transforms._expansion import Expansion
from gnnkit.ops._checks import check_flag


def clique_expansion(
    hypergraph: Hypergraph, hyperedge_weight: Tensor | None = None, *, normalize: bool = False
) -> tuple[Tensor, Tensor]:
    r"""Joins all nodes of a hyperedge.

    .. math:: A = H W H^\top - \operatorname{diag}(H W H^\top), \qquad
        \hat A = D^{-1/2} H W B^{-1} H^\top D^{-1/2}

    with :math:`D` the weighted degrees of nodes, :math:`B` the sizes of hyperedges, and :math:`0^{-1/2} = 0`.
    :math:`\hat A`, the normalised one, is the propagation matrix of HGNN (Feng et al., AAAI 2019) and keeps its
    diagonal. A repeated incidence counts as often as it is there.

    Args:
        hypergraph: The hypergraph.
        hyperedge_weight: :math:`W`, ``[M]``. None: all ones.
        normalize: Whether to give :math:`\hat A`.

    Returns:
        ``edge_index`` ``[2, P]``, in order of source, then destination, and the weights ``[P]``, in the dtype of
        ``hyperedge_weight``, else torch's default dtype. Pairs of nodes with a common hyperedge are there also where
        their weight is 0. Differentiable in ``hyperedge_weight``.

    Raises:
        ShapeError: If ``hyperedge_weight`` is not ``[M]``, or of no supported floating dtype.
        ConfigError: If ``normalize`` is no bool.

    Determinism: bitwise.
    Complexity: :math:`O(\sum_e |e|^2)` time and memory.
    """
    check_flag("normalize", normalize)
    node, hyperedge = hypergraph.hyperedge_index
    to_node = None
    if hyperedge_weight is not None:
        check_hyperedge_weight("hyperedge_weight", hyperedge_weight, hypergraph.num_hyperedges)
        to_node = hyperedge_weight.index_select(0, hyperedge)
    to_hyperedge = None
    if normalize:
        dtype = torch.get_default_dtype() if hyperedge_weight is None else hyperedge_weight.dtype
        degree = hypergraph.node_degree(hyperedge_weight).to(dtype)
        scale = torch.where(degree > 0, degree, 1).rsqrt() * (degree > 0)
        to_hyperedge = scale.index_select(0, node)
        spread = to_hyperedge / hypergraph.hyperedge_degree().to(dtype).index_select(0, hyperedge)
        to_node = spread if to_node is None else spread * to_node
    product, weight = ops.spgemm(hypergraph.to_nodes, hypergraph.to_hyperedges, to_node, to_hyperedge, sort=True)
    # The matrix is symmetric: its rows are taken for sources, which PyTorch Geometric wants in order.
    pairs = torch.stack([product.dst_of_position(), product.col])
    if normalize:
        return pairs, weight
    proper = pairs[0] != pairs[1]
    return pairs[:, proper], weight[proper]


class CliqueExpansion(Expansion):
    """Turns a hypergraph into a graph of the same nodes: two are joined where they have a hyperedge in common.

    :func:`clique_expansion` says with what ``edge_weight``; ``hyperedge_weight`` is taken into account where the data
    has it. Nodes and what belongs to them stay.

    Args:
        normalize: Whether to give the propagation matrix of HGNN, self-loops and all, in place of
            :math:`H W H^T` without its diagonal.

    Raises:
        ConfigError: If ``normalize`` is no bool.

    Determinism: bitwise; equivariant in nodes, invariant in hyperedges up to rounding.
    Complexity: ``O(sum of |e|^2)`` time and memory.
    """

    def __init__(self, normalize: bool = False) -> None:
        check_flag("normalize", normalize)
        self.normalize = normalize

    def transform(self, data: Any) -> Data:
        """The expansion of one hypergraph."""
        hypergraph = Hypergraph.from_data(data)
        edge_index, weight = clique_expansion(hypergraph, data.get("hyperedge_weight"), normalize=self.normalize)
        attributes = self.attributes(data) | {"edge_index": edge_index, "edge_weight": weight}
        return Data(num_nodes=hypergraph.num_nodes, **attributes)
