"""What the parts of a graph sequence model agree on, so that each can be swapped for another."""

from typing import Protocol

from torch import Tensor

from gnnkit.graph import Graph
from gnnkit.sequence.tokens import Tokens


class Block(Protocol):
    """A layer on packed sequences: no padding, nothing crosses the boundary of a sequence.

    Attributes:
        dim: Width of tokens, of input and output.
    """

    dim: int

    def __call__(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        """Maps tokens ``[T, dim]`` of ``S`` sequences with boundaries ``offsets`` ``[S + 1]`` to ``[T, dim]``.

        With ``reverse``, sequences are read from end to beginning; rows keep their places. A block that does not read
        in an order, such as attention, gives the same with and without.
        """
        ...


class Ordering(Protocol):
    """Puts the nodes of each graph into the order in which a sequence model reads them."""

    @property
    def is_random(self) -> bool:
        """Whether the order depends on the seed: then a model draws a new one at each step of training."""
        ...

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """The nodes in reading order, int64 ``[N]``: ``order[ptr[g]:ptr[g + 1]]`` are the nodes of graph ``g``.

        ``ptr`` is as that of a ``Batch``; ``x`` ``[N, F]`` for orders that look at features.
        """
        ...


class Tokenizer(Protocol):
    """Describes graphs, or the surroundings of each node, as sequences of sets of nodes."""

    @property
    def is_random(self) -> bool:
        """Whether tokens depend on the seed."""
        ...

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        """The tokens of all graphs of a batch."""
        ...


class TokenEncoder(Protocol):
    """Turns every token into a vector (the local encoding).

    One that draws random numbers says so by an attribute ``is_random = True``; models then give it a keyword ``seed``
    as well. With ``seed=None`` it draws one from torch's global generator in training, and takes 0 in evaluation.

    Attributes:
        dim: Width of the vectors.
    """

    dim: int

    def __call__(self, tokens: Tokens, x: Tensor, graph: Graph, edge_attr: Tensor | None = None) -> Tensor:
        """``[K, dim]`` from node features ``[N, F]`` and edge features in the caller's order, ``[E, D]``."""
        ...
