"""Random walks inside the subgraphs that tokens induce, and how the nodes of a walk hang together."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gnnkit.errors import DtypeError, ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import (
    check_count,
    check_flag,
    check_graphs,
    check_index_range,
    check_same_device,
    check_seed,
    check_segments,
    check_tensor,
    describe,
)
from gnnkit.ops._philox import mixed, philox_words, unit_interval
from gnnkit.sequence._batch import WALKS
from gnnkit.sequence.tokens import Tokens


@dataclass(frozen=True)
class TokenWalks:
    """Walks of one length, some for each token.

    Attributes:
        nodes: The nodes of each walk, from its start on, int64 ``[W, L + 1]``.
        edges: The edge of each step (its number in the caller's order), -1 where the walk stayed, int64 ``[W, L]``.
        walk_ptr: Where the walks of each token begin, and ``W`` at the end, int64 ``[K + 1]``.
        num_nodes: Number of nodes of the batch.
        num_edges: Number of its edges.

    Raises:
        DtypeError, ShapeError, IndexRangeError: If the tensors do not describe walks.
    """

    nodes: Tensor
    edges: Tensor
    walk_ptr: Tensor
    num_nodes: int
    num_edges: int

    def __post_init__(self) -> None:
        """Checks all of it."""
        for name, value in (("nodes", self.nodes), ("edges", self.edges), ("walk_ptr", self.walk_ptr)):
            check_tensor(name, value)
            if value.dtype != torch.int64:
                raise DtypeError(f"{name} of walks must be int64, got {describe(value)}; convert it with {name}.long()")
        if self.nodes.dim() != 2 or self.nodes.size(1) == 0:
            raise ShapeError(f"nodes of walks must have shape [W, L + 1], got {describe(self.nodes)}")
        steps = (self.nodes.size(0), self.nodes.size(1) - 1)
        if self.edges.shape != steps:
            raise ShapeError(f"edges must have shape {list(steps)}, one per step, got {describe(self.edges)}")
        check_same_device(nodes=self.nodes, edges=self.edges, walk_ptr=self.walk_ptr)
        check_segments(self.walk_ptr, self.nodes.size(0))
        check_index_range("nodes", self.nodes.reshape(-1), self.num_nodes, "num_nodes")
        check_index_range("edges + 1", self.edges.reshape(-1) + 1, self.num_edges + 1, "num_edges + 1")

    @property
    def length(self) -> int:
        """Steps of each walk, ``L``."""
        return self.edges.size(1)

    def structure(self, graph: Graph, window: int) -> Tensor:
        r"""Which of the steps before it a step is on the same node as, and which on a neighbour of.

        .. math::
            \mathrm{identity}_{ij} = [v_i = v_{i - j}],\ j = 1..s, \qquad
            \mathrm{adjacency}_{ij} = [(v_i, v_{i - j}) \in E \lor (v_{i - j}, v_i) \in E],\ j = 2..s

        False before the start. A node is its own neighbour where it has a self-loop.

        Args:
            graph: The topology, or any that has the same edges between the nodes of a walk.
            window: :math:`s`, at least 1.

        Returns:
            Identity, then adjacency, bool ``[W, L + 1, 2 s - 1]``.

        Raises:
            ShapeError: If ``graph`` has another number of nodes.
            ConfigError: If ``window`` is no integer of at least 1.

        Complexity: ``O(E log E + W L s log E)``.
        """
        check_count("window", window, 1)
        check_graphs(graph=graph)
        if graph.num_nodes != self.num_nodes:
            raise ShapeError(f"walks over {self.num_nodes} nodes need a graph of as many, got {graph.num_nodes}")
        source, target = graph.edge_index.long()
        pairs = _pair_keys(source, target, self.num_nodes).sort().values
        # Behind all keys, so that every search ends at an entry.
        pairs = torch.cat([pairs, pairs.new_full((1,), -1)])
        out = self.nodes.new_zeros((*self.nodes.shape, 2 * window - 1), dtype=torch.bool)
        for back in range(1, min(window, self.length) + 1):
            now, before = self.nodes[:, back:], self.nodes[:, :-back]
            out[:, back:, back - 1] = now == before
            if back > 1:
                wanted = _pair_keys(now, before, self.num_nodes)
                found = torch.searchsorted(pairs[:-1], wanted)
                out[:, back:, window + back - 2] = pairs[found] == wanted
        return out


def token_walks(
    tokens: Tokens, graph: Graph, num_walks: int, length: int, *, backtracking: bool = False, seed: int = 0
) -> TokenWalks:
    r"""Random walks inside the subgraph that each token induces, of :class:`WalkFeatureEncoder`.

    A walk follows one of the edges that leave its node within the subgraph, each with the same probability: several
    edges to one node count several times. Without ``backtracking`` those that lead to the node before are left out,
    unless no other leaves. A walk stays at a node that no edge leaves, as at one that is isolated in the token.

    The ``m`` walks of a token of ``n`` members start at its members :math:`\lfloor ((u + n w) \bmod n m) / m \rfloor`,
    :math:`w = 0..m - 1`, for a random :math:`u` of ``0..n m - 1``: every member is as likely as any other, no two walks
    start at the same one where ``m`` is at most ``n``, and every member is a start where ``m`` is not below ``n``. An
    empty token has no walks.

    Args:
        tokens: The tokens.
        graph: The topology.
        num_walks: :math:`m`, walks of each token, at least 1.
        length: Steps of each, at least 1.
        backtracking: Whether a step may lead back to the node before although others are at hand.
        seed: Of all random numbers.

    Raises:
        ConfigError: If a setting is out of range or ``seed`` no integer.
        IndexRangeError: If a node is in a token twice, or no node of ``graph``.
        ShapeError: If ``tokens`` are of another number of nodes.

    Determinism: the same walks for a seed, on every machine and for any number of threads. Random numbers belong to
    seed, token, walk and step; those of a token depend on its place in the batch.
    Complexity: that of :func:`gnnkit.ops.induced_subgraphs`, and ``O(K m L)`` time for ``K`` tokens with
    ``backtracking``, ``O(K m L log E')`` without for ``E'`` edges of all subgraphs.
    """
    check_count("num_walks", num_walks, 1)
    check_count("length", length, 1)
    check_flag("backtracking", backtracking)
    check_seed(seed)
    check_graphs(graph=graph)
    if graph.num_nodes != tokens.num_nodes:
        raise ShapeError(f"tokens of {tokens.num_nodes} nodes need a graph of as many, got {graph.num_nodes}")
    rows = _Rows.of(*tokens.induced(graph))
    size = tokens.token_ptr.diff()
    token = size.nonzero()[:, 0]
    numbers = (value.to(size.device) for value in _numbers(token.cpu().numpy(), num_walks, length + 1, seed))
    start = _starts(next(numbers)[:, :1], size[token, None], num_walks)
    visited, edges = [(tokens.token_ptr[token, None] + start).reshape(-1)], []
    for chance in numbers:
        before = visited[-2] if len(visited) > 1 and not backtracking else None
        reached, edge = rows.step(visited[-1], before, chance.reshape(-1))
        visited.append(reached)
        edges.append(edge)
    walk_ptr = torch.zeros_like(tokens.token_ptr, dtype=torch.int64)
    walk_ptr[1:] = ((size > 0) * num_walks).cumsum(0)
    nodes = tokens.members[torch.stack(visited, dim=1)]
    return TokenWalks(nodes, torch.stack(edges, dim=1), walk_ptr, graph.num_nodes, graph.num_edges)


@dataclass(frozen=True)
class _Rows:
    """The edges that leave each member of a token, in order of where they lead, and one more entry: to stay."""

    first: Tensor
    count: Tensor
    target: Tensor
    edge: Tensor
    key: Tensor

    @classmethod
    def of(cls, subgraphs: Graph, copied: Tensor) -> "_Rows":
        # A transpose keeps the order of positions, which are by destination: rows ascend.
        leaving = subgraphs.transpose()
        assert leaving.edge_id is not None
        count, target = leaving.rowptr.diff().long(), leaving.col.long()
        key = leaving.dst_of_position().long() * leaving.num_nodes + target
        none = copied.new_full((1,), -1)
        edge = torch.cat([copied[leaving.edge_id.long()], none])
        return cls(leaving.rowptr[:-1].long(), count, torch.cat([target, none]), edge, key)

    def step(self, at: Tensor, before: Tensor | None, chance: Tensor) -> tuple[Tensor, Tensor]:
        """Where walks go from ``at``, and by which edge; ``before``: the nodes that they should not go back to."""
        first, count = self.first[at], self.count[at]
        place = first
        if before is None:
            place = first + (chance * count).long()
        else:
            wanted = at * self.first.size(0) + before
            begin = torch.searchsorted(self.key, wanted)
            back = torch.searchsorted(self.key, wanted, right=True) - begin
            back = torch.where(back < count, back, 0)
            place = first + (chance * (count - back)).long()
            place = place + torch.where(place >= begin, back, 0)
        moves = count > 0
        place = torch.where(moves, place, self.key.size(0))
        return torch.where(moves, self.target[place], at), self.edge[place]


def _pair_keys(one: Tensor, two: Tensor, num_nodes: int) -> Tensor:
    """A number for each pair of nodes, whichever comes first."""
    return torch.minimum(one, two) * num_nodes + torch.maximum(one, two)


def _starts(chance: Tensor, size: Tensor, num_walks: int) -> Tensor:
    """Places of the first nodes of walks among the members of their tokens, ``[K', m]``."""
    total = size * num_walks
    shift = torch.arange(num_walks, device=size.device) * size
    return ((chance * total).long() + shift) % total // num_walks


def _numbers(token: np.ndarray, num_walks: int, count: int, seed: int) -> Iterator[Tensor]:
    """Numbers in ``[0, 1)``, ``count`` times one for each walk of each token, float64 ``[K', m]``."""
    key = mixed(np.array([seed % 2**64], dtype=np.uint64))
    for block in range((count + 1) // 2):
        words = philox_words(key, block, np.arange(num_walks), token[:, None], WALKS)
        for half in range(min(2, count - 2 * block)):
            yield torch.from_numpy(unit_interval(*words[2 * half : 2 * half + 2]))
