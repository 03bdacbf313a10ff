"""What the expansions share: they read a hypergraph, and give a graph."""

from typing import Any

from torch import Tensor

from gnnkit.errors import DataError, ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import describe
from gnnkit.transforms.base import GraphTransform


class Expansion(GraphTransform):
    """Base of the transforms of a hypergraph into a graph.

    They take a :class:`HyperData`, or a ``Data`` with the same names, and give a ``Data``; a ``Batch`` is expanded
    graph by graph. Attributes of hyperedges, which are those with ``hyperedge`` in their name, go unless the transform
    says otherwise; a cached :class:`~gnnkit.Graph` goes as well.
    """

    def check(self, data: Any) -> None:
        """Raises DataError where there are edges already, which an expansion would replace."""
        if "edge_index" in data:
            raise DataError(
                f"{type(self).__name__} makes data.edge_index, which is there already; remove it, or give the "
                "hypergraph in a HyperData of its own"
            )

    @staticmethod
    def attributes(data: Any) -> dict[str, Any]:
        """What belongs to nodes or to the whole."""
        return {
            key: value
            for key, value in data.to_dict().items()
            if "hyperedge" not in key and key != "num_nodes" and not isinstance(value, Graph)
        }


def check_hyperedge_rows(value: Any, num_hyperedges: int, name: str) -> None:
    """Raises ShapeError where an attribute has not one row per hyperedge."""
    if not isinstance(value, Tensor) or value.dim() == 0 or value.size(0) != num_hyperedges:
        found = describe(value) if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError(f"{name} must have one row per hyperedge, {num_hyperedges}, got {found}")
