"""Sign-invariant networks on eigenvectors."""

from typing import Literal

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._networks import GIN, MLP, NORMS, Norm, check_settings
from gnnkit.nn._spectrum import SpectralEncoder, Spectrum


class SignNet(SpectralEncoder):
    r"""Sign-invariant network of eigenvectors.

    .. math::
        Y = \rho\bigl([\varphi(v_i) + \varphi(-v_i)]_{i = 1, \ldots, k}\bigr)

    Lim et al., "Sign and basis invariant networks for spectral graph representation learning", 2023.
    :math:`\varphi` sees one eigenvector :math:`v_i` at a time: a GIN on the graph (``"gin"``), or an MLP of each entry
    (``"mlp"``, which with ``combine="sum"`` makes the whole a DeepSets network). :math:`\rho` is an MLP per node, of
    the columns side by side (``"concat"``) or of their sum (``"sum"``, for any number of columns).

    The result is equivariant to a relabelling of the nodes and does not depend on the signs of the eigenvectors. It
    does depend on their basis where an eigenvalue is repeated; there, :class:`SPE` is invariant. Batch statistics are
    taken over :math:`v_i` and :math:`-v_i` together, and leave missing columns out, so that both hold while training
    too. (In the published code neither does.)

    Published configurations for ZINC: with a GIN of width 95 and ``k=8``
    ``SignNet(8, combine="concat", k=8, hidden_channels=95)``; with a GatedGCN of width 67 and all eigenvectors
    ``SignNet(37, hidden_channels=67, phi_channels=67)``. Within an MLP the authors' code normalises after the ReLU,
    this before it.

    Args:
        out_channels: Width of the output.
        phi: ``"gin"`` or ``"mlp"``.
        combine: ``"sum"`` or ``"concat"``.
        k: Number of columns, needed with ``"concat"`` only.
        hidden_channels: Width of both networks.
        phi_channels: Width of the output of :math:`\varphi`.
        num_layers: Layers of the GIN, or affine maps of the MLP in its place.
        mlp_layers: Affine maps in each layer of the GIN.
        rho_layers: Affine maps of :math:`\rho`.
        norm: ``"batch"``, ``"layer"`` or ``"none"``, between affine maps and between layers.
        use_eigenvalues: Give :math:`\varphi` the eigenvalue of the column as a second feature of each node.

    Raises:
        ConfigError: If a setting is unknown or out of range, or ``"concat"`` has no ``k``.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(k (N F^2 + E F))`` time and ``O(k N F)`` memory per layer; missing columns take part.
    """

    def __init__(
        self,
        out_channels: int,
        *,
        phi: Literal["gin", "mlp"] = "gin",
        combine: Literal["sum", "concat"] = "sum",
        k: int | None = None,
        hidden_channels: int = 128,
        phi_channels: int = 4,
        num_layers: int = 8,
        mlp_layers: int = 2,
        rho_layers: int = 8,
        norm: Norm = "batch",
        use_eigenvalues: bool = False,
    ) -> None:
        super().__init__()
        check_settings(
            {
                "out_channels": out_channels,
                "k": k,
                "hidden_channels": hidden_channels,
                "phi_channels": phi_channels,
                "num_layers": num_layers,
                "mlp_layers": mlp_layers,
                "rho_layers": rho_layers,
            },
            {"phi": (phi, ("gin", "mlp")), "combine": (combine, ("sum", "concat")), "norm": (norm, NORMS)},
        )
        if combine == "concat" and k is None:
            raise ConfigError("combine='concat' needs k, the number of columns; combine='sum' takes any")
        self.out_channels = out_channels
        self.k = k
        self.combine = combine
        self.reads_eigenvalues = use_eigenvalues
        in_channels = 2 if use_eigenvalues else 1
        self.phi = (
            GIN(
                in_channels,
                hidden_channels,
                phi_channels,
                num_layers=num_layers,
                mlp_layers=mlp_layers,
                norm=norm,
                norm_between=True,
            )
            if phi == "gin"
            else MLP([in_channels, *[hidden_channels] * (num_layers - 1), phi_channels], norm)
        )
        joined = phi_channels if k is None or combine == "sum" else k * phi_channels
        self.rho = MLP([joined, *[hidden_channels] * (rho_layers - 1), out_channels], norm)

    def forward(
        self,
        vectors: Tensor,
        eigenvalues: Tensor | None,
        graph: Graph,
        *,
        ptr: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Encodes the nodes; :meth:`encode_data` does so from a ``Data`` or ``Batch``.

        Args:
            vectors: Eigenvectors in columns, ``[N, k]``; of graphs side by side, each column one of each.
            eigenvalues: ``[G, k]``, or ``[N, k]`` with the same row for all nodes of a graph (where ``N = G``, rows
                are those of graphs). Must be given with ``use_eigenvalues``; else not used, and may be None.
            graph: The graph that the GIN runs on.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``. None: one graph.
            mask: False for columns that a graph has not, bool, ``[G, k]`` or ``[N, k]``; nothing in these matters, even
                NaN. None: all are there.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ShapeError: If shapes, dtypes or devices do not fit together, or eigenvalues are missing; while training
                with ``norm="batch"``, if there is one row only.
            IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
            DataError: If nodes of a graph have different eigenvalues.
        """
        if self.k is not None and vectors.shape[1:] != (self.k,):
            raise ShapeError(f"SignNet needs vectors of shape [N, {self.k}], got {tuple(vectors.shape)}")
        if not self.reads_eigenvalues:
            eigenvalues = None
        elif eigenvalues is None:
            raise ShapeError("SignNet with use_eigenvalues needs eigenvalues, got None")
        dtype = next(self.rho.parameters()).dtype
        spectrum = Spectrum.of(vectors, eigenvalues, graph, ptr, mask, dtype)
        present = spectrum.present[spectrum.graph_of_node]
        x = torch.stack([spectrum.vectors, -spectrum.vectors], dim=1).unsqueeze(-1)
        if spectrum.values is not None:
            values = spectrum.values[spectrum.graph_of_node]
            x = torch.cat([x, values[:, None, :, None].expand_as(x)], dim=-1)
        counts = None if mask is None else present.unsqueeze(1).expand(x.shape[:-1])
        columns = self.phi(x, graph, counts) if isinstance(self.phi, GIN) else self.phi(x, counts)
        # A missing column is not zero after affine maps with biases.
        columns = torch.where(present.unsqueeze(-1), columns.sum(1), 0.0)
        return self.rho(columns.flatten(1) if self.combine == "concat" else columns.sum(1))

    def extra_repr(self) -> str:
        """The settings that the parts do not show."""
        return f"out_channels={self.out_channels}, combine={self.combine!r}, k={self.k}"
