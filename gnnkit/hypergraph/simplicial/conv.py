"""Convolution on the nodes, edges or triangles of a clique complex."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ShapeError
from gnnkit.hypergraph.simplicial.complex import CliqueComplex, check_complex, check_dim
from gnnkit.ops._checks import check_count, check_flag, check_float, describe


class SimplicialConv(torch.nn.Module):
    r"""Simplicial convolution on the simplices of one dimension.

    .. math::
        X_k' = X_k \Theta_0 + \sum_{p=1}^{P} (L_k^{\mathrm{down}})^p X_k \Theta_p
            + \sum_{q=1}^{Q} (L_k^{\mathrm{up}})^q X_k \Psi_q

    Yang, Isufi and Leus, "Simplicial Convolutional Neural Networks", ICASSP 2022. With :math:`\Theta_p = \Psi_p` this
    is the polynomial of the whole Laplacian of Ebli, Defferrard and Spreemann ("Simplicial neural networks", 2020),
    since products of the two parts vanish. The Laplacians are never formed: a power is two products with sparse
    boundary matrices. Features of edges (:math:`k = 1`) meet over common nodes below and over common triangles above.

    Signs of edge features belong to the orientation of their edges, and without a bias the layer does not depend on
    the orientation chosen: turning an edge turns its input and its output. With a bias, or after an activation that is
    not odd, it does.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features.
        dim: :math:`k`, 0, 1 or 2.
        lower_order: :math:`P`; has no terms for ``dim`` 0.
        upper_order: :math:`Q`; has no terms for ``dim`` 2.
        normalize: Use the normalised boundary matrices, whose Laplacians have eigenvalues in [0, 1], so that powers do
            not grow. To divide by the largest eigenvalue would tie all graphs of a batch together.
        bias: Add ``bias``, ``[out_channels]``.

    Raises:
        ConfigError: If a setting is out of range.

    Determinism: bitwise, forward and backward.
    Complexity: ``O((P + Q) (n_k F + n_k F F'))`` time and ``O((P + Q) n_k F)`` memory.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dim: int = 1,
        lower_order: int = 1,
        upper_order: int = 1,
        normalize: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        check_count("in_channels", in_channels, 1)
        check_count("out_channels", out_channels, 1)
        check_flag("normalize", normalize)
        check_flag("bias", bias)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.dim = check_dim(dim)
        self.lower_order = check_count("lower_order", lower_order, 0) if dim > 0 else 0
        self.upper_order = check_count("upper_order", upper_order, 0) if dim < 2 else 0
        self.normalize = normalize
        terms = 1 + self.lower_order + self.upper_order
        self.lin = torch.nn.Linear(terms * in_channels, out_channels, bias=False)
        self.bias = torch.nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights: Glorot uniform over all terms together, bias 0."""
        torch.nn.init.xavier_uniform_(self.lin.weight)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, clique_complex: CliqueComplex) -> Tensor:
        """Convolves ``x``.

        Args:
            x: Features of the simplices of dimension ``dim``, ``[n_k, in_channels]``.
            clique_complex: The complex.

        Returns:
            ``[n_k, out_channels]``.

        Raises:
            DtypeError: If ``clique_complex`` is none.
            ShapeError: If ``x`` is not ``[n_k, in_channels]``.
        """
        check_float("x", x)
        check_complex(clique_complex, x.dtype)
        rows = clique_complex.size(self.dim)
        if x.shape != (rows, self.in_channels):
            raise ShapeError(
                f"SimplicialConv needs one row per simplex of dimension {self.dim}, [{rows}, {self.in_channels}], got "
                f"{describe(x)}"
            )
        terms = [x]
        for upper, order in ((False, self.lower_order), (True, self.upper_order)):
            term = x
            for _ in range(order):
                term = self._laplacian(term, clique_complex, upper)
                terms.append(term)
        out = self.lin(torch.cat(terms, dim=1))
        return out if self.bias is None else out + self.bias

    def _laplacian(self, x: Tensor, clique_complex: CliqueComplex, upper: bool) -> Tensor:
        graph, entries = clique_complex.boundary(self.dim + upper, x.dtype, normalize=self.normalize)
        if upper:
            return ops.spmm(graph, ops.spmm(graph.transpose(), x, entries), entries)
        return ops.spmm(graph.transpose(), ops.spmm(graph, x, entries), entries)

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.in_channels}, {self.out_channels}, dim={self.dim}, lower_order={self.lower_order}, "
            f"upper_order={self.upper_order}, normalize={self.normalize}, bias={self.bias is not None}"
        )
