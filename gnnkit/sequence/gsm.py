"""Graph sequence models: tokens, a local encoding of each, a global encoding of their sequences."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.graph import Graph
from gnnkit.nn._blocks import check_dropout
from gnnkit.nn.conv import GatedGCNConv
from gnnkit.ops._checks import check_count
from gnnkit.sequence._models import (
    check_vectors,
    checked_inputs,
    drawn_seed,
    encoded_locally,
    encoded_tokens,
    encodes_at_random,
    local_layers,
    same_dim,
    tokenized,
)
from gnnkit.sequence.blocks import Attention, Hybrid, Mamba
from gnnkit.sequence.hac import check_options, hierarchical_affinity_clustering
from gnnkit.sequence.hierarchical_encoding import hierarchical_positions, step_distances
from gnnkit.sequence.hierarchy import Hierarchy
from gnnkit.sequence.orderings import HACOrder
from gnnkit.sequence.parts import Block, TokenEncoder, Tokenizer
from gnnkit.sequence.token_encoders import NodeTokenEncoder
from gnnkit.sequence.tokenizers.nodes import NodeTokens, tokens_in_order
from gnnkit.sequence.tokens import Tokens


class GSM(torch.nn.Module):
    r"""Graph sequence model (Behrouz et al., "Best of both worlds: advantages of hybrid graph sequence models", 2025).

    Three steps, each a part that can be swapped for any other: a tokenizer describes the graphs, or the surroundings of
    each node, as sequences of sets of nodes; an encoder turns every token into a vector; a block reads the sequences.

    .. math::
        x \leftarrow \mathrm{local}(x, A, e), \qquad z_t = \mathrm{encoder}(G[t], x), \qquad
        y = \mathrm{block}(z_1, \ldots, z_T)

    What the block says of tokens becomes a vector of each node:

    - of a tokenizer of level ``"graph"``, the mean of :math:`y_t` over the tokens ``t`` that the node is in (its own
      token, where tokens are nodes); zero for a node in none;
    - of level ``"node"``, the last :math:`y_t` of the node's sequence, which a block that reads forward makes of all of
      it; zero for an empty sequence.

    There is neither residual nor normalisation around the block: :class:`Hybrid` brings them along.

    >>> import torch
    >>> from gnnkit import Graph, nn
    >>> from gnnkit.sequence import GSM, Mamba, NodeTokenEncoder, NodeTokens
    >>> model = GSM(NodeTokens(), NodeTokenEncoder(8, 8), Mamba(8), local=nn.GatedGCNConv(8, 8))
    >>> graph = Graph.from_edge_index(torch.tensor([[0, 1, 3], [1, 2, 4]]), num_nodes=5)
    >>> model(torch.randn(5, 8), graph, ptr=torch.tensor([0, 3, 5])).shape
    torch.Size([5, 8])

    Args:
        tokenizer: As :class:`gnnkit.sequence.parts.Tokenizer`.
        encoder: As :class:`gnnkit.sequence.parts.TokenEncoder`.
        block: As :class:`gnnkit.sequence.parts.Block`, as wide as the encoder.
        local: A convolution of ``gnnkit.nn``, or any module called as ``local(x, graph)``, or
            ``local(x, graph, edge_attr)`` where there are edge features, that returns nodes, or nodes and edges; or
            several, one after the other. They keep the width of the nodes. None: none.

    Raises:
        ConfigError: If encoder and block have other widths.

    Determinism: bitwise where the parts are, for a given state of torch's global generator.
    Complexity: that of the parts, and ``O(M dim)`` for tokens of ``M`` members in all.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        encoder: TokenEncoder,
        block: Block,
        *,
        local: torch.nn.Module | Sequence[torch.nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.dim = same_dim(type(self).__name__, encoder=encoder, block=block)
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.block = block
        self.local = local_layers(local)

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        edge_attr: Tensor | None = None,
        ptr: Tensor | None = None,
        *,
        seed: int | None = None,
    ) -> Tensor:
        """A vector for each node.

        Args:
            x: Node features, ``[N, F]``, as wide as the first part takes them.
            graph: The topology.
            edge_attr: Edge features in the caller's order, as the parts take them, or None.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``. None: one graph.
            seed: Of the tokens and of the encoder, where they are random. None: a new one from torch's global generator
                in training, 0 in evaluation.

        Returns:
            ``[N, dim]``.

        Raises:
            ShapeError: If ``x`` or ``edge_attr`` does not fit, or a part returns another shape than it must.
            IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
        """
        x, ptr = checked_inputs(x, graph, ptr, layer=type(self).__name__)
        seed = drawn_seed(seed, self.is_random, self.training)
        tokens = tokenized(self.tokenizer, x, graph, ptr, seed)
        x, edge_attr = encoded_locally(self.local, x, graph, edge_attr)
        return self.read(tokens, x, graph, edge_attr, seed=seed)

    @property
    def is_random(self) -> bool:
        """Whether results depend on the seed: by the tokenizer or by the encoder."""
        return self.tokenizer.is_random or encodes_at_random(self.encoder)

    def read(
        self, tokens: Tokens, x: Tensor, graph: Graph, edge_attr: Tensor | None = None, *, seed: int | None = None
    ) -> Tensor:
        """Encoder and block on tokens that are given, and what they say of each node, ``[N, dim]``."""
        encoded = encoded_tokens(self.encoder, tokens, x, graph, edge_attr, seed)
        out = check_vectors(self.block(encoded, tokens.offsets), encoded.shape, self.block)
        return _last(out, tokens.offsets) if tokens.level == "node" else _mean_of_tokens(out, tokens)


