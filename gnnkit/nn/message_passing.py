"""Message passing with three ordinary methods."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import NodeFeatures, check_rows, endpoint_features


class MessagePassing(torch.nn.Module):
    r"""Base class of layers that send one message along every edge.

    .. math::
        x_i' = \mathrm{update}\Bigl(\bigoplus_{e : j \to i} \mathrm{message}(x_j, x_i, a_e),\; x_i\Bigr)

    Override :meth:`message`, and where needed :meth:`aggregate` and :meth:`update`; they are called with exactly these
    arguments. A layer of one's own:

    >>> import torch
    >>> from gnnkit import Graph, nn
    >>> class DifferenceConv(nn.MessagePassing):
    ...     def __init__(self, width: int) -> None:
    ...         super().__init__(reduce="max")
    ...         self.linear = torch.nn.Linear(width, width)
    ...     def message(self, x_src, x_dst, edge_attr):
    ...         return self.linear(x_src - x_dst).relu()
    >>> graph = Graph.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 2]]), num_nodes=4)
    >>> DifferenceConv(8)(torch.randn(4, 8), graph).shape
    torch.Size([4, 8])

    The messages are materialised, ``[E, F]``. Where the message is a weighted copy of the source, ``ops.spmm`` gives
    the same result without them; ``GCNConv`` and others do so.

    Args:
        reduce: How :meth:`aggregate` combines the messages that arrive at a node: ``"sum"``, ``"mean"``, ``"min"`` or
            ``"max"``. A node without in-edges gets 0.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(E F)`` time and memory besides what :meth:`message` takes.
    """

    def __init__(self, reduce: str = "sum") -> None:
        super().__init__()
        self.reduce = reduce

    def forward(self, x: NodeFeatures, graph: Graph, edge_attr: Tensor | None = None) -> Tensor:
        """Sends the messages and updates the destinations.

        Args:
            x: Node features ``[N, *]``, or ``(x_src, x_dst)`` of a bipartite graph, ``[num_src, *]`` and
                ``[num_dst, *]``.
            graph: The topology; edges point from source to destination.
            edge_attr: Edge features ``[E, *]`` in the caller's edge order.

        Returns:
            What :meth:`update` returns, one row per destination.

        Raises:
            ShapeError: If ``x`` or ``edge_attr`` does not fit the graph.
        """
        x_src, x_dst = endpoint_features(x, graph, layer=type(self).__name__)
        if x_dst is None:
            raise ShapeError(f"{type(self).__name__} needs features of the destinations, got (x_src, None)")
        if edge_attr is not None:
            check_rows("edge_attr", edge_attr, graph.num_edges, "edge")
        messages = self.message(ops.gather(graph, x_src, "src"), ops.gather(graph, x_dst, "dst"), edge_attr)
        return self.update(self.aggregate(messages, graph), x_dst)

    def message(self, x_src: Tensor, x_dst: Tensor, edge_attr: Tensor | None) -> Tensor:
        """The message of each edge, ``[E, *]``; the source's features unless overridden.

        Args:
            x_src: Features of each edge's source, ``[E, *]``.
            x_dst: Features of each edge's destination, ``[E, *]``.
            edge_attr: Features of each edge, ``[E, *]``, or None where the caller gave none.
        """
        return x_src

    def aggregate(self, messages: Tensor, graph: Graph) -> Tensor:
        """Combines the messages ``[E, *]`` that arrive at each destination, ``[num_dst, *]``, by ``reduce``."""
        return ops.aggregate(graph, messages, self.reduce)

    def update(self, aggregated: Tensor, x: Tensor) -> Tensor:
        """The new features of the destinations; the aggregated messages unless overridden.

        Args:
            aggregated: What :meth:`aggregate` returned, ``[num_dst, *]``.
            x: Features of the destinations, ``[num_dst, *]``.
        """
        return aggregated
