"""What all encodings share: they read a ``Data`` or ``Batch`` and give back a copy with more attributes."""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.transforms import BaseTransform

from gnnkit.compat.pyg import has_num_nodes, put_node_attribute
from gnnkit.errors import DataError


class Encoding(BaseTransform):
    """Base of the transforms that add positional or structural features.

    ``data.x`` is not touched: every feature is an attribute of its own, and a model says where it goes. The data given
    is left as it is. The attributes of an instance have the names of the constructor's arguments.

    An encoding of nodes alone that does not look across graphs implements :meth:`encode_nodes`, which sees a whole
    ``Batch`` at once, with the graph of each node. One with edge or pair features, or whose result for a graph depends
    on how many graphs there are, implements :meth:`encode`, which sees one graph at a time.
    """

    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        """Node attributes by name, each ``[N, *]``, for graphs that stand side by side.

        Args:
            data: A ``Data`` or ``Batch``; not to be changed.
            graph_of_node: Graph of each node, int64 ``[N]`` on the CPU, ascending.
        """
        raise NotImplementedError

    def encode(self, data: Any) -> dict[str, Tensor]:
        """All new attributes of one graph by name; those whose name ends in ``index`` hold nodes."""
        graph = torch.zeros(int(data.num_nodes), dtype=torch.int64)
        return self.encode_nodes(data, graph)

    def settings(self) -> dict[str, Any]:
        """The hyper-parameters by name, in the order of the constructor; for printing and for the key of a cache."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def forward(self, data: Any) -> Any:
        """A copy of a ``Data`` or ``Batch`` with the new attributes, on the device of ``edge_index``.

        Raises:
            DataError: If ``edge_index`` is missing, or nothing tells the number of nodes; and as the class says.
        """
        name = type(self).__name__
        whole = type(self).encode is Encoding.encode
        if isinstance(data, Batch) and not whole:
            graphs = [self.forward(graph) for graph in data.to_data_list()]
            return Batch.from_data_list(graphs) if graphs else data
        if not isinstance(data.edge_index, Tensor):
            raise DataError(f"{name} needs data.edge_index, which is missing")
        if not has_num_nodes(data):
            raise DataError(f"{name}: nothing tells the number of nodes; set data.num_nodes")
        batch = getattr(data, "batch", None)
        if whole and isinstance(batch, Tensor):
            found = self.encode_nodes(data, batch.cpu().long())
        else:
            found = self.encode(data)
        out = data.__copy__()
        for key, value in found.items():
            put_node_attribute(out, key, value.to(data.edge_index.device))
        return out

    def __repr__(self) -> str:
        """The settings."""
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.settings().items())})"
