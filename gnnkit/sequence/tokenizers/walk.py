"""Surroundings of nodes as sets that random walks visit."""

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_count, check_seed
from gnnkit.sequence._batch import graph_of_nodes
from gnnkit.sequence.tokens import Tokens

_MOST = 2**16


class WalkTokens:
    r"""Neighbourhood tokens of Graph Mamba networks: per node sets of nodes that random walks from it visit.

    Behrouz and Hashemi, "Graph Mamba: towards learning on graphs with state space models", KDD 2024. For each length
    :math:`\hat m = m, m - 1, \ldots, 1`, and :math:`s` times each,

    .. math:: T_{\hat m}(v) = \{v\} \cup \bigcup_{w = 1}^{M} \{\text{nodes that walk } w \text{ of } \hat m
        \text{ steps from } v \text{ visits}\}

    then the node itself, :math:`T_0(v) = \{v\}`: sequences of :math:`m s + 1` tokens, the longest walks first and the
    node last. With :math:`m = 0` only the node is left. ``kind`` is the length. Members of a token ascend.

    A step follows one of the edges that leave a node, each with the same probability: several edges to one node count
    several times, a self-loop leads back to the node. A walk stays at a node that no edge leaves. For walks against
    the direction of the edges give ``graph.transpose()``.

    The :math:`s` tokens of one length come from independent walks, so that every order of them is as likely as any
    other: they are shuffled as they are drawn. Random numbers belong to seed, node, length, repeat, walk and step. A
    step is drawn by 53 random bits: its probability is off by ``2^-53`` at most.

    Args:
        max_length: :math:`m`, at least 0 and below ``2^16``.
        num_walks: :math:`M`, the walks for each token, 1 to ``2^16``.
        repeats: :math:`s`, the tokens of each length, 1 to ``2^16``.

    Attributes:
        is_random: True, but for ``max_length=0``.

    Raises:
        ConfigError: If an argument is out of range.

    Determinism: the same tokens for a seed, on every machine and for any number of threads.
    Complexity: ``O(N s M m^2 log(m M))`` time for all nodes, on the CPU; at most :math:`N s (m + M m (m + 1) / 2) + N`
    members.
    """

    def __init__(self, max_length: int, num_walks: int, repeats: int) -> None:
        self.max_length = check_count("max_length", max_length, 0)
        self.num_walks = check_count("num_walks", num_walks, 1)
        self.repeats = check_count("repeats", repeats, 1)
        if max_length >= _MOST:
            raise ConfigError(f"max_length must be below 2^16, got {max_length}")
        for name, value in (("num_walks", num_walks), ("repeats", repeats)):
            if value > _MOST:
                raise ConfigError(f"{name} must be at most 2^16, got {value}")

    @property
    def is_random(self) -> bool:
        """Whether tokens depend on the seed."""
        return self.max_length > 0

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        """The tokens of all nodes of a batch; see :class:`~gnnkit.sequence.parts.Tokenizer`.

        Raises:
            DataError, IndexRangeError, ShapeError: If ``graph`` and ``ptr`` are not those of a batch.
            ConfigError: If ``seed`` is no integer.
        """
        graph_of_nodes(graph, ptr)
        key = (check_seed(seed) + 2**63) % 2**64 - 2**63
        leaving = graph.transpose().to("cpu")
        members, token_ptr = torch.ops.gnnkit.walk_tokens(
            leaving.rowptr, leaving.col, self.max_length, self.num_walks, self.repeats, key
        )
        lengths = torch.arange(self.max_length, 0, -1).repeat_interleave(self.repeats)
        kind = torch.cat([lengths, lengths.new_zeros(1)]).repeat(graph.num_nodes)
        offsets = torch.arange(graph.num_nodes + 1) * (self.max_length * self.repeats + 1)
        moved = (tensor.to(graph.device) for tensor in (members, token_ptr, offsets))
        return Tokens(*moved, "node", graph.num_nodes, kind.to(graph.device))

    def __repr__(self) -> str:
        """The settings."""
        return f"WalkTokens({self.max_length}, {self.num_walks}, {self.repeats})"
