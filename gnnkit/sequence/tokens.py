"""Sequences of tokens, where a token is a set of nodes."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_segments, check_tensor, describe, values_readable

Level = Literal["graph", "node"]


@dataclass(frozen=True)
class Tokens:
    """Packed sequences of tokens.

    Attributes:
        members: Nodes of the tokens, one token after the other, int64 ``[M]``.
        token_ptr: Where the members of each token begin, and ``M`` at the end, int64 ``[K + 1]``.
        offsets: Where the tokens of each sequence begin, and ``K`` at the end, int64 ``[S + 1]``.
        level: What a sequence describes: ``"graph"``: sequence ``g`` graph ``g`` of the batch; ``"node"``: sequence
            ``i`` the surroundings of node ``i``.
        kind: What sort of token each is, int64 ``[K]``, such as the length of the walks or the number of hops that it
            comes from; models may learn a vector for each. None: all of one sort.
        num_nodes: Number of nodes of the batch.

    Raises:
        DtypeError, ShapeError, IndexRangeError: If the tensors do not describe sequences of sets of nodes.
        ConfigError: If ``level`` is unknown.
    """

    members: Tensor
    token_ptr: Tensor
    offsets: Tensor
    level: Level
    num_nodes: int
    kind: Tensor | None = None

    def __post_init__(self) -> None:
        """Checks all of it."""
        if self.level not in ("graph", "node"):
            raise ConfigError(f'level must be "graph" or "node", got {self.level!r}')
        check_tensor("members", self.members)
        if self.members.dtype != torch.int64 or self.members.dim() != 1:
            raise DtypeError(f"members must be nodes, int64 [M], got {describe(self.members)}")
        check_segments(self.token_ptr, self.members.size(0))
        check_segments(self.offsets, self.num_tokens)
        if self.level == "node" and self.num_sequences != self.num_nodes:
            raise ShapeError(
                f"tokens of nodes need one sequence per node, {self.num_nodes}, got {self.num_sequences} sequences"
            )
        if self.kind is not None and (self.kind.dtype != torch.int64 or self.kind.shape != (self.num_tokens,)):
            raise ShapeError(f"kind must be int64 [{self.num_tokens}], one per token, got {describe(self.kind)}")
        if self.members.numel() and values_readable(self.members):
            low, high = (int(value) for value in self.members.aminmax())
            if low < 0 or high >= self.num_nodes:
                raise IndexRangeError(f"members must lie in 0 to {self.num_nodes - 1}, got {low} to {high}")

    @property
    def num_tokens(self) -> int:
        """``K``."""
        return self.token_ptr.size(0) - 1

    @property
    def num_sequences(self) -> int:
        """``S``."""
        return self.offsets.size(0) - 1

    @property
    def token_of_member(self) -> Tensor:
        """Token of each member, int64 ``[M]``."""
        return torch.repeat_interleave(self.token_ptr.diff(), output_size=self.members.size(0))

    def incidence(self) -> Graph:
        """The members as edges, from their nodes to their tokens: those of the graph are ``members``, in this order."""
        return Graph(self.token_ptr.long(), self.members, None, self.num_nodes)

    def induced(self, graph: Graph) -> tuple[Graph, Tensor]:
        """The subgraphs that the tokens induce, side by side.

        Returns:
            A graph whose nodes are the members, and for each of its edges, in the order of its ``edge_index``, the
            number of the edge of ``graph`` that it copies (in the caller's order), int64.

        Complexity: the sum of the degrees of all members.
        """
        return ops.induced_subgraphs(graph, self.members, self.token_ptr)
