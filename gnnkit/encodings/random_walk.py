"""Return probabilities of random walks."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.encodings._encoding import Encoding
from gnnkit.encodings._walk import out_edges
from gnnkit.ops._checks import check_count


class RandomWalk(Encoding):
    r"""Probability that a random walk is back at its start after 1 to ``steps`` steps.

    .. math::
        p_i = [P_{ii}, (P^2)_{ii}, \ldots, (P^K)_{ii}], \qquad P = D^{-1} A

    Dwivedi et al., "Graph neural networks with learnable structural and positional representations", 2022.
    :math:`A_{ij}` is the total weight of the edges from :math:`i` to :math:`j` (so multi-edges add, and a walk follows
    the direction of the edges), :math:`D_{ii} = \sum_j A_{ij}`. A walk ends at a node without out-edges: an isolated
    node has only zeros. The probabilities are exact, computed in float64 and stored in float32. On a ``Batch`` no walk
    leaves its graph.

    Written as a node attribute: ``attr_name`` float32 ``[N, steps]``.

    Args:
        steps: :math:`K`, at least 1.
        attr_name: Name of the node attribute.
        weight_attr: Name of the edge attribute that holds weights, used where the data has it. None: all weights 1.

    Raises:
        ConfigError: If ``steps`` is no integer of at least 1.
        DataError: On call: if ``edge_index`` is missing or leaves the range of the nodes, or a weight is negative or
            not finite, or their sum is not.
        ShapeError: On call: if there is not one weight per edge.

    Determinism: the same bits for any number of threads, and for a graph alone or in a ``Batch``.
    Complexity: for a connected component of ``n`` nodes and ``m`` edges ``O(K m n)`` time at most, and less where a
    walk of ``K / 2`` steps does not get everywhere, since only what it can reach is visited; ``O(n + m)`` memory. Half
    of the powers suffice where both directions of every edge have the same weight, since
    :math:`(P^{a+b})_{ii} = \sum_j (P^a)_{ij} (P^b)_{ji}`.
    """

    def __init__(
        self, steps: int, *, attr_name: str = "random_walk_pe", weight_attr: str | None = "edge_weight"
    ) -> None:
        self.steps = check_count("steps", steps, 1)
        self.attr_name = attr_name
        self.weight_attr = weight_attr

    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        """The return probabilities of all nodes; walks stay in their graph by themselves."""
        rowptr, col, weight = out_edges(data, self.weight_attr, transform="RandomWalk")
        return {self.attr_name: torch.ops.gnnkit.return_probabilities(rowptr, col, weight, self.steps).float()}
