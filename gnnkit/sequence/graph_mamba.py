"""Graph-Mamba: message passing beside a selective scan over the nodes in the order of their degrees."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.nn import GPSLayer, GraphNetwork, NetworkConfig
from gnnkit.nn.epilogue import Activation
from gnnkit.nn.graph_network import Dims, Head, boundaries, graph_of
from gnnkit.ops._checks import check_count
from gnnkit.sequence._models import checked_inputs, drawn_seed
from gnnkit.sequence.ordered_block import OrderedBlock, drawn_buckets
from gnnkit.sequence.parts import Block, Ordering


class GraphMambaLayer(torch.nn.Module):
    r"""One layer of Graph-Mamba (Wang et al., 2024): a GPS layer whose global part reads the nodes as a sequence.

    .. math::
        x^M &= \mathrm{norm}\bigl(x + \mathrm{dropout}(\mathrm{local}(x, A, e))\bigr), \qquad
        x^A = \mathrm{norm}\bigl(x + \mathrm{dropout}(\mathrm{block}_\pi(x))\bigr) \\
        x' &= \mathrm{norm}\bigl(x^M + x^A + \mathrm{FFN}(x^M + x^A)\bigr)

    :math:`\mathrm{block}_\pi` is the block on the nodes of each graph in the order :math:`\pi`
    (:class:`OrderedBlock`), and the rest :class:`gnnkit.nn.GPSLayer`. In the authors' runs the block is a
    :class:`Mamba` with ``expand=1`` that reads forward only, the local layer a :class:`gnnkit.nn.GatedGCNConv` (which
    has residual and dropout of its own), and the ordering :class:`Degree`: nodes of high degree come last and have read
    all others.

    **Random orders**, of an ordering with ``is_random``: in training every call draws a seed of its own from torch's
    global generator, so that the layers of a model read in different orders, as in the authors' code. In evaluation the
    seed is given, and results repeat. ``eval_orders`` above 1 averages what the block returns over that many orders, in
    evaluation; the authors report figures with 5. Where an ordering draws its numbers for places in the batch, as
    :class:`Degree` with noise does, evaluation of a graph depends on its place; ``Degree(noise=False)`` gives the same
    in every batch.

    **Buckets**, with ``num_buckets`` above 1: each node draws one of them, all alike, and the block reads the nodes of
    a graph that share a bucket as a sequence of their own, in the order :math:`\pi`, with the same weights. What one
    bucket says reaches the others by the local layer alone. The authors' ``_Bucket`` variant has 3, for Pascal-VOC,
    COCO and MalNet. Buckets are drawn by the seeds of random orders, at the same times and for places in the batch; so
    ``eval_orders`` averages over them too, also where the ordering is not random.

    >>> import torch
    >>> from gnnkit import Graph, nn
    >>> from gnnkit.sequence import Degree, GraphMambaLayer, Mamba
    >>> layer = GraphMambaLayer(8, Mamba(8, expand=1), Degree(), local=nn.GatedGCNConv(8, 8))
    >>> graph = Graph.from_edge_index(torch.tensor([[0, 1, 3], [1, 2, 4]]), num_nodes=5)
    >>> x, edge = layer(torch.randn(5, 8), graph, torch.randn(3, 8), ptr=torch.tensor([0, 3, 5]))
    >>> x.shape, edge.shape
    (torch.Size([5, 8]), torch.Size([3, 8]))

    Args:
        dim: Width of nodes, of input and output.
        block: A module with the interface of :class:`gnnkit.sequence.parts.Block`.
        ordering: In which order it reads.
        local: As of :class:`gnnkit.nn.GPSLayer`. None: no message passing.
        dropout: As there.
        activation: As there.
        norm: As there.
        feed_forward: As there.
        local_residual: As there.
        eval_orders: Number of random orders that evaluation averages over.
        num_buckets: Number of buckets. 1: the nodes of a graph are one sequence.

    Attributes:
        is_random: Whether results depend on the seed: by the ordering or by buckets.

    Raises:
        ConfigError: If the block has another width, ``eval_orders`` is above 1 where nothing is random, or a setting is
            unknown or out of range.

    Determinism: bitwise, forward and backward, where the parts are, for a given state of torch's global generator.
    Complexity: that of the parts, and ``O(N dim^2)``.
    """

    def __init__(
        self,
        dim: int,
        block: Block,
        ordering: Ordering,
        *,
        local: torch.nn.Module | None = None,
        dropout: float = 0.0,
        activation: Activation = "relu",
        norm: str = "batch",
        feed_forward: bool = True,
        local_residual: bool | None = None,
        eval_orders: int = 1,
        num_buckets: int = 1,
    ) -> None:
        super().__init__()
        if block.dim != dim:
            raise ConfigError(f"the block must be as wide as the layer, {dim}, got block.dim = {block.dim}")
        global_layer = OrderedBlock(block, num_buckets=num_buckets)
        self.is_random = ordering.is_random or num_buckets > 1
        check_eval_orders(eval_orders, self.is_random, ordering)
        self.gps = GPSLayer(
            dim,
            local,
            global_layer,
            dropout=dropout,
            activation=activation,
            norm=norm,
            feed_forward=feed_forward,
            local_residual=local_residual,
        )
        self.dim = dim
        self.ordering = ordering
        self.eval_orders = eval_orders
        self.num_buckets = num_buckets
        # A module of one's own is given the edge features that there are.
        self.uses_edges = local is not None and getattr(local, "edge_input", "features") == "features"

    def forward(
        self,
        x: Tensor,
        graph: Graph,
        edge_attr: Tensor | None = None,
        ptr: Tensor | None = None,
        *,
        seed: int | None = None,
        order: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Updates the nodes, and the edges where the local layer does.

        Args:
            x: Node features, ``[N, dim]``.
            graph: The topology, of which the ordering and the local layer read.
            edge_attr: Edge features for the local layer, one row per edge in the caller's order.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``. None: one graph.
            seed: Of a random order and of buckets; seeds of different layers should differ. None: drawn from torch's
                global generator in training, 0 in evaluation.
            order: An order that is known already, int64 ``[N]``; the ordering is then not asked.

        Returns:
            Node features, ``[N, dim]``; and the edge features that the local layer returned, else ``edge_attr``.

        Raises:
            ShapeError: If ``x`` does not fit the graph, an order is no permutation, or a part returns another shape.
            IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
        """
        x, ptr = checked_inputs(x, graph, ptr, layer="GraphMambaLayer", width=self.dim)
        seeds = self._seeds(seed, order)
        # An order is no function that could be differentiated.
        orders = self._orders(x.detach(), graph, ptr, seeds) if order is None else [order] * len(seeds)
        given: dict[str, Any] = {"orders": orders}
        if self.num_buckets > 1:
            given["buckets"] = [drawn_buckets(x.size(0), self.num_buckets, each, x.device) for each in seeds]
        return self.gps(x, graph, edge_attr, ptr, global_arguments=given)

    def _seeds(self, seed: int | None, order: Tensor | None) -> list[int]:
        """The seed of each draw; one where nothing is drawn."""
        draws = self.num_buckets > 1 or (self.ordering.is_random and order is None)
        seed = drawn_seed(seed, draws, self.training)
        count = self.eval_orders if draws and not self.training else 1
        return [seed * count + draw for draw in range(count)]

    def _orders(self, x: Tensor, graph: Graph, ptr: Tensor, seeds: list[int]) -> list[Tensor]:
        if not self.ordering.is_random:
            return [self.ordering(graph, ptr, x)] * len(seeds)
        return [self.ordering(graph, ptr, x, seed=seed) for seed in seeds]

    def extra_repr(self) -> str:
        """The settings that the parts do not show."""
        return f"ordering={self.ordering!r}, eval_orders={self.eval_orders}"


