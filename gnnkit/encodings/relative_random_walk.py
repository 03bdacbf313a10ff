"""Probabilities of random walks between all pairs of nodes."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.encodings._encoding import Encoding
from gnnkit.encodings._walk import out_edges
from gnnkit.errors import ConfigError
from gnnkit.ops._checks import check_count

_ORIENTATIONS = ("attention", "walk")


class RelativeRandomWalk(Encoding):
    r"""Probability that a random walk from node ``i`` is at node ``j`` after 0 to ``steps - 1`` steps.

    .. math::
        p_{ij} = [I_{ij}, P_{ij}, (P^2)_{ij}, \ldots, (P^{K-1})_{ij}], \qquad P = D^{-1} A

    Ma et al., "Graph inductive biases in transformers without message passing", 2023 (RRWP). :math:`A_{ij}` is the
    total weight of the edges from :math:`i` to :math:`j` (so multi-edges add, and a walk follows the direction of the
    edges), :math:`D_{ii} = \sum_j A_{ij}`. Over all :math:`j`, the probabilities of each number of steps sum to 1. A
    walk ends at a node without out-edges, and from then on they sum to less: from an isolated node there is the walk of
    0 steps alone. The probabilities are exact, computed in float64 and stored in float32. On a ``Batch`` each graph is
    treated by itself, and there are no pairs of nodes of two graphs.

    Written, where ``attr_name`` is ``"rrwp"``:

    - ``rrwp`` float32 ``[N, K]``: :math:`p_{ii}` of each node. Without its first column, which is 1, these are the
      first :math:`K - 1` columns of :class:`RandomWalk`.
    - ``rrwp_index`` int64 ``[2, M]``: the pairs, in ascending order of ``i``, then of ``j``. Since its name ends in
      ``index``, a ``Batch`` shifts it as it does ``edge_index``.
    - ``rrwp_value`` float32 ``[M, K]``: :math:`p_{ij}` of each pair.

    With ``orientation="attention"`` a pair stands in ``rrwp_index`` as the edge ``(j, i)``, over which ``i``
    attends to ``j``: the probabilities at the edges that end at a node are those of the walks that start there, and sum
    to 1. This is what GRIT is built on; its authors' code swaps rows and columns to the same end. Edges are in order of
    their destination, so that ``Graph.from_edge_index(data.rrwp_index, data.num_nodes)`` needs no reordering. With
    ``orientation="walk"`` a pair is ``(i, j)``, from where the walk starts to where it ends.

    By default these are all pairs of a graph, self-pairs included: :math:`M = n^2`. With ``max_hops`` or ``threshold``
    a pair is kept only if it satisfies each of those that are given. ``max_hops=K - 1`` leaves out no probability other
    than 0. Self-pairs are kept always.

    Args:
        steps: :math:`K`, the number of probabilities, at least 1.
        max_hops: Keep pairs where ``j`` can be reached from ``i`` over at most so many edges, and over ``K - 1``; at
            least 0. (By a walk whose probability does not vanish in float32, to be exact.)
        threshold: Keep pairs of which one probability at least is as large, and that can be reached over ``K - 1``
            edges; in ``[0, 1]``. Compared in float32.
        orientation: ``"attention"`` or ``"walk"``, see above.
        attr_name: Name of the node attribute, with which the other names begin.
        weight_attr: Name of the edge attribute that holds weights, used where the data has it. None: all weights 1.

    Raises:
        ConfigError: If ``steps`` is no integer of at least 1 or ``max_hops`` none of at least 0, ``threshold`` lies
            outside of ``[0, 1]``, or ``orientation`` is unknown.
        DataError: On call: if ``edge_index`` is missing or leaves the range of the nodes, or a weight is negative or
            not finite, or their sum is not.
        ShapeError: On call: if there is not one weight per edge.

    Determinism: the same bits for any number of threads, and for a graph alone or in a ``Batch``.
    Complexity: ``O(K m n)`` time at most for a graph of ``n`` nodes and ``m`` edges, and less where a walk does not get
    everywhere; ``O(K M + m + n)`` memory, to which each thread adds ``O(K)`` for each node within ``max_hops`` of a few
    nodes. Matrices :math:`n \times n` are never made other than as the result.
    """

    def __init__(
        self,
        steps: int,
        *,
        max_hops: int | None = None,
        threshold: float | None = None,
        orientation: str = "attention",
        attr_name: str = "rrwp",
        weight_attr: str | None = "edge_weight",
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ConfigError(f"threshold must be a probability, in [0, 1], got {threshold}")
        if orientation not in _ORIENTATIONS:
            raise ConfigError(f"orientation must be 'attention' or 'walk', got {orientation!r}")
        self.steps = check_count("steps", steps, 1)
        self.max_hops = None if max_hops is None else check_count("max_hops", max_hops, 0)
        self.threshold = threshold
        self.orientation = orientation
        self.attr_name = attr_name
        self.weight_attr = weight_attr

    def encode(self, data: Any) -> dict[str, Tensor]:
        """The probabilities of nodes and pairs of one graph."""
        rowptr, col, weight = out_edges(data, self.weight_attr, transform="RelativeRandomWalk")
        hops = self.max_hops
        if hops is None and self.threshold is not None:
            hops = self.steps - 1
        pairs, value = torch.ops.gnnkit.walk_pairs(rowptr, col, weight, self.steps, hops, self.threshold or 0.0)
        own = (pairs[0] == pairs[1]).nonzero().squeeze(1)
        return {
            self.attr_name: value.index_select(0, own),
            f"{self.attr_name}_index": pairs.flip(0) if self.orientation == "attention" else pairs,
            f"{self.attr_name}_value": value,
        }
