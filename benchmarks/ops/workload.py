"""What the operators are run on: graphs of three kinds, and tensors that hang on them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from benchmarks.graphs import distinct_power_law, distinct_uniform, molecules
from gnnkit import Graph

GraphKind = Literal["power-law", "uniform", "molecules"]
GRAPH_KINDS: tuple[GraphKind, ...] = ("power-law", "uniform", "molecules")
EDGES_PER_NODE = 16
HEADS = 8


@dataclass(frozen=True, order=True)
class Workload:
    """One point of the table.

    Attributes:
        graph: Kind of graph.
        edges: Number of edges.
        width: Number of features, over all heads where there are heads.
    """

    graph: GraphKind
    edges: int
    width: int

    @property
    def heads(self) -> int:
        """Number of heads of the attention operators."""
        return min(HEADS, self.width)


class Topology:
    """A graph in every form in which a candidate may want it; each is made when it is first asked for."""

    def __init__(self, kind: GraphKind, edges: int) -> None:
        """Draws the graph. Its edges are in no order but for molecules, where they come molecule by molecule."""
        self.kind, self.num_edges = kind, edges
        if kind == "molecules":
            self.edge_index, self.num_nodes = molecules(edges)
            return
        self.num_nodes = max(edges // EDGES_PER_NODE, 1)
        draw = distinct_power_law if kind == "power-law" else distinct_uniform
        self.edge_index = draw(self.num_nodes, edges)

    @property
    def src(self) -> Tensor:
        """Source of each edge, ``[E]``."""
        return self.edge_index[0]

    @property
    def dst(self) -> Tensor:
        """Destination of each edge, ``[E]``."""
        return self.edge_index[1]

    @cached_property
    def graph(self) -> Graph:
        """With the edges in the order in which they were drawn."""
        return Graph.from_edge_index(self.edge_index, self.num_nodes)

    @cached_property
    def order(self) -> Tensor:
        """The edge at each CSR position: by destination, then by source, as a CSR matrix has them, ``[E]``."""
        return torch.argsort(self.dst * self.num_nodes + self.src)

    @cached_property
    def sorted_edge_index(self) -> Tensor:
        """The edges as a CSR matrix has them, ``[2, E]``."""
        return self.edge_index[:, self.order]

    @cached_property
    def rowptr(self) -> Tensor:
        """Boundaries of the in-edges of each destination, ``[N + 1]``."""
        count = torch.bincount(self.dst, minlength=self.num_nodes)
        return torch.cat([count.new_zeros(1), count.cumsum(0)])

    @cached_property
    def sorted_graph(self) -> Graph:
        """With the edges in the order of CSR."""
        return Graph.from_edge_index(self.sorted_edge_index, self.num_nodes)


class Data:
    """The tensors of one workload, reproducible by their names."""

    def __init__(self, topology: Topology, width: int) -> None:
        """Binds a width to a graph."""
        self.topology, self.width = topology, width
        self.heads = min(HEADS, width)
        self._made: dict[tuple[str, int, int], Tensor] = {}

    def rows(self, name: str, num_rows: int, width: int | None = None) -> Tensor:
        """Values between -1/2 and 1/2, distinct within every column, so that a maximum has one place: ``[N, F]``.

        All candidates share the memory, but each has a leaf of its own.
        Column ``f`` is ``(a r + b) mod p``, scaled, with ``a`` and ``b`` of its own and a prime ``p`` not below the
        number of rows.
        """
        width = self.width if width is None else width
        key = (name, num_rows, width)
        if key not in self._made:
            self._made[key] = self._make_rows(name, num_rows, width)
        return self._made[key].detach()

    def _make_rows(self, name: str, num_rows: int, width: int) -> Tensor:
        modulus = next_prime(num_rows)
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        factors = torch.randint(modulus // 3 + 1, modulus, (2, width), generator=generator).tolist()
        # Off the grid: never zero, where torch's scatter_reduce_ shares the gradient with what it starts from, and no
        # sum of two columns is zero either, where activations have a kink.
        offsets = torch.rand(width, generator=generator).tolist()
        row = torch.arange(num_rows)
        out = torch.empty(num_rows, width)
        for column, (factor, shift, offset) in enumerate(zip(*factors, offsets, strict=True)):
            values = (row * factor + shift) % modulus
            out[:, column] = (values.double() + (offset - modulus // 2)) / modulus
        return out

    def node_rows(self, name: str, width: int | None = None) -> Tensor:
        """One row per node, ``[N, F]``."""
        return self.rows(name, self.topology.num_nodes, width)

    def head_rows(self, name: str) -> Tensor:
        """One row per node and head, ``[N, H, F / H]``."""
        return self.node_rows(name).reshape(self.topology.num_nodes, self.heads, -1)

    def edge_rows(self, name: str, width: int | None = None) -> Tensor:
        """One row per edge, ``[E, F]``."""
        return self.rows(name, self.topology.num_edges, width)

    def edge_weight(self) -> Tensor:
        """One number between 0 and 1 per edge, ``[E]``."""
        return self.edge_rows("weight", 1).squeeze(1) + 0.5


def next_prime(number: int) -> int:
    """The smallest prime that is greater than two and not less than ``number``."""
    candidate = max(number, 3) | 1
    while any(candidate % factor == 0 for factor in range(3, int(candidate**0.5) + 1, 2)):
        candidate += 2
    return candidate


def curve(
    width: int, edges: Iterable[int] = (10_000, 100_000, 1_000_000, 4_000_000, 10_000_000)
) -> tuple[Workload, ...]:
    """Power-law graphs of growing size: what the plot and the check of linearity show."""
    return tuple(Workload("power-law", count, width) for count in edges)


def widths(edges: int = 1_600_000, values: Iterable[int] = (1, 16, 64, 256)) -> tuple[Workload, ...]:
    """The same power-law graph with rows of growing width."""
    return tuple(Workload("power-law", edges, width) for width in values)


def kinds(width: int, edges: int = 1_000_000) -> tuple[Workload, ...]:
    """Graphs of the kinds that the curve does not have."""
    return tuple(Workload(kind, edges, width) for kind in GRAPH_KINDS if kind != "power-law")
