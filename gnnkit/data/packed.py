"""Many graphs in a few tensors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from gnnkit.data.checks import check_packed, label_statistics
from gnnkit.data.columns import Column, DatasetInfo, Described, Ragged, ragged_dim
from gnnkit.data.rows import ids_of, rows_of
from gnnkit.errors import ShapeError

Ids = Tensor | Sequence[int] | Sequence[bool] | slice | np.ndarray | range


class GraphDataset(Described, Dataset[Data]):
    r"""A dataset of graphs, packed: every attribute is one tensor over all graphs.

    With :math:`G` graphs, :math:`N` nodes and :math:`E` directed edges in total, graph :math:`g` owns node rows
    ``node_ptr[g]:node_ptr[g + 1]`` and edge columns ``edge_ptr[g]:edge_ptr[g + 1]``; node numbers in ``edge_index``
    start from 0 in every graph. ``dataset[3]`` is a :class:`torch_geometric.data.Data`, ``dataset[mask]``,
    ``dataset[ids]`` and ``dataset[2:5]`` are datasets, and :meth:`batch` collates. It is an ordinary map-style dataset
    for :class:`torch_geometric.loader.DataLoader` too.

    Args:
        info: Name, task, metric and origin.
        node_ptr: ``[G + 1]`` int64, from 0 to ``N``.
        edge_ptr: ``[G + 1]`` int64, from 0 to ``E``.
        edge_index: ``[2, E]`` int64, local to each graph.
        node: Node attributes, ``[N, *]`` each.
        edge: Edge attributes, ``[E, *]`` each.
        graph: Graph attributes, ``[G, *]`` each, ``y`` among them: int64 ``[G]`` for ``multiclass``, else float32
            ``[G, T]`` with NaN for a missing label.
        split: ``train``, ``val``, ``test``: int64 graph numbers.
        ragged: Attributes with their own row counts.

    Raises:
        DataError: If sizes do not fit together, an edge leaves its graph, or splits overlap.
    """

    def __init__(
        self,
        info: DatasetInfo,
        *,
        node_ptr: Tensor,
        edge_ptr: Tensor,
        edge_index: Tensor,
        node: Mapping[str, Tensor],
        edge: Mapping[str, Tensor],
        graph: Mapping[str, Tensor],
        split: Mapping[str, Tensor],
        ragged: Mapping[str, Ragged] | None = None,
    ) -> None:
        self.info = info
        # Pointers and splits stay on the CPU, where sizes are read without waiting for a device.
        self.node_ptr = node_ptr
        self.edge_ptr = edge_ptr
        self.edge_index = edge_index
        self.node = dict(node)
        self.edge = dict(edge)
        self.graph = dict(graph)
        self.split = dict(split)
        self.ragged = dict(ragged or {})
        check_packed(self)

    @property
    def node_categories(self) -> tuple[int, ...] | None:
        """Number of categories of each column of an integer ``x``, else None."""
        return self.info.node_categories

    @property
    def edge_categories(self) -> tuple[int, ...] | None:
        """Number of categories of each column of an integer ``edge_attr``, else None."""
        return self.info.edge_categories

    @property
    def num_node_features(self) -> int:
        """Columns of ``x``; 0 without node features."""
        return _width(self.node.get("x"))

    @property
    def num_edge_features(self) -> int:
        """Columns of ``edge_attr``; 0 without edge features."""
        return _width(self.edge.get("edge_attr"))

    @property
    def device(self) -> torch.device:
        """Where the graphs are stored, and where batches are made."""
        return self.edge_index.device

    def __len__(self) -> int:
        return self.node_ptr.numel() - 1

    def __repr__(self) -> str:
        origin = "" if self.official else ", official=False"
        return (
            f"GraphDataset({self.name!r}, graphs={len(self)}, nodes={int(self.node_ptr[-1])}, "
            f"edges={int(self.edge_ptr[-1])}, task={self.task!r}{origin})"
        )

    def __iter__(self) -> Iterator[Data]:
        return (self[position] for position in range(len(self)))

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """All attributes in the order in which graphs and batches hold them."""
        columns = [Column(key, value, "node", self.node_ptr, 0, False) for key, value in self.node.items()]
        columns.append(Column("edge_index", self.edge_index, "edge", self.edge_ptr, 1, True))
        columns += [Column(key, value, "edge", self.edge_ptr, 0, False) for key, value in self.edge.items()]
        one_each = torch.arange(len(self) + 1)
        columns += [Column(key, value, "graph", one_each, 0, False) for key, value in self.graph.items()]
        for key, (values, ptr) in self.ragged.items():
            columns.append(Column(key, values, f"ragged {key}", ptr, ragged_dim(key, values), "index" in key))
        return tuple(columns)

    @overload
    def __getitem__(self, index: int) -> Data: ...
    @overload
    def __getitem__(self, index: Ids) -> "GraphDataset": ...
    def __getitem__(self, index: "int | Ids") -> "Data | GraphDataset":
        """One graph for an integer (negative from the end), a dataset for a slice, list, tensor or boolean mask.

        Raises:
            IndexRangeError: If a number is out of range.
            DtypeError: If a tensor holds neither integers nor booleans.
        """
        if isinstance(index, int | np.integer) or (isinstance(index, Tensor | np.ndarray) and index.ndim == 0):
            return self._one(int(ids_of([int(index)], len(self))))
        return self.select(index)

    def _one(self, number: int) -> Data:
        data = Data()
        for key, values, _, ptr, dim, _ in self.columns:
            start, stop = int(ptr[number]), int(ptr[number + 1])
            # A copy: whoever changes a graph in place must not change the dataset.
            data[key] = values.narrow(dim, start, stop - start).clone()
        if "x" not in self.node:
            data.num_nodes = int(self.node_ptr[number + 1] - self.node_ptr[number])
        return data

    def batch(self, ids: Ids) -> Batch:
        """Collates graphs into one, without a loop over graphs.

        The result equals ``Batch.from_data_list([dataset[i] for i in ids])`` in every attribute, and can be taken
        apart again with ``to_data_list()`` and ``batch[i]``.

        Args:
            ids: Graph numbers, ``[B]``, in the order wanted; a number given twice gives two graphs; or a boolean mask.

        Returns:
            The batch, on the dataset's device.

        Raises:
            ShapeError: If ``ids`` is empty or no vector.
            IndexRangeError: If a number is out of range.
            DtypeError: If ``ids`` holds neither integers nor booleans.

        Determinism: bitwise.
        Complexity: linear in the nodes and edges of the batch.
        """
        numbers = ids_of(ids, len(self))
        if numbers.numel() == 0:
            raise ShapeError("ids must name at least one graph, got none; PyG has no batch without graphs either")
        count = numbers.numel()
        index, ptr = self._index(numbers)
        offsets = ptr["node"][:-1]
        out: Any = Batch(_base_cls=Data)
        slices: dict[str, Tensor] = {}
        increments: dict[str, Tensor] = {}
        for key, values, rows, _, dim, shifted in self.columns:
            value = values.index_select(dim, index[rows])
            if shifted:
                shift = offsets.to(self.device)
                value += shift.repeat_interleave(ptr[rows].diff().to(self.device), output_size=value.size(dim))
            out[key] = value
            slices[key] = ptr[rows]
            increments[key] = offsets if shifted else torch.zeros(count, dtype=torch.int64)
        num_nodes = ptr["node"].diff()
        total = int(ptr["node"][-1])
        if "x" not in self.node:
            out._store._num_nodes = num_nodes.tolist()
            out.num_nodes = total
        order = torch.arange(count, device=self.device)
        out.batch = order.repeat_interleave(num_nodes.to(self.device), output_size=total)
        out.ptr = ptr["node"].to(self.device)
        # What PyG's own collation records, so that get_example and to_data_list work.
        out._num_graphs = count
        out._slice_dict = slices
        out._inc_dict = increments
        return out

    def _index(self, numbers: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        index: dict[str, Tensor] = {}
        ptr: dict[str, Tensor] = {}
        pointers = {column.rows: column.ptr for column in self.columns}
        for rows, pointer in {"node": self.node_ptr, **pointers}.items():
            index[rows], ptr[rows] = rows_of(pointer, numbers, self.device)
        return index, ptr

    def select(self, ids: Ids) -> "GraphDataset":
        """The dataset of some of the graphs, copied.

        Splits follow their graphs: ``split["val"]`` of the result holds the new numbers of those selected graphs that
        are in ``split["val"]`` here.

        Raises:
            IndexRangeError: If a number is out of range.
            DtypeError: If ``ids`` holds neither integers nor booleans.
        """
        numbers = ids_of(ids, len(self))
        index, ptr = self._index(numbers)
        cut = {key: values.index_select(dim, index[rows]) for key, values, rows, _, dim, _ in self.columns}
        split = {}
        for key, members in self.split.items():
            chosen = torch.zeros(len(self), dtype=torch.bool)
            chosen[members] = True
            split[key] = chosen[numbers].nonzero().flatten()
        return GraphDataset(
            self.info,
            node_ptr=ptr["node"],
            edge_ptr=ptr["edge"],
            edge_index=cut["edge_index"],
            node={key: cut[key] for key in self.node},
            edge={key: cut[key] for key in self.edge},
            graph={key: cut[key] for key in self.graph},
            split=split,
            ragged={key: Ragged(cut[key], ptr[f"ragged {key}"]) for key in self.ragged},
        )

    def statistics(self) -> dict[str, Any]:
        """Counts of graphs, nodes, directed edges, split sizes and labels, as the dataset card states them."""
        return {
            "graphs": len(self),
            "nodes": int(self.node_ptr[-1]),
            "edges": int(self.edge_ptr[-1]),
            "split": {key: members.numel() for key, members in self.split.items()},
            "labels": label_statistics(self.task, self.graph["y"], self.num_outputs),
        }

    def with_transform(
        self,
        transform: Callable[[Any], Any] | Sequence[Callable[[Any], Any]],
        *,
        progress: bool = True,
        cache: bool = True,
    ) -> "GraphDataset":
        """The dataset after a PyG transform of every graph; the result is kept on disk and found again.

        See :func:`gnnkit.data.transforms.transformed` for what identifies a result.

        Args:
            transform: ``Data -> Data``, or a list of them, applied in order.
            progress: Show a progress bar.
            cache: Look on disk first, and keep the result there.

        Raises:
            DataError: If the transformed graphs do not agree in their attributes, so that they cannot be packed.
        """
        from gnnkit.data.transforms import transformed

        return transformed(self, transform, progress=progress, cache=cache)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over all tensors with their names, dtypes and shapes; equal content, equal hash."""
        from gnnkit.data.storage import content_hash

        return content_hash(self)

    def save(self, folder: str | Path) -> None:
        """Writes the dataset as ``graphs.safetensors`` and ``dataset.json``; see :mod:`gnnkit.data.storage`."""
        from gnnkit.data.storage import save

        save(self, Path(folder))

    @classmethod
    def from_folder(cls, folder: str | Path) -> "GraphDataset":
        """Reads what :meth:`save` wrote.

        Raises:
            DataError: If a file is missing, truncated or changed, or the two do not belong together.
        """
        from gnnkit.data.storage import read

        return read(Path(folder))

    @classmethod
    def from_data_list(
        cls, graphs: Sequence[Data], info: DatasetInfo, split: Mapping[str, Tensor | Sequence[int]]
    ) -> "GraphDataset":
        """Packs single graphs; see :func:`gnnkit.data.packing.pack`.

        Raises:
            DataError: If the graphs do not agree in their attributes.
        """
        from gnnkit.data.packing import pack

        return pack(graphs, info, split)

    def with_info(self, **changes: Any) -> "GraphDataset":
        """The same graphs under changed :class:`DatasetInfo` fields."""
        return self._replaced(lambda values: values, replace(self.info, **changes))

    def to(self, device: torch.device | str) -> "GraphDataset":
        """The dataset with its graphs on another device, so that batches are made there; pointers stay on the CPU."""
        return self._replaced(lambda values: values.to(device), self.info)

    def _replaced(self, convert: Callable[[Tensor], Tensor], info: DatasetInfo) -> "GraphDataset":
        # Nothing that the constructor checks changes here.
        result = GraphDataset.__new__(GraphDataset)
        result.info = info
        result.node_ptr, result.edge_ptr, result.split = self.node_ptr, self.edge_ptr, dict(self.split)
        result.edge_index = convert(self.edge_index)
        result.node = {key: convert(value) for key, value in self.node.items()}
        result.edge = {key: convert(value) for key, value in self.edge.items()}
        result.graph = {key: convert(value) for key, value in self.graph.items()}
        result.ragged = {key: Ragged(convert(values), ptr) for key, (values, ptr) in self.ragged.items()}
        return result


def _width(values: Tensor | None) -> int:
    if values is None:
        return 0
    return values.size(1) if values.dim() > 1 else 1
