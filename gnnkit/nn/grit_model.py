"""The graph inductive bias transformer: relative random walks in, GRIT layers, a readout."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import check_rows
from gnnkit.nn.attended_pairs import attended_pairs
from gnnkit.nn.encoders import LinearEncoder
from gnnkit.nn.grit import GRITLayer
from gnnkit.nn.pool import REDUCTIONS, graph_boundaries, pool
from gnnkit.ops._checks import check_count


class GRIT(torch.nn.Module):
    r"""The graph inductive bias transformer (Ma et al., 2023).

    .. math::
        x_i = \mathrm{encode}(x_i) + W_n\, p_{ii}, \qquad
        e_{ji} = W_p\, p_{ij} + \sum_{\text{edges } j \to i} \mathrm{encode}(a), \qquad
        p_{ij} = [I, P, P^2, \ldots, P^{K-1}]_{ij}

    then :class:`GRITLayer` s, the readout, and an affine map. Neither :math:`W_n` nor :math:`W_p` has a bias, so that
    pairs without a walk of fewer than :math:`K` steps, and without an edge, start from zero.

    The random walk probabilities are attributes of the data: :math:`p_{ii}` of the nodes, ``[N, K]``; pairs ``(j, i)``
    as columns, ``[2, P]`` (``i`` attends to ``j``); and :math:`p_{ij}`, one row per pair, ``[P, K]``:
    ``gnnkit.encodings.RelativeRandomWalk(K)`` writes them under the names that are the defaults here. Pairs that are
    listed several times add up, as do multi-edges.

    Args:
        dim: Width of nodes and of pairs.
        num_layers: Number of layers.
        num_heads: Number of heads, a divisor of ``dim``.
        num_outputs: Number of outputs per graph, or per node with ``pool="none"``.
        steps: :math:`K`.
        node_encoder: A module that maps ``data.x`` to ``[N, dim]``, such as :class:`AtomEncoder`; or an int, the width
            of real-valued ``data.x``.
        edge_encoder: The same for ``data.edge_attr``, to ``[E, dim]``. None: edge features are not used.
        complete: Attend to all pairs of each graph; False: only to the listed pairs and to neighbours.
        pool: ``"mean"``, ``"sum"``, ``"max"``, ``"min"``, or ``"none"``: one output per node.
        node_attr: Name of the node attribute.
        index_attr: Name of the pairs; a name that ends in ``index`` makes a ``Batch`` of them right.
        pair_attr: Name of the pair attribute.
        **layer_options: Keyword arguments of :class:`GRITLayer`.

    Raises:
        ConfigError: If a setting is unknown or out of range.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: per layer that of :class:`GRITLayer`, with :math:`P = \sum n^2` for ``complete``.
    """

    def __init__(
        self,
        dim: int,
        num_layers: int,
        num_heads: int,
        num_outputs: int,
        *,
        steps: int,
        node_encoder: torch.nn.Module | int,
        edge_encoder: torch.nn.Module | int | None = None,
        complete: bool = True,
        pool: str = "mean",
        node_attr: str = "rrwp",
        index_attr: str = "rrwp_index",
        pair_attr: str = "rrwp_value",
        **layer_options: Any,
    ) -> None:
        super().__init__()
        for name, value in (("num_layers", num_layers), ("num_outputs", num_outputs), ("steps", steps)):
            check_count(name, value, 1)
        if pool not in (*REDUCTIONS, "none"):
            raise ConfigError(f"pool must be one of {', '.join(REDUCTIONS)}, none, got {pool!r}")
        self.complete = complete
        self.pool = pool
        self.node_attr, self.index_attr, self.pair_attr = node_attr, index_attr, pair_attr
        self.node_encoder = _encoder(node_encoder, dim)
        self.edge_encoder = None if edge_encoder is None else _encoder(edge_encoder, dim)
        self.node_walks = torch.nn.Linear(steps, dim, bias=False)
        self.pair_walks = torch.nn.Linear(steps, dim, bias=False)
        for linear in (self.node_walks, self.pair_walks):
            torch.nn.init.xavier_uniform_(linear.weight)
        self.layers = torch.nn.ModuleList(GRITLayer(dim, num_heads, **layer_options) for _ in range(num_layers))
        self.head = torch.nn.Linear(dim, num_outputs)

    def forward(self, data: Any) -> Tensor:
        """Predicts.

        Args:
            data: A ``Data`` or ``Batch``, or any object with the attributes ``x``, ``edge_index``, the random walk
                probabilities, ``edge_attr`` where there is an ``edge_encoder``, and ``ptr`` or ``batch`` where there
                are several graphs.

        Returns:
            ``[G, num_outputs]``, or ``[N, num_outputs]`` with ``pool="none"``.

        Raises:
            DataError: If an attribute is missing, or a pair or an edge joins two graphs.
            ShapeError: If an attribute has the wrong shape.
        """
        x = self.node_encoder(_attribute(data, "x")) + _walks(self.node_walks, data, self.node_attr)
        graph = Graph.from_edge_index(_attribute(data, "edge_index"), num_nodes=x.size(0))
        ptr = getattr(data, "ptr", None)
        if ptr is None:
            ptr = graph_boundaries(x, getattr(data, "batch", None), num_graphs=getattr(data, "num_graphs", None))
        pairs, e = self._pairs(data, graph, ptr)
        degree = graph.in_degree()
        for layer in self.layers:
            x, e = layer(x, pairs, e, degree)
        return self.head(x if self.pool == "none" else pool(x, ptr=ptr, reduce=self.pool))

    def _pairs(self, data: Any, graph: Graph, ptr: Tensor) -> tuple[Graph, Tensor]:
        """The attended pairs and their features."""
        index, walks = _attribute(data, self.index_attr), _walks(self.pair_walks, data, self.pair_attr)
        if index.dim() == 2:
            check_rows(f"data.{self.pair_attr}", walks, index.size(1), "pair")
        lists = (index, graph.edge_index)
        pairs, (place, edge_place) = attended_pairs(lists, graph.num_nodes, ptr=ptr if self.complete else None)
        e = _add_at(walks.new_zeros((pairs.num_edges, walks.size(1))), place, walks)
        if self.edge_encoder is not None:
            edges = self.edge_encoder(_attribute(data, "edge_attr"))
            check_rows("data.edge_attr", edges, graph.num_edges, "edge")
            e = _add_at(e, edge_place, edges.to(e.dtype))
        return pairs, e


def _encoder(given: torch.nn.Module | int, dim: int) -> torch.nn.Module:
    return LinearEncoder(given, dim) if isinstance(given, int) else given


def _walks(linear: torch.nn.Linear, data: Any, name: str) -> Tensor:
    value = _attribute(data, name)
    if value.dim() != 2 or value.size(1) != linear.in_features:
        raise ShapeError(f"data.{name} must have {linear.in_features} columns, one per step, got {tuple(value.shape)}")
    return linear(value.to(linear.weight.dtype))


def _add_at(rows: Tensor, place: Tensor, values: Tensor) -> Tensor:
    if rows.device.type == "cpu":
        return rows.index_add(0, place, values)
    # index_add uses atomics on accelerators; index_put with accumulation sorts first.
    return rows.index_put((place,), values, accumulate=True)


def _attribute(data: Any, name: str) -> Tensor:
    value = getattr(data, name, None)
    if not isinstance(value, Tensor):
        raise DataError(f"GRIT reads data.{name}, which is missing; check the dataset and its transforms")
    return value
