"""Graph MLP-Mixer and Graph ViT: patches of a graph as tokens (He et al., 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_count
from gnnkit.sequence._models import check_vectors, checked_inputs, drawn_seed, same_dim, tokenized
from gnnkit.sequence.parts import TokenEncoder, Tokenizer
from gnnkit.sequence.patch_blocks import MixerBlock, PatchAttentionKind, PatchTransformerLayer
from gnnkit.sequence.patches import PatchEncoder, PatchOverlap, RowNorm, WalkEncoding, without_empty
from gnnkit.sequence.tokenizers import PatchTokens
from gnnkit.sequence.tokens import Tokens

_KERNEL_STEPS = 8


class _PatchModel(torch.nn.Module):
    """Patches, a vector for each, layers among the patches of a graph, their mean, and a head."""

    def __init__(
        self,
        dim: int,
        num_outputs: int | None,
        *,
        tokenizer: Tokenizer,
        encoder: TokenEncoder,
        layers: Sequence[torch.nn.Module],
        norm: torch.nn.Module | None,
        walk_steps: int,
    ) -> None:
        super().__init__()
        check_count("walk_steps", walk_steps, 0)
        if not layers:
            raise ConfigError(f"{type(self).__name__} needs at least one layer, got none")
        numbered = {f"layers[{number}]": layer for number, layer in enumerate(layers)}
        if same_dim(type(self).__name__, encoder=encoder, **numbered) != dim:
            raise ConfigError(f"dim must be that of the encoder and the layers, {encoder.dim}, got {dim}")
        self.dim = dim
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.walk_encoding = WalkEncoding(walk_steps, dim) if walk_steps > 0 else None
        self.layers = torch.nn.ModuleList(layers)
        self.norm = norm
        self.head = None if num_outputs is None else _head(dim, num_outputs)
        kinds = {layer.attention for layer in layers if isinstance(layer, PatchTransformerLayer)}
        self._pair_steps = {"kernel": _KERNEL_STEPS} if "kernel" in kinds else {}
        if kinds - {"standard", "kernel"}:
            self._pair_steps["adjacency"] = 0

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        edge_attr: Tensor | None = None,
        ptr: Tensor | None = None,
        *,
        seed: int | None = None,
    ) -> Tensor:
        """Predicts for each graph.

        Args:
            x: Node features, ``[N, dim]``.
            graph: The topology.
            edge_attr: Edge features in the caller's order, as the encoder wants them: ``[E, dim]``, or None.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``. None: one graph.
            seed: Of the patches, where they are random. None: a new one from torch's global generator in training, 0 in
                evaluation.

        Returns:
            ``[G, num_outputs]``, or ``[G, dim]`` without a head. A graph without nodes is a mean of zeros.

        Raises:
            ShapeError: If ``x`` or ``edge_attr`` does not fit the graph, or a part returns another shape.
            IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
            ConfigError: If the tokens are not those of graphs, or more than a layer has places for.
        """
        x, ptr = checked_inputs(x, graph, ptr, layer=type(self).__name__, width=self.dim)
        tokens = self._tokens(x, graph, ptr, seed)
        out = check_vectors(self.encoder(tokens, x, graph, edge_attr), (tokens.num_tokens, self.dim), self.encoder)
        out = self._related(out, tokens)
        if self.norm is not None:
            out = self.norm(out)
        out = ops.segment_reduce(out, tokens.offsets, "mean")
        return out if self.head is None else self.head(out)

    def _tokens(self, x: Tensor, graph: Graph, ptr: Tensor, seed: int | None) -> Tokens:
        seed = drawn_seed(seed, self.tokenizer.is_random, self.training)
        tokens = tokenized(self.tokenizer, x, graph, ptr, seed)
        if tokens.level != "graph":
            raise ConfigError(
                f"{type(self).__name__} reads the patches of each graph, but {type(self.tokenizer).__name__} describes "
                "nodes; GSM takes such tokens"
            )
        return without_empty(tokens)

    def _related(self, out: Tensor, tokens: Tokens) -> Tensor:
        """The vectors after all layers."""
        pairs = {}
        if self.walk_encoding is not None or self._pair_steps:
            overlap = PatchOverlap(tokens)
            if self.walk_encoding is not None:
                out = out + self.walk_encoding(overlap)
            pairs = {name: overlap.pairs(steps) for name, steps in self._pair_steps.items()}
        for layer in self.layers:
            if isinstance(layer, PatchTransformerLayer):
                kind = "kernel" if layer.attention == "kernel" else "adjacency"
                new = layer(out, tokens.offsets, pairs=None if layer.attention == "standard" else pairs[kind])
            else:
                new = layer(out, tokens.offsets)
            out = check_vectors(new, out.shape, layer)
        return out


class GraphMLPMixer(_PatchModel):
    r"""Graph MLP-Mixer (He et al., "A generalization of ViT/MLP-Mixer to graphs", 2023).

    A graph is cut into patches that overlap; each is encoded by message passing within it; MLP-Mixer blocks mix the
    vectors of a graph's patches; their mean goes through a head of two layers:

    .. math::
        z_p = \mathrm{encoder}(p) + \mathrm{relu}(\mathrm{BN}(W r_p)), \qquad
        Z \leftarrow \mathrm{block}_l(Z), \qquad
        y_g = \mathrm{head}\bigl(\mathrm{mean}_{p \in g}\, \mathrm{LN}(z_p)\bigr)

    :math:`r_p` are the probabilities that a random walk among the patches returns to ``p`` after ``1, ..., walk_steps``
    steps, where two patches are adjacent by the number of nodes that they share (see :class:`PatchOverlap`). Patches
    without nodes, which a tokenizer gives to small graphs, are left out: they have no place, and no say.

    Node and edge features are taken as they have been encoded, positional encodings included. Every part can be swapped
    for another. Given the seed, the result depends on the order in which the tokenizer lists the patches, since mixing
    gives each place weights of its own; so it is not invariant to the order of the nodes.

    >>> import torch
    >>> from gnnkit import Graph
    >>> from gnnkit.sequence import GraphMLPMixer
    >>> model = GraphMLPMixer(16, 3, num_patches=4)
    >>> ring = torch.arange(10)
    >>> graph = Graph.from_edge_index(torch.stack([ring, (ring + 1) % 10]), num_nodes=10)
    >>> model(torch.randn(10, 16), graph, ptr=torch.tensor([0, 10])).shape
    torch.Size([1, 3])

    Args:
        dim: Width of nodes, edges and patches.
        num_outputs: Number of outputs per graph. None: no head, the mean itself.
        num_patches: Largest number of patches of a graph, which the blocks are made for.
        num_layers: Number of blocks.
        tokenizer: Any tokenizer of level ``"graph"``. None: :class:`PatchTokens` with ``num_patches``.
        encoder: Any token encoder. None: :class:`PatchEncoder` with ``encoder_layers`` and ``encoder_dropout``.
        layers: Any blocks. None: ``num_layers`` of :class:`MixerBlock`.
        encoder_layers: Number of layers of the default encoder.
        walk_steps: Number of return probabilities; 0: none are used.
        dropout: Of the default blocks.
        encoder_dropout: Of the default encoder.

    Raises:
        ConfigError: If a setting is out of range, or the parts have other widths.

    Determinism: bitwise where the parts are, for a given state of torch's global generator.
    Complexity: that of the parts; of the defaults, linear in the members of the patches and their edges, and
    ``O(G dim^2 num_patches)`` for the blocks.
    """

    def __init__(
        self,
        dim: int,
        num_outputs: int | None,
        *,
        num_patches: int = 32,
        num_layers: int = 2,
        tokenizer: Tokenizer | None = None,
        encoder: TokenEncoder | None = None,
        layers: Sequence[torch.nn.Module] | None = None,
        encoder_layers: int = 4,
        walk_steps: int = 8,
        dropout: float = 0.0,
        encoder_dropout: float = 0.0,
    ) -> None:
        check_count("dim", dim, 1)
        check_count("num_patches", num_patches, 1)
        if layers is None:
            check_count("num_layers", num_layers, 1)
            layers = [MixerBlock(dim, num_patches, dropout=dropout) for _ in range(num_layers)]
        super().__init__(
            dim,
            num_outputs,
            tokenizer=PatchTokens(num_patches) if tokenizer is None else tokenizer,
            encoder=_encoder(encoder, dim, encoder_layers, encoder_dropout),
            layers=layers,
            norm=torch.nn.LayerNorm(dim),
            walk_steps=walk_steps,
        )


class GraphViT(_PatchModel):
    r"""Graph ViT (He et al., "A generalization of ViT/MLP-Mixer to graphs", 2023).

    As :class:`GraphMLPMixer`, with transformer layers in place of the mixer's blocks and no normalisation behind them:

    .. math::
        z_p = \mathrm{encoder}(p) + \mathrm{relu}(\mathrm{BN}(W r_p)), \qquad
        Z \leftarrow \mathrm{layer}_l(Z), \qquad y_g = \mathrm{head}(\mathrm{mean}_{p \in g}\, z_p)

    :class:`PatchTransformerLayer` says which kinds of attention there are. Weights of pairs are the numbers of nodes
    that two patches share; for ``"kernel"``, probabilities that 8 steps of a random walk lead from the one that attends
    to the other. Unlike the mixer, the model does not depend on the order of the patches, nor has it a largest number
    of them.

    >>> import torch
    >>> from gnnkit import Graph
    >>> from gnnkit.sequence import GraphViT
    >>> model = GraphViT(16, 3, num_patches=4, attention="graph")
    >>> ring = torch.arange(10)
    >>> graph = Graph.from_edge_index(torch.stack([ring, (ring + 1) % 10]), num_nodes=10)
    >>> model(torch.randn(10, 16), graph).shape
    torch.Size([1, 3])

    Args:
        dim: As of :class:`GraphMLPMixer`.
        num_outputs: As there.
        num_patches: Of the default tokenizer.
        num_layers: Number of transformer layers.
        attention: ``"hadamard"``, ``"standard"``, ``"graph"``, ``"kernel"`` or ``"additive"``.
        num_heads: Number of heads, a divisor of ``dim``.
        tokenizer: As of :class:`GraphMLPMixer`.
        encoder: As there.
        layers: Any blocks. None: ``num_layers`` of :class:`PatchTransformerLayer`.
        encoder_layers: As of :class:`GraphMLPMixer`; so are the rest.
        walk_steps: See there.
        dropout: See there.
        encoder_dropout: See there.

    Raises:
        ConfigError: If a setting is unknown or out of range, or the parts have other widths.

    Determinism: bitwise where the parts are, for a given state of torch's global generator.
    Complexity: that of the parts; of the defaults, linear in the members of the patches and their edges, and
    ``O(sum P^2 dim)`` for graphs of ``P`` patches.
    """

    def __init__(
        self,
        dim: int,
        num_outputs: int | None,
        *,
        num_patches: int = 32,
        num_layers: int = 2,
        attention: PatchAttentionKind = "hadamard",
        num_heads: int = 8,
        tokenizer: Tokenizer | None = None,
        encoder: TokenEncoder | None = None,
        layers: Sequence[torch.nn.Module] | None = None,
        encoder_layers: int = 4,
        walk_steps: int = 8,
        dropout: float = 0.0,
        encoder_dropout: float = 0.0,
    ) -> None:
        check_count("dim", dim, 1)
        check_count("num_patches", num_patches, 1)
        if layers is None:
            check_count("num_layers", num_layers, 1)
            layers = [
                PatchTransformerLayer(dim, num_heads=num_heads, attention=attention, dropout=dropout)
                for _ in range(num_layers)
            ]
        super().__init__(
            dim,
            num_outputs,
            tokenizer=PatchTokens(num_patches) if tokenizer is None else tokenizer,
            encoder=_encoder(encoder, dim, encoder_layers, encoder_dropout),
            layers=layers,
            norm=None,
            walk_steps=walk_steps,
        )


def _encoder(encoder: TokenEncoder | None, dim: int, num_layers: int, dropout: float) -> TokenEncoder:
    return PatchEncoder(dim, num_layers=num_layers, dropout=dropout) if encoder is None else encoder


def _head(dim: int, num_outputs: int) -> torch.nn.Sequential:
    check_count("num_outputs", num_outputs, 1)
    return torch.nn.Sequential(
        torch.nn.Linear(dim, dim, bias=False), RowNorm(dim), torch.nn.ReLU(), torch.nn.Linear(dim, num_outputs)
    )
