"""Graph Mamba Networks: a selective scan over the surroundings of each node, then one over the nodes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn import GraphNetwork, NetworkConfig
from gnnkit.nn.graph_network import Dims, Head, boundaries, graph_of
from gnnkit.sequence._models import check_vectors, drawn_seed, encoded_tokens, encodes_at_random, tokenized
from gnnkit.sequence.graph_mamba import GraphMambaLayer, apply_layers, check_eval_orders, check_layers, stacked
from gnnkit.sequence.ordered_block import place_in_order
from gnnkit.sequence.parts import Block, TokenEncoder, Tokenizer
from gnnkit.sequence.tokens import Tokens


class GMN(GraphNetwork):
    r"""Graph Mamba Networks (Behrouz and Hashemi, 2024), written from the paper, since there is no public code.

    .. math::
        t_{v1}, \dots, t_{vL} &= \mathrm{tokenizer}(G, v), \qquad t_{vL} = \{v\} \\
        x_v &= \mathrm{block}\bigl(\phi(G[t_{v1}]), \dots, \phi(G[t_{vL}])\bigr)_L

    and then the layers over the nodes. Behrouz and Hashemi, "Graph Mamba: towards learning on graphs with state space
    models", KDD 2024.

    1. *Tokenization*: of each node a sequence of sets of nodes, from far to near, by :class:`WalkTokens` in the paper.
    2. *Encodings* are those of the configuration, joined to the node features before anything else.
    3. *Local encoding*: a vector for each token, by :class:`SubgraphTokenEncoder` of GatedGCN or by
       :class:`WalkFeatureEncoder` in the paper.
    4. *Order of the tokens*: that of the tokenizer.
    5. *Bidirectional block* over the tokens of each node; what it says at the last token, the node itself, is the
       node's vector.
    6. *Layers over the nodes*: :class:`GraphMambaLayer` s with a bidirectional block and an order by degree, with or
       without message passing beside it.

    With tokens of level ``"graph"``, one for each node (:class:`NodeTokens`, the paper's :math:`m = 0`), step 5 reads
    the nodes of each graph in the tokenizer's order, and each token's vector is its node's.

    **What the paper leaves open**, and what is done here: tokens are drawn anew in every step of training, by a seed
    from torch's global generator, and are those of seed 0 in evaluation; so is what a token encoder draws. All graphs
    and subgraphs share one encoding of node and edge features, which the token encoder reads. The token stage runs
    once, before the layers. Residuals and normalisations between blocks of tokens are up to ``token_block``, as of
    :class:`Hybrid`; what it returns is not added to the node's features. The layers over the nodes normalise, drop and
    add as in GPS. The vectors of evaluation are those of one draw unless ``eval_orders`` says how many predictions,
    each of tokens and orders of its own, are averaged. :class:`WalkTokens` and :class:`WalkFeatureEncoder` draw for
    places in the batch, and so predictions in evaluation depend on them; where nothing is random they are the same in
    every batch.

    Args:
        config: Of encoders, readout and head.
        tokenizer: Makes the tokens.
        token_encoder: Makes vectors of them, of width ``config.hidden_dim`` from features of that width.
        token_block: Reads the vectors of each sequence; of that width too.
        layers: Over the nodes, all of that width.
        node_dims: As of :class:`gnnkit.nn.GraphModel`.
        edge_dims: As there.
        num_outputs: As there.
        eval_orders: Number of draws of tokens and orders whose predictions are averaged in evaluation.

    Raises:
        ConfigError: If there is no layer, widths do not fit together, ``eval_orders`` is above 1 and nothing is random,
            or a dimension that an encoder needs is missing.

    Determinism: bitwise, forward and backward, where the parts are, for a given state of torch's global generator; in
    evaluation, whatever that state.
    Complexity: that of the parts; linear in the number of tokens, of their members, of nodes and edges with a block
    that is linear.
    """

    def __init__(
        self,
        config: NetworkConfig,
        *,
        tokenizer: Tokenizer,
        token_encoder: TokenEncoder,
        token_block: Block,
        layers: Sequence[GraphMambaLayer],
        node_dims: Dims = None,
        edge_dims: Dims = None,
        num_outputs: int,
        eval_orders: int = 1,
    ) -> None:
        super().__init__(config, node_dims=node_dims, edge_dims=edge_dims)
        for name, part in (("token_encoder", token_encoder), ("token_block", token_block)):
            if part.dim != config.hidden_dim:
                raise ConfigError(f"{name} must be as wide as the model, {config.hidden_dim}, got {part.dim}")
        self._draws_tokens = tokenizer.is_random or encodes_at_random(token_encoder)
        check_eval_orders(eval_orders, self._draws_tokens or any(layer.is_random for layer in layers), tokenizer)
        if any(layer.eval_orders != 1 for layer in layers):
            raise ConfigError("the layers of a GMN need eval_orders = 1; give eval_orders to GMN itself")
        self.tokenizer = tokenizer
        self.token_encoder = token_encoder
        self.token_block = token_block
        self.eval_orders = eval_orders
        self.layers = check_layers(layers, config.hidden_dim)
        self.head = Head(config, num_outputs)

    def forward(self, data: Any) -> Tensor:
        """Predicts.

        Arguments and result are those of :class:`gnnkit.nn.GraphModel`, and so are errors, besides:

        Raises:
            ShapeError: If a part returns another shape, a node has no token, or tokens of level ``"graph"`` are not one
                for each node.
        """
        x, edge = self.encode_nodes(data), self.encode_edges(data)
        graph, ptr = graph_of(data), boundaries(x, data)
        if self.training:
            return self._predict(data, x, edge, graph, ptr, drawn_seed(None, self._draws_tokens, True))
        out = [self._predict(data, x, edge, graph, ptr, seed) for seed in range(self.eval_orders)]
        return out[0] if len(out) == 1 else torch.stack(out).mean(0)

    def _predict(self, data: Any, x: Tensor, edge: Tensor | None, graph: Graph, ptr: Tensor, seed: int) -> Tensor:
        x = self.node_vectors(x, edge, graph, ptr, seed=seed)
        x = apply_layers(stacked(self.layers), x, graph, edge, ptr, seed=seed)
        return self.head(self.readout(x, data))

    def node_vectors(self, x: Tensor, edge: Tensor | None, graph: Graph, ptr: Tensor, *, seed: int = 0) -> Tensor:
        """Steps 1 to 5: what the tokens of each node say, ``[N, hidden_dim]``.

        Args:
            x: Encoded node features, ``[N, hidden_dim]``.
            edge: Encoded edge features, ``[E, hidden_dim]``, or None.
            graph: The topology.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``.
            seed: Of the tokens, and of what the token encoder draws.
        """
        tokens = tokenized(self.tokenizer, x, graph, ptr, seed)
        shape = (tokens.num_tokens, x.size(1))
        vectors = encoded_tokens(self.token_encoder, tokens, x, graph, edge, seed)
        vectors = check_vectors(self.token_block(vectors, tokens.offsets), shape, self.token_block)
        return vectors.index_select(0, token_of_node(tokens, ptr))


def token_of_node(tokens: Tokens, ptr: Tensor) -> Tensor:
    """The token that stands for each node: the last of its sequence, or the one that is the node; int64 ``[N]``.

    Raises:
        ShapeError: If a sequence of a node is empty, or tokens of level ``"graph"`` are not one for each node.
    """
    if tokens.level == "node":
        length = tokens.offsets.diff()
        if bool((length == 0).any()):
            node = int((length == 0).nonzero()[0])
            raise ShapeError(f"every node needs a token, but the tokenizer gave none to node {node}")
        return tokens.offsets[1:] - 1
    if tokens.members.size(0) != tokens.num_tokens or bool((tokens.token_ptr.diff() != 1).any()):
        raise ShapeError(
            'GMN takes tokens of level "node", or one token for each node as of NodeTokens; got tokens of level '
            f'"graph" with {tokens.num_tokens} tokens of {tokens.members.size(0)} nodes in all'
        )
    return place_in_order(tokens.members, ptr, tokens.num_nodes)
