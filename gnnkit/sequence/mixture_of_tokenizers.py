"""Several ways to tokenize a graph at once, of which every node takes a few."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_count
from gnnkit.sequence._models import checked_inputs, drawn_seed, encoded_locally, local_layers, same_dim, tokenized
from gnnkit.sequence.gsm import GSM, HierarchicalEncoding
from gnnkit.sequence.parts import Block, TokenEncoder, Tokenizer


class MixtureOfTokenizers(torch.nn.Module):
    r"""Several graph sequence models side by side, of which every node listens to a few.

    The mixture of tokenization of GSM++ (Behrouz et al., 2025). Each branch is a tokenizer with an encoder and a block;
    a router weighs their vectors for each node:

    .. math::
        \pi_i = \mathrm{softmax}(W x_i + b), \qquad
        y_i = \frac{\sum_{m \in T_i} \pi_{im}\, y_i^{(m)}}{\sum_{m \in T_i} \pi_{im}}

    where :math:`T_i` are the ``top_k`` tokenizers of largest :math:`\pi_{im}`, those of equal ones that come first.

    The paper says that a router picks the two best tokenizers of each node, and little more; what is ours: the router
    is affine and sees the features behind ``local``; outputs are mixed and not tokens, so that every branch reads whole
    sequences; there is no loss that balances the branches
    (:meth:`routing_weights` is there for those who want one). All branches are computed, whoever listens. With
    ``top_k=1`` the one weight is 1, and the router does not learn.

    >>> import torch
    >>> from gnnkit import Graph
    >>> from gnnkit.sequence import HopTokens, Mamba, MixtureOfTokenizers, NodeTokenEncoder, NodeTokens
    >>> tokenizers = [NodeTokens(), HopTokens(1), HopTokens(2)]
    >>> encoders, blocks = [NodeTokenEncoder(8, 8) for _ in range(3)], [Mamba(8) for _ in range(3)]
    >>> model = MixtureOfTokenizers(8, tokenizers, encoders, blocks)
    >>> graph = Graph.from_edge_index(torch.tensor([[0, 1, 3], [1, 2, 4]]), num_nodes=5)
    >>> model(torch.randn(5, 8), graph, ptr=torch.tensor([0, 3, 5])).shape
    torch.Size([5, 8])

    Args:
        in_dim: Width of the node features behind ``local``, which the router sees.
        tokenizers: One per branch.
        encoders: One per branch.
        blocks: One per branch, all of one width.
        top_k: How many branches a node listens to; at most as many as there are.
        local: As of :class:`GSM`, before all branches.
        position: Is added to the features before ``local``, as :class:`GSMPlusPlus` does. None: nothing is.

    Raises:
        ConfigError: If there is no branch, or not one encoder and block for each; if parts have other widths, or
            ``top_k`` is out of range.

    Determinism: bitwise where the parts are, for a given state of torch's global generator.
    Complexity: that of all branches, and ``O(N B (in_dim + dim))`` for ``B`` of them.
    """

    def __init__(
        self,
        in_dim: int,
        tokenizers: Sequence[Tokenizer],
        encoders: Sequence[TokenEncoder],
        blocks: Sequence[Block],
        *,
        top_k: int = 2,
        local: torch.nn.Module | Sequence[torch.nn.Module] | None = None,
        position: HierarchicalEncoding | None = None,
    ) -> None:
        super().__init__()
        check_count("in_dim", in_dim, 1)
        check_count("top_k", top_k, 1)
        if not tokenizers or not len(tokenizers) == len(encoders) == len(blocks):
            raise ConfigError(
                "MixtureOfTokenizers needs at least one tokenizer, and an encoder and a block for each; got "
                f"{len(tokenizers)} tokenizers, {len(encoders)} encoders and {len(blocks)} blocks"
            )
        if top_k > len(tokenizers):
            raise ConfigError(f"top_k must be at most the number of tokenizers, {len(tokenizers)}, got {top_k}")
        branches = [GSM(*parts) for parts in zip(tokenizers, encoders, blocks, strict=True)]
        numbered = {f"blocks[{number}]": branch for number, branch in enumerate(branches)}
        self.dim = same_dim(type(self).__name__, **numbered)
        self.top_k = top_k
        self.position = position
        self.local = local_layers(local)
        self.router = torch.nn.Linear(in_dim, len(branches))
        self.branches = torch.nn.ModuleList(branches)

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        edge_attr: Tensor | None = None,
        ptr: Tensor | None = None,
        *,
        seed: int | None = None,
    ) -> Tensor:
        """A vector for each node. Arguments, result and errors as of :class:`GSM`; one seed serves all branches."""
        x, ptr = checked_inputs(x, graph, ptr, layer=type(self).__name__)
        branches = cast(list[GSM], list(self.branches))
        seed = drawn_seed(seed, any(branch.is_random for branch in branches), self.training)
        tokens = [tokenized(branch.tokenizer, x, graph, ptr, seed) for branch in branches]
        if self.position is not None:
            x = x + self.position(self.position.clusters(x, graph, ptr))
        x, edge_attr = encoded_locally(self.local, x, graph, edge_attr)
        weight = self.routing_weights(x)
        read = [
            branch.read(given, x, graph, edge_attr, seed=seed) for branch, given in zip(branches, tokens, strict=True)
        ]
        return torch.stack([weight[:, number, None] * out for number, out in enumerate(read)]).sum(0)

    def routing_weights(self, x: Tensor) -> Tensor:
        """Weight of each branch for each node, ``[N, B]``: ``top_k`` of a row are positive, and add up to 1.

        Args:
            x: Node features behind ``local``, ``[N, in_dim]``.

        Raises:
            ShapeError: If they have another width.
        """
        if x.dim() != 2 or x.size(1) != self.router.in_features:
            raise ShapeError(f"the router takes features of shape [N, {self.router.in_features}], got {tuple(x.shape)}")
        logits = self.router(x)
        # Stable, unlike topk: of equal ones, the first.
        chosen = logits.sort(dim=1, descending=True, stable=True).indices[:, : self.top_k]
        kept = torch.full_like(logits, -torch.inf).scatter(1, chosen, logits.gather(1, chosen))
        return kept.softmax(1)

    def extra_repr(self) -> str:
        """The settings."""
        return f"top_k={self.top_k}"