class HierarchicalEncoding(torch.nn.Module):
    r"""Vectors that say where nodes lie in a hierarchy of clusters: by distances in its tree.

    .. math:: p_i = W \bigl[\, |C_l(i)| / n \,\bigr]_{l = 1, \ldots, L} + E_{\min(d(i, i - 1),\, 2 L)}

    :math:`|C_l(i)| / n` is the share of nodes that are within ``2 l`` edges of the tree from ``i``
    (:func:`~gnnkit.sequence.hierarchical_encoding.hierarchical_positions`), and :math:`d(i, i - 1)` the distance from
    the node before ``i`` in the order of the leaves, 0 for the first (:func:`step_distances` there); of two sibling
    clusters, the one with the lowest node comes first. The paper of GSM++ (Behrouz et al., 2025) encodes distances in
    the tree; this form, without pairs of nodes, is ours.

    Args:
        dim: Width of the vectors.
        num_levels: :math:`L`.
        similarity: Of the clustering: ``"cosine"``, ``"jaccard"``, or None: see
            :func:`~gnnkit.sequence.hac.hierarchical_affinity_clustering`.
        linkage: Of the clustering: ``"mean"`` or ``"max"``.

    Raises:
        ConfigError: If a size is not positive, or an option is unknown.

    Complexity: ``O(N L (L + dim))``.
    """

    def __init__(self, dim: int, *, num_levels: int = 8, similarity: str | None = None, linkage: str = "mean") -> None:
        super().__init__()
        check_count("dim", dim, 1)
        check_count("num_levels", num_levels, 1)
        check_options(similarity, linkage)
        self.dim = dim
        self.num_levels = num_levels
        self.similarity = similarity
        self.linkage = linkage
        self.linear = torch.nn.Linear(num_levels, dim, bias=False)
        self.distance = torch.nn.Embedding(2 * num_levels + 1, dim)

    def clusters(self, x: Tensor, graph: Graph, ptr: Tensor) -> Hierarchy:
        """The hierarchy over node features ``[N, F]``, as a function of no gradient. Errors as of the clustering."""
        return hierarchical_affinity_clustering(
            graph, ptr, x.detach(), similarity=self.similarity, linkage=self.linkage
        )

    def forward(self, hierarchy: Hierarchy) -> Tensor:
        """``[N, dim]``, in the order of the nodes."""
        order = hierarchy.leaf_order()
        step = torch.empty_like(order).index_copy(0, order, step_distances(hierarchy, order))
        shares = hierarchical_positions(hierarchy, self.num_levels).to(self.linear.weight.dtype)
        return self.linear(shares) + self.distance(step.clamp(max=2 * self.num_levels))


