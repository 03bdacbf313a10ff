"""What every transform of gnnkit has in common: its settings, and what it needs of a graph."""

import inspect
from abc import abstractmethod
from typing import Any

from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.transforms import BaseTransform

from gnnkit.compat.pyg import has_num_nodes
from gnnkit.errors import DataError


class Transform(BaseTransform):
    """Base of the transforms: ``Data`` or ``Batch`` in, another one out.

    The attributes of an instance have the names of the constructor's arguments, and there are no others: the settings
    are what printing shows, and with the class the key under which a cache keeps a result.
    """

    def settings(self) -> dict[str, Any]:
        """The hyper-parameters by name, in the order of the constructor; for printing and for the key of a cache."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        """The settings."""
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.settings().items())})"

    def check(self, data: Any) -> None:
        """Raises DataError where ``data`` has no ``edge_index``, or nothing tells the number of nodes."""
        name = type(self).__name__
        if not isinstance(data.edge_index, Tensor):
            raise DataError(f"{name} needs data.edge_index, which is missing")
        if not has_num_nodes(data):
            raise DataError(f"{name}: nothing tells the number of nodes; set data.num_nodes")


class GraphTransform(Transform):
    """Base of the transforms of one graph; on a ``Batch`` they work graph by graph."""

    @abstractmethod
    def transform(self, data: Any) -> Any:
        """The new ``Data``; the one given, which has passed :meth:`check`, is left as it is."""

    def forward(self, data: Any) -> Any:
        """Works on a ``Data`` or ``Batch``; the one given is left as it is.

        Raises:
            DataError: If what the transform needs is missing, or not as it must be.
            ConfigError: If a setting does not fit the data.
        """
        if isinstance(data, Batch):
            graphs = [self.forward(graph) for graph in data.to_data_list()]
            return Batch.from_data_list(graphs) if graphs else data
        self.check(data)
        return self.transform(data)
