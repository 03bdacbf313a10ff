"""What all encodings share: they read a ``Data`` or ``Batch`` and give back a copy with more attributes."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch

from gnnkit.compat.pyg import put_node_attribute
from gnnkit.transforms.base import Transform

_NODES_AT_ONCE = 4096


class Encoding(Transform):
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

    def forward(self, data: Any) -> Any:
        """A copy of a ``Data`` or ``Batch`` with the new attributes, on the device of ``edge_index``.

        Raises:
            DataError: If ``edge_index`` is missing, or nothing tells the number of nodes; and as the class says.
        """
        whole = type(self).encode is Encoding.encode
        if not whole and isinstance(data, Batch):
            graphs = [self.forward(graph) for graph in data.to_data_list()]
            return Batch.from_data_list(graphs) if graphs else data
        self.check(data)
        given: Any = data
        batch = given.to_dict().get("batch")
        if whole and isinstance(batch, Tensor):
            found = self.encode_nodes(given, batch.cpu().long())
        else:
            found = self.encode(given)
        out = given.__copy__()
        for key, value in found.items():
            put_node_attribute(out, key, value.to(given.edge_index.device))
        return out

    def forward_many(self, graphs: Sequence[Any]) -> list[Any]:
        """``[self(data) for data in graphs]`` for single ``Data``.

        Small graphs stand side by side where the class implements :meth:`encode_nodes`, or looks at neighbourhoods
        alone, so that what a call costs is paid once for all of them; :func:`gnnkit.transforms.apply` and the data sets
        of gnnkit use this.
        """
        if not self._joins_graphs():
            return [self(data) for data in graphs]
        return [result for group in self._groups(graphs) for result in self._side_by_side(group)]

    def _joins_graphs(self) -> bool:
        """Whether :meth:`forward_many` may put graphs side by side."""
        kind = type(self)
        return kind.encode is Encoding.encode and kind.forward is Encoding.forward

    def _groups(self, graphs: Sequence[Any]) -> Iterator[list[Any]]:
        """Neighbours of one class with the same attributes, of limited size together."""
        group: list[Any] = []
        size, shared = 0, None
        for data in graphs:
            self.check(data)
            form, num_nodes = (type(data), data.edge_index.device, data.to_dict().keys()), int(data.num_nodes)
            if group and (form != shared or size + num_nodes > _NODES_AT_ONCE):
                yield group
                group, size = [], 0
            group.append(data)
            size, shared = size + num_nodes, form
        if group:
            yield group

    def _side_by_side(self, graphs: list[Any]) -> list[Any]:
        if len(graphs) == 1 or "batch" in graphs[0]:
            return [self(data) for data in graphs]
        try:
            batch: Any = Batch.from_data_list(graphs)
        except (RuntimeError, TypeError, ValueError, AttributeError):
            # Other attributes of theirs have nothing in common, such as numbers of columns.
            return [self(data) for data in graphs]
        found = self.encode_nodes(batch, batch.batch.cpu())
        results = [data.__copy__() for data in graphs]
        sizes = batch.ptr.diff().tolist()
        for key, value in found.items():
            for out, rows in zip(results, value.to(batch.edge_index.device).split(sizes), strict=True):
                # A view would keep, and save, the rows of all.
                out[key] = rows.clone()
        return results