class GSMPlusPlus(GSM):
    r"""GSM++ (Behrouz et al., "Best of both worlds: advantages of hybrid graph sequence models", 2025).

    A :class:`GSM` with the parts of the paper, for which there is no public code:

    1. A hierarchy of clusters over the features that the model is given
       (:func:`~gnnkit.sequence.hac.hierarchical_affinity_clustering`). Tokens are the nodes in the order of its leaves,
       so that similar nodes lie close together; another tokenizer, such as :class:`HACTokens`, may take their place.
       Which of two sibling clusters is read first depends on how the nodes are numbered.
    2. A positional encoding of the nodes in that hierarchy is added to the features (:class:`HierarchicalEncoding`).
    3. ``num_local_layers`` layers of :class:`gnnkit.nn.GatedGCNConv`.
    4. Two :class:`Mamba` blocks, then :class:`Attention`, each behind a normalisation and with a residual
       (:class:`Hybrid`).

    >>> import torch
    >>> from gnnkit import Graph
    >>> from gnnkit.sequence import GSMPlusPlus
    >>> model = GSMPlusPlus(8)
    >>> graph = Graph.from_edge_index(torch.tensor([[0, 1, 3], [1, 2, 4]]), num_nodes=5)
    >>> model(torch.randn(5, 8), graph, ptr=torch.tensor([0, 3, 5])).shape
    torch.Size([5, 8])

    Args:
        dim: Width of nodes, of input and output.
        num_local_layers: Number of layers of the default ``local``; the paper names none.
        num_heads: Of the default attention.
        num_levels: Levels of the positional encoding; 0: there is none.
        similarity: Of the clustering: ``"cosine"``, ``"jaccard"``, or None: see there.
        linkage: Of the clustering: ``"mean"`` or ``"max"``.
        dropout: Of the default parts.
        tokenizer: Any tokenizer. None: the nodes in the order of the leaves.
        encoder: Any token encoder. None: an affine map of the features, :class:`NodeTokenEncoder`.
        block: Any block. None: as above.
        local: As of :class:`GSM`. None: as above; an empty sequence: none.

    Raises:
        ConfigError: If a setting is out of range, or the parts have other widths.

    Determinism: bitwise where the parts are, for a given state of torch's global generator.
    Complexity: ``O(E log N)`` for the clustering, on the CPU, and that of the parts: of the defaults,
    ``O((N + E) dim^2)`` and ``O(sum n^2 dim)`` for the attention.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_local_layers: int = 2,
        num_heads: int = 4,
        num_levels: int = 8,
        similarity: str | None = None,
        linkage: str = "mean",
        dropout: float = 0.0,
        tokenizer: Tokenizer | None = None,
        encoder: TokenEncoder | None = None,
        block: Block | None = None,
        local: torch.nn.Module | Sequence[torch.nn.Module] | None = None,
    ) -> None:
        check_count("dim", dim, 1)
        check_count("num_local_layers", num_local_layers, 0)
        check_count("num_levels", num_levels, 0)
        check_dropout("dropout", dropout)
        if block is None:
            parts = [Mamba(dim), Mamba(dim), Attention(dim, num_heads=num_heads, dropout=dropout)]
            block = Hybrid(parts, dropout=dropout)
        if local is None:
            local = [GatedGCNConv(dim, dim, dropout=dropout) for _ in range(num_local_layers)]
        super().__init__(
            NodeTokens(HACOrder(similarity=similarity, linkage=linkage)) if tokenizer is None else tokenizer,
            NodeTokenEncoder(dim, dim) if encoder is None else encoder,
            block,
            local=local,
        )
        self.position = None
        if num_levels > 0:
            self.position = HierarchicalEncoding(dim, num_levels=num_levels, similarity=similarity, linkage=linkage)

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        edge_attr: Tensor | None = None,
        ptr: Tensor | None = None,
        *,
        seed: int | None = None,
    ) -> Tensor:
        """A vector for each node. Arguments, result and errors as of :class:`GSM`, with ``x`` of ``[N, dim]``.

        Raises:
            DataError: If an edge joins two graphs.
        """
        x, ptr = checked_inputs(x, graph, ptr, layer=type(self).__name__, width=self.dim)
        seed = drawn_seed(seed, self.is_random, self.training)
        if self.position is None:
            tokens = tokenized(self.tokenizer, x, graph, ptr, seed)
        else:
            hierarchy = self.position.clusters(x, graph, ptr)
            if _reads_leaves(self.tokenizer, self.position):
                # Spares it to find the hierarchy anew.
                tokens = tokens_in_order(hierarchy.leaf_order(), ptr)
            else:
                tokens = tokenized(self.tokenizer, x, graph, ptr, seed)
            x = x + self.position(hierarchy)
        x, edge_attr = encoded_locally(self.local, x, graph, edge_attr)
        return self.read(tokens, x, graph, edge_attr, seed=seed)


def _reads_leaves(tokenizer: Tokenizer, position: HierarchicalEncoding) -> bool:
    """Whether tokens are the nodes in the order of the leaves of the encoding's own hierarchy."""
    ordering = tokenizer.ordering if isinstance(tokenizer, NodeTokens) else None
    if not isinstance(ordering, HACOrder):
        return False
    return (ordering.similarity, ordering.linkage) == (position.similarity, position.linkage)


def _mean_of_tokens(out: Tensor, tokens: Tokens) -> Tensor:
    """For each node the mean of the rows of the tokens that it is in, ``[N, dim]``."""
    return ops.spmm(tokens.incidence().transpose(), out, reduce="mean")


def _last(out: Tensor, offsets: Tensor) -> Tensor:
    """The last row of each sequence, ``[S, dim]``; zero where there is none."""
    if out.size(0) == 0:
        return out.new_zeros((offsets.size(0) - 1, out.size(1)))
    filled = (offsets.diff() > 0).unsqueeze(1)
    return torch.where(filled, out.index_select(0, (offsets[1:] - 1).clamp(min=0)), 0.0)
