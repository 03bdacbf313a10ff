"""Stable and expressive positional encodings."""

from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._networks import GIN, EigenvalueNetworks, check_settings
from gnnkit.nn._spectrum import SpectralEncoder, Spectrum
from gnnkit.nn.node_pairs import NodePairs, PairLayout
from gnnkit.ops._checks import check_number


class SPE(SpectralEncoder):
    r"""Stable and expressive positional encodings of nodes.

    .. math::
        Y = \rho\bigl(V \mathrm{diag}(\varphi_1(\lambda)) V^\top, \ldots, V \mathrm{diag}(\varphi_m(\lambda)) V^\top
        \bigr)

    Huang et al., "On the stability of expressive positional encodings for graphs", 2024. The columns of :math:`V` are
    eigenvectors of a graph and :math:`\lambda` their eigenvalues. Each :math:`\varphi` is a network from numbers to
    numbers, for one eigenvalue at a time (``"mlp"``) or all of a graph together (``"deep_sets"``). Column :math:`j` of
    the stacked :math:`n \times n \times m` array, ``[n, m]``, is a feature of every node; :math:`\rho` is a GIN that
    all columns go through, each by itself, and the sum of what comes out over the columns.

    The result is equivariant to a relabelling of the nodes; it depends neither on signs nor on the bases of
    eigenspaces; and where the Laplacian changes by :math:`\epsilon`, it changes by :math:`O(\epsilon)`, also where
    eigenvalues meet or part, since all networks are Lipschitz.

    This needs whole eigenspaces. If the last of the given vectors are some, but not all, of an eigenspace, then the
    result depends on which ones they are, and neither invariance nor stability holds. Three ways to have them whole:
    give all eigenvectors (``LaplacianEigenvectors(k)`` with ``k`` at least the largest number of nodes less 1; missing
    columns cost nothing); mask the columns of a cut eigenspace; or set ``soft_cut``, which fades out what lies next to
    the largest eigenvalue given. ``LaplacianEigenvectors`` leaves out the null vectors, the smallest eigenspace, as a
    whole; stable then means as long as no component falls apart or merges, which makes a null vector or takes one.

    Published configurations: ZINC with all eigenvectors (``k=37``) ``SPE(37, norm="none")``; with ``k=8``
    ``SPE(8, channels=6, phi="deep_sets", phi_layers=4, norm="none")``; Alchemy (``k=12``) ``SPE(12, channels=12)``. An
    affine map to the width of the model follows. The authors' code differs in that it counts the null vectors among the
    ``k``, and has a ReLU after the last layer of its DeepSets as well; here no network ends in one, which would make
    weights of one sign only, and channels that are zero for good.

    Args:
        out_channels: Width of the output.
        channels: :math:`m`.
        phi: ``"mlp"`` or ``"deep_sets"``.
        phi_channels: Width between the affine maps of each :math:`\varphi`.
        phi_layers: Affine maps in each.
        hidden_channels: Width of the GIN.
        num_layers: Its layers.
        mlp_layers: Affine maps in each of these.
        norm: ``"layer"`` or ``"none"``, between these. (Statistics over a batch would tie columns, and graphs.)
        soft_cut: Range of eigenvalues, above 0, over which :math:`\varphi` fades out linearly towards the largest
            eigenvalue of a graph, where it becomes 0; for graphs that have all ``k`` columns, since others are
            complete. None: no fading.
        column_block: Columns of the largest graph that are held at a time; smaller graphs share the room. Each block
            is computed again for its gradient. None: all columns at once.

    Raises:
        ConfigError: If a setting is unknown or out of range.

    Determinism: bitwise, forward and backward. Blocks add the same numbers in another order.
    Complexity: time ``O(n^2 (F^2 + k m) + n e F)`` for each graph of ``n`` nodes and ``e`` edges. Memory for a row of
    ``F`` numbers per pair of nodes of one graph (times the layers, where gradients are wanted) and for ``n e`` indices;
    with ``column_block``, for that many columns of the largest graph at a time. Besides, ``k m`` numbers per node.
    """

    def __init__(
        self,
        out_channels: int,
        *,
        channels: int = 16,
        phi: Literal["mlp", "deep_sets"] = "mlp",
        phi_channels: int = 16,
        phi_layers: int = 3,
        hidden_channels: int = 128,
        num_layers: int = 8,
        mlp_layers: int = 3,
        norm: Literal["layer", "none"] = "layer",
        soft_cut: float | None = None,
        column_block: int | None = None,
    ) -> None:
        super().__init__()
        check_settings(
            {
                "out_channels": out_channels,
                "channels": channels,
                "phi_channels": phi_channels,
                "phi_layers": phi_layers,
                "hidden_channels": hidden_channels,
                "num_layers": num_layers,
                "mlp_layers": mlp_layers,
                "column_block": column_block,
            },
            {"phi": (phi, ("mlp", "deep_sets")), "norm": (norm, ("layer", "none"))},
        )
        if soft_cut is not None and not check_number("soft_cut", soft_cut) > 0:
            raise ConfigError(f"soft_cut must be above 0, got {soft_cut}")
        self.out_channels = out_channels
        self.soft_cut = soft_cut
        self.column_block = column_block
        self.phi = EigenvalueNetworks(channels, phi_channels, phi_layers, deep_sets=phi == "deep_sets")
        self.rho = GIN(channels, hidden_channels, out_channels, num_layers=num_layers, mlp_layers=mlp_layers, norm=norm)

    def forward(
        self,
        vectors: Tensor,
        eigenvalues: Tensor,
        graph: Graph,
        *,
        ptr: Tensor | None = None,
        mask: Tensor | None = None,
        pairs: NodePairs | None = None,
    ) -> Tensor:
        """Encodes the nodes; :meth:`encode_data` does so from a ``Data`` or ``Batch``.

        Args:
            vectors: Eigenvectors in columns, ``[N, k]``; of graphs side by side, each column one of each.
            eigenvalues: ``[G, k]``, or ``[N, k]`` with the same row for all nodes of a graph. Where ``N = G``, rows
                are those of graphs.
            graph: The graph that the GIN runs on.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``. None: one graph.
            mask: False for columns that a graph has not, bool, ``[G, k]`` or ``[N, k]``; nothing in these matters, even
                NaN. None: all are there. (A vector of zeros counts for nothing, either, but to DeepSets its eigenvalue
                does.)
            pairs: ``NodePairs.of(graph, ptr)``, to compute it once for several calls; not with ``column_block``. With
                it, the module compiles in one graph.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ShapeError: If shapes, dtypes or devices do not fit together.
            IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
            DataError: If an edge leads from one graph to another, or nodes of a graph have different eigenvalues.
            ConfigError: If ``pairs`` are given together with ``column_block``.
        """
        dtype = self.rho.eps.dtype
        spectrum = Spectrum.of(vectors, eigenvalues, graph, ptr, mask, dtype)
        if pairs is not None:
            self._check_pairs(pairs, graph, spectrum.ptr.size(0) - 1)
        elif self.column_block is None:
            pairs = NodePairs.of(graph, spectrum.ptr)
        if pairs is not None:
            return self._encode(pairs, spectrum.vectors, self._weight(spectrum))
        return self._encode_blocks(PairLayout(graph, spectrum.ptr), spectrum.vectors, self._weight(spectrum))

    def _weight(self, spectrum: Spectrum) -> Tensor:
        """What each eigenspace counts in each channel, ``[G, k, channels]``."""
        values, present = spectrum.values, spectrum.present
        if values is None:
            raise ShapeError("SPE needs eigenvalues, got None")
        weight = self.phi(values, present)
        if self.soft_cut is None or values.size(1) == 0:
            return weight
        fade = ((values.amax(1, keepdim=True) - values) / self.soft_cut).clamp(0, 1)
        return weight * torch.where(present.all(1, keepdim=True), fade, 1.0).unsqueeze(2)

    def _encode(self, pairs: NodePairs, vectors: Tensor, weight: Tensor) -> Tensor:
        """Sums over the columns of ``pairs``, for its nodes: ``[nodes, out_channels]``."""
        begin, end = pairs.columns
        expanded = torch.ops.gnnkit.segment_expand(
            weight[slice(*pairs.graphs)], pairs.column_ptr, None, end - begin, False
        )
        weighted = (vectors[begin:end].unsqueeze(2) * expanded).transpose(1, 2)
        left = vectors[slice(*pairs.nodes)].unsqueeze(1).expand(-1, weight.size(2), -1)
        x = ops.sddmm(pairs.pairs, left.contiguous(), weighted.contiguous())
        return ops.aggregate(pairs.pairs, self.rho(x, pairs.topology))

    def _encode_blocks(self, layout: PairLayout, vectors: Tensor, weight: Tensor) -> Tensor:
        def encode(begin: int, end: int, vectors: Tensor, weight: Tensor) -> Tensor:
            return self._encode(layout.pairs(begin, end), vectors, weight)

        sums, nodes = [], []
        for begin, end in layout.blocks(self.column_block):
            if torch.is_grad_enabled():
                # Nothing in it is random.
                part = checkpoint(encode, begin, end, vectors, weight, use_reentrant=False, preserve_rng_state=False)
            else:
                part = encode(begin, end, vectors, weight)
            sums.append(part)
            nodes.append(torch.arange(*layout.node_range(begin, end), device=vectors.device))
        return ops.scatter(torch.cat(sums), torch.cat(nodes), vectors.size(0))

    def _check_pairs(self, pairs: NodePairs, graph: Graph, num_graphs: int) -> None:
        if self.column_block is not None:
            raise ConfigError("column_block makes the pairs of some columns at a time; give no pairs with it")
        if pairs.columns != (0, graph.num_nodes) or pairs.graphs != (0, num_graphs):
            raise ShapeError(
                f"pairs must be those of {num_graphs} graphs with {graph.num_nodes} nodes, got columns "
                f"{pairs.columns[0]} to {pairs.columns[1]} of graphs {pairs.graphs[0]} to {pairs.graphs[1]}; make them "
                "with NodePairs.of(graph, ptr)"
            )

    def extra_repr(self) -> str:
        """The settings that the parts do not show."""
        return f"out_channels={self.out_channels}, soft_cut={self.soft_cut}, column_block={self.column_block}"
