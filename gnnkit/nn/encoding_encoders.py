"""Encoders of encodings that are a set per node."""

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.nn._networks import MLP
from gnnkit.nn.batch_norm import check_mask
from gnnkit.ops._checks import check_count


class DeepSetsEncoder(torch.nn.Module):
    r"""A set of entries per node to one vector: :math:`y_i = \rho\big(\sum_{k \in M_i} \phi(e_{ik})\big)`.

    Zaheer et al., "Deep sets", NeurIPS 2017; for eigenvectors with their eigenvalues as in GraphGPS (Rampášek et al.,
    NeurIPS 2022). An entry :math:`e_{ik}` is a number, a number and its eigenvalue, or a vector; :math:`M_i` are the
    entries that there are. The order of the entries does not matter. :math:`\phi` and :math:`\rho` are affine maps with
    ReLU between them. A node without entries gets :math:`\rho(0)`. What missing entries hold, NaN too, reaches neither
    results nor gradients.

    Args:
        in_dim: Numbers per entry: 1 for columns by themselves, 2 for eigenvectors with eigenvalues.
        dim: Width of the output.
        hidden_dim: Width between, and of the sum. None: ``dim``.
        num_layers: Affine maps in :math:`\phi`, at least 1.
        num_post_layers: Affine maps in :math:`\rho`, at least 0. With 0 the sum is the output, of width ``dim``.

    Raises:
        ConfigError: If a number is out of range.

    Determinism: bitwise.
    Complexity: ``O(N K hidden_dim (in_dim + hidden_dim num_layers))`` time, ``O(N K hidden_dim)`` memory.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        hidden_dim: int | None = None,
        num_layers: int = 2,
        num_post_layers: int = 1,
    ) -> None:
        super().__init__()
        self.in_dim = check_count("in_dim", in_dim, 1)
        self.dim = check_count("dim", dim, 1)
        hidden = self.dim if hidden_dim is None else check_count("hidden_dim", hidden_dim, 1)
        check_count("num_layers", num_layers, 1)
        check_count("num_post_layers", num_post_layers, 0)
        between = [hidden] * (num_layers - 1)
        self.entry_network = MLP([in_dim, *between, hidden if num_post_layers else dim], "none")
        self.set_network = MLP([hidden] * num_post_layers + [dim], "none") if num_post_layers else torch.nn.Identity()

    def forward(self, value: Tensor, eigenvalue: Tensor | None = None, *, mask: Tensor | None = None) -> Tensor:
        """Encodes a set for every node.

        Args:
            value: ``[N, K, in_dim]``, or ``[N, K]`` for entries that are one number.
            eigenvalue: A second number for every entry, ``[N, K]``, with ``value`` ``[N, K]`` and ``in_dim`` 2.
            mask: Which entries there are, bool ``[N, K]``. None: all of them.

        Returns:
            ``[N, dim]``.

        Raises:
            ShapeError: If shapes do not fit together, or ``mask`` is not bool.
        """
        entry = self._entries(value, eigenvalue)
        if mask is not None:
            check_mask(mask, entry.shape[:2])
            entry = entry.masked_fill(~mask.unsqueeze(2), 0)
        encoded = self.entry_network(entry)
        if mask is not None:
            encoded = encoded.masked_fill(~mask.unsqueeze(2), 0)
        return self.set_network(encoded.sum(1))

    def _entries(self, value: Tensor, eigenvalue: Tensor | None) -> Tensor:
        dtype = next(self.entry_network.parameters()).dtype
        if eigenvalue is not None and (eigenvalue.shape != value.shape or value.dim() != 2):
            raise ShapeError(
                f"value and eigenvalue must both be [N, K], got {tuple(value.shape)} and {tuple(eigenvalue.shape)}"
            )
        given = value if eigenvalue is None else torch.stack([value.to(dtype), eigenvalue.to(dtype)], dim=2)
        entry = given.unsqueeze(2) if given.dim() == 2 else given
        if entry.dim() != 3 or entry.size(2) != self.in_dim:
            hint = "; give eigenvalue= too" if self.in_dim == 2 and eigenvalue is None else ""
            raise ShapeError(f"DeepSetsEncoder needs [N, K, {self.in_dim}], got {tuple(entry.shape)}{hint}")
        return entry.to(dtype)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_dim}, {self.dim}"