class GraphMamba(GraphNetwork):
    """Graph-Mamba (Wang et al., 2024): encoders, :class:`GraphMambaLayer` s, readout and head.

    Wang et al., "Graph-Mamba: towards long-range graph sequence modeling with selective state spaces", 2024.

    Orders that are not random are found once, from the encoded nodes, and shared by all layers that hold the same
    ordering. In evaluation, layer ``l`` reads in the random order, and has the buckets, of seed ``l``.

    Args:
        config: Of encoders, readout and head.
        layers: The layers, all of width ``config.hidden_dim``.
        node_dims: As of :class:`gnnkit.nn.GraphModel`.
        edge_dims: As there.
        num_outputs: As there.

    Raises:
        ConfigError: If there is no layer, one has another width, or a dimension that an encoder needs is missing.

    Determinism: bitwise, forward and backward, where the layers are, for a given state of torch's global generator; in
    evaluation, whatever that state.
    """

    def __init__(
        self,
        config: NetworkConfig,
        layers: Sequence[GraphMambaLayer],
        *,
        node_dims: Dims = None,
        edge_dims: Dims = None,
        num_outputs: int,
    ) -> None:
        super().__init__(config, node_dims=node_dims, edge_dims=edge_dims)
        self.layers = check_layers(layers, config.hidden_dim)
        self.head = Head(config, num_outputs)

    def forward(self, data: Any) -> Tensor:
        """Predicts. Arguments, result and errors are those of :class:`gnnkit.nn.GraphModel`."""
        x = self.encode_nodes(data)
        edge = self.encode_edges(data) if any(layer.uses_edges for layer in stacked(self.layers)) else None
        x = apply_layers(stacked(self.layers), x, graph_of(data), edge, boundaries(x, data))
        return self.head(self.readout(x, data))


def check_layers(layers: Sequence[GraphMambaLayer], dim: int) -> torch.nn.ModuleList:
    """The layers of a model of that width. Raises ConfigError where there is none, or one of another width."""
    if not layers:
        raise ConfigError("the model needs at least one layer, got none")
    for place, layer in enumerate(layers):
        if layer.dim != dim:
            raise ConfigError(f"layers must be as wide as the model, {dim}, but layer {place} has width {layer.dim}")
    return torch.nn.ModuleList(layers)


def stacked(layers: torch.nn.ModuleList) -> list[GraphMambaLayer]:
    """The layers, as what they are."""
    return cast(list[GraphMambaLayer], list(layers))


def apply_layers(
    layers: Sequence[GraphMambaLayer], x: Tensor, graph: Graph, edge: Tensor | None, ptr: Tensor, *, seed: int = 0
) -> Tensor:
    """The nodes after all layers, with orders as :class:`GraphMamba` says; ``seed`` tells draws in evaluation apart."""
    fixed: dict[int, Tensor] = {}
    for place, layer in enumerate(layers):
        ordering = layer.ordering
        if not ordering.is_random and id(ordering) not in fixed:
            fixed[id(ordering)] = ordering(graph, ptr, x.detach())
        drawn = None if layer.training else seed * len(layers) + place
        given = edge if layer.uses_edges else None
        x, changed = layer(x, graph, given, ptr, seed=drawn, order=fixed.get(id(ordering)))
        edge = changed if layer.uses_edges else edge
    return x


def check_eval_orders(count: int, is_random: bool, part: object) -> None:
    """Raises ConfigError where ``count`` is no count, or draws would all be the same."""
    check_count("eval_orders", count, 1)
    if count > 1 and not is_random:
        raise ConfigError(
            f"eval_orders = {count} would average equal results, since {part!r} is not random; set it to 1"
        )
