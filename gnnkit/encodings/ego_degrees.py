"""Degrees within ego networks."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.encodings._local import LocalEncoding
from gnnkit.errors import ConfigError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import check_count
from gnnkit.ops.ego_degrees import JOINT, RELATIVE, TOTAL, num_bins

_LAYOUTS = {"relative": RELATIVE, "total": TOTAL, "joint": JOINT}
_LEVELS = ("node", "edge", "both")
_DEEPEST = 2**20
_MOST_BINS = 2**31


class EgoDegrees(LocalEncoding):
    r"""Histograms of the degrees within the ego networks of nodes (ELENE and IGEL) and of edges (ELENE).

    The ego network :math:`S_v^k` of a node is the subgraph of all nodes within ``depth`` :math:`= k` hops of the root
    ``v``, with all edges between them. In it a node ``w`` at distance :math:`\ell` has :math:`d^{(p)}` neighbours at
    distance :math:`\ell + p`, for :math:`p = -1, 0, 1`. The encoding of a node is a histogram over the nodes of its ego
    network, of the root at :math:`\ell = 0` too:

    .. math:: e_v = \{\!\{ (\ell, d^{(-1)}, d^{(0)}, d^{(+1)})_w : w \in S_v^k \}\!\}

    The encoding of an edge from ``u`` to ``v`` is the same over :math:`S_u^k \cap S_v^k`, the nodes within ``depth`` of
    both ends and all edges between them, with distances from the source ``u``: it has a direction, the column from
    ``v`` to ``u`` holds distances from ``v``, and the sum of both is symmetric. The encodings of nodes tell strongly
    regular graphs of equal parameters apart at no depth; those of edges can at depth 1, as the Shrikhande graph and the
    4 x 4 rook's graph.

    ``degrees`` says what is counted, in vectors whose width does not depend on the data, with :math:`D` for
    ``max_degree``:

    * ``"relative"`` (ELENE): bin :math:`(\ell, p, \min(d^{(p)}, D))`, in this order, for each of the three degrees;
      ``(depth + 1) * 3 * (D + 1)`` wide. Each block of ``D + 1`` bins adds up to the number of nodes at its distance.
    * ``"total"`` (IGEL): bin :math:`(\ell, \min(d, D))` of the degree :math:`d = d^{(-1)} + d^{(0)} + d^{(+1)}` in the
      ego network; ``(depth + 1) * (D + 1)`` wide.
    * ``"joint"``: the tuples themselves, without a bound of their degrees, by a fixed hash in ``num_buckets`` bins. The
      other two forget which degrees belong to one node; this one forgets nothing but which of the tuples in one bin is
      meant. Two tuples share a bin with a chance of one in ``num_buckets``.

    Degrees above ``max_degree`` are counted in the bin of ``max_degree``. The graph is taken as simple: a multi-edge is
    one edge, a self-loop none; the column of a self-loop holds the encoding of its node, the intersection of its ego
    network with itself. Weights are not read. An isolated node is alone in its ego network. From the diameter on, an
    ego network is the whole component.

    Written, for ``level`` ``"node"`` or ``"both"``: node attribute ``attr_name``, float32 ``[N, width]``. For
    ``"edge"`` or ``"both"``: edge attribute ``"edge_" + attr_name``, float32 ``[E, width]``, one row per column of
    ``edge_index``. The graphs of a ``Batch`` are encoded side by side, and none sees another.

    Args:
        depth: :math:`k`, at least 1.
        level: ``"node"``, ``"edge"`` or ``"both"``.
        degrees: ``"relative"``, ``"total"`` or ``"joint"``.
        max_degree: Largest degree with a bin of its own, at least 0. Not used by ``"joint"``.
        num_buckets: Number of bins of ``"joint"``, at least 1.
        attr_name: Name of the node attribute, and part of that of the edge attribute.

    Raises:
        ConfigError: If a number is out of range, or ``level`` or ``degrees`` unknown.
        DataError: In a call, if a direction of an edge is missing (the graph is directed).
        IndexRangeError: In a call, if an edge leaves the range of the nodes.

    Determinism: exact, for any number of threads; counts up to 2^24.
    Complexity: for nodes, ``O(N width)`` and the number of edges in all ego networks, of nodes on the surface of one
    also up to :math:`\sqrt{2E}` edges that lead out. For edges, ``O(E width)``, all this, and for each edge the degrees
    of the nodes in both ego networks (on the surface of the one around the end of lower degree, again
    :math:`\sqrt{2E}` at most). Beside the result some ten numbers of memory per node and thread.

    Papers: `Alvarez-Gonzalez et al., Improving subgraph-GNNs via edge-level ego-network encodings (TMLR 2024)
    <https://arxiv.org/abs/2312.05905>`_; `Alvarez-Gonzalez et al., Beyond 1-WL with local ego-network encodings (2022)
    <https://arxiv.org/abs/2211.14906>`_. Their networks look tuples up in learned tables; a linear layer on the counts
    is the sum of such embeddings.
    """

    def __init__(
        self,
        depth: int,
        *,
        level: str = "node",
        degrees: str = "relative",
        max_degree: int = 10,
        num_buckets: int = 256,
        attr_name: str = "ego_degrees",
    ) -> None:
        if level not in _LEVELS:
            raise ConfigError(f"level must be 'node', 'edge' or 'both', got {level!r}")
        if not isinstance(degrees, str) or degrees not in _LAYOUTS:
            raise ConfigError(f"degrees must be 'relative', 'total' or 'joint', got {degrees!r}")
        if check_count("depth", depth, 1) > _DEEPEST:
            raise ConfigError(f"depth must be at most {_DEEPEST}, got {depth}")
        check_count("max_degree", max_degree, 0)
        check_count("num_buckets", num_buckets, 1)
        if max(max_degree + 1, num_buckets) > _MOST_BINS:
            raise ConfigError(f"at most {_MOST_BINS} bins can be told apart, got {max_degree=}, {num_buckets=}")
        self.depth = depth
        self.level = level
        self.degrees = degrees
        self.max_degree = max_degree
        self.num_buckets = num_buckets
        self.attr_name = attr_name

    @property
    def width(self) -> int:
        """Number of columns."""
        return num_bins(self.depth, _LAYOUTS[self.degrees], self._count)

    @property
    def _count(self) -> int:
        return self.num_buckets if self.degrees == "joint" else self.max_degree + 1

    def encode(self, data: Any) -> dict[str, Tensor]:
        """The histograms."""
        graph = SimpleGraph.from_edge_index(data.edge_index, data.num_nodes, allow_self_loops=True)
        found = {}
        if self.level != "edge":
            found[self.attr_name] = self._histograms(graph, of_edges=False)
        if self.level != "node":
            found[f"edge_{self.attr_name}"] = self._of_columns(graph, data.edge_index.cpu().long())
        return found

    def _histograms(self, graph: SimpleGraph, *, of_edges: bool) -> Tensor:
        layout = _LAYOUTS[self.degrees]
        return torch.ops.gnnkit.ego_degrees(graph.rowptr, graph.col, self.depth, layout, self._count, of_edges)

    def _of_columns(self, graph: SimpleGraph, edge_index: Tensor) -> Tensor:
        """Rows of positions of the simple graph as rows of columns of ``edge_index``."""
        source, target = edge_index
        positions = graph.edge_index()
        place = torch.searchsorted(positions[0] * graph.num_nodes + positions[1], source * graph.num_nodes + target)
        of_positions = self._histograms(graph, of_edges=True)
        loop = source == target
        if not bool(loop.any()):
            return of_positions[place]
        out = of_positions.new_empty((source.numel(), self.width))
        out[~loop] = of_positions[place[~loop]]
        out[loop] = self._histograms(graph, of_edges=False)[source[loop]]
        return out
