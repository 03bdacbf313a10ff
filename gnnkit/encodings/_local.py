"""Encodings of edges and pairs that look at neighbourhoods: all graphs of a batch at once."""

from typing import Any

from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit.compat.pyg import put_edge_attribute, put_node_attribute, put_pairs
from gnnkit.encodings._encoding import Encoding


class LocalEncoding(Encoding):
    """Base of the encodings whose result for a graph is the same alone and beside others, edges and pairs included.

    They implement :meth:`encode`, which sees the graphs of a ``Batch`` as one graph of several components, and only its
    ``edge_index`` and number of nodes. An attribute whose name begins with ``edge_`` has one row per column of
    ``edge_index``. One whose name ends in ``_index`` holds pairs of nodes ``[2, P]``, ordered by graph, and the one
    with that name without the ending has one row per pair. All others have one row per node.
    """

    def forward(self, data: Any) -> Any:
        """A copy of a ``Data`` or ``Batch`` with the new attributes, on the device of ``edge_index``.

        Raises:
            DataError: If ``edge_index`` is missing, or nothing tells the number of nodes; and as the class says.
        """
        if not isinstance(data, Batch):
            return super().forward(data)
        graphs: Any = data
        union = Data(edge_index=graphs.edge_index, num_nodes=graphs.num_nodes)
        found = super().forward(union).to_dict()
        out = graphs.__copy__()
        for name in found.keys() - union.to_dict().keys():
            if name.startswith("edge_"):
                put_edge_attribute(out, name, found[name])
            elif name.endswith("_index"):
                of_pairs = name.removesuffix("_index")
                put_pairs(out, name, found[name], {of_pairs: found[of_pairs]})
            elif f"{name}_index" not in found:
                put_node_attribute(out, name, found[name])
        return out

    def _joins_graphs(self) -> bool:
        return True

    def _side_by_side(self, graphs: list[Any]) -> list[Any]:
        if len(graphs) == 1:
            return [self(graphs[0])]
        # Nothing else is looked at, so nothing else can keep graphs apart.
        bare: list[Any] = [Data(edge_index=data.edge_index, num_nodes=data.num_nodes) for data in graphs]
        results = []
        for data, encoded in zip(graphs, self(Batch.from_data_list(bare)).to_data_list(), strict=True):
            out = data.__copy__()
            for name, value in encoded.to_dict().items():
                if name not in ("edge_index", "num_nodes") and isinstance(value, Tensor):
                    # A view would keep, and save, the rows of all.
                    out[name] = value.clone()
            results.append(out)
        return results
