"""A model of ``Data`` around any module that reads encoded nodes and edges."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.nn.config import NetworkConfig
from gnnkit.nn.graph_network import Dims, GraphNetwork, Head, boundaries, graph_of


class BodyModel(GraphNetwork):
    """Encoders, a body such as :class:`GSMPlusPlus` or :class:`GraphViT`, a readout where it is needed, and a head.

    Args:
        config: Of encoders, readout and head.
        body: Called as ``body(x, graph, edge_attr, ptr)`` with encoded nodes and edges of width
            ``config.hidden_dim``; returns nodes ``[N, hidden_dim]``, or graphs ``[G, hidden_dim]``.
        gives_graphs: Whether it returns graphs, which the head then reads as they are.
        node_dims: As of :class:`gnnkit.nn.GraphModel`.
        edge_dims: As there.
        num_outputs: As there.

    Raises:
        ConfigError: If the body returns graphs and the configuration asks for another readout than their mean, or a
            dimension that an encoder needs is missing.

    Determinism: bitwise, forward and backward, where the body is, for a given state of torch's global generator.
    """

    def __init__(
        self,
        config: NetworkConfig,
        body: torch.nn.Module,
        *,
        gives_graphs: bool,
        node_dims: Dims = None,
        edge_dims: Dims = None,
        num_outputs: int,
    ) -> None:
        super().__init__(config, node_dims=node_dims, edge_dims=edge_dims)
        if gives_graphs and config.pool != "mean":
            raise ConfigError(
                f'{type(body).__name__} takes the mean over patches itself, so pool must be "mean", got {config.pool!r}'
            )
        self.body = body
        self.gives_graphs = gives_graphs
        self.head = Head(config, num_outputs)

    def forward(self, data: Any) -> Tensor:
        """Predicts. Arguments, result and errors are those of :class:`gnnkit.nn.GraphModel`."""
        x = self.encode_nodes(data)
        out = self.body(x, graph_of(data), self.encode_edges(data), boundaries(x, data))
        return self.head(out if self.gives_graphs else self.readout(out, data))
