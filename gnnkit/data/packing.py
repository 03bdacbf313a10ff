"""Single graphs into one packed dataset."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data.columns import DatasetInfo, Ragged, ragged_dim
from gnnkit.data.packed import GraphDataset
from gnnkit.errors import DataError


def pack(
    graphs: Sequence[Data],
    info: DatasetInfo,
    split: Mapping[str, Tensor | Sequence[int]],
    *,
    kinds: Mapping[str, str] | None = None,
) -> GraphDataset:
    """Packs graphs that have the same attributes.

    An attribute belongs to nodes if in every graph it has as many rows as there are nodes, to edges if it has as many
    rows as there are edges, to the graph if it has one row, and is stored :class:`Ragged` otherwise. Where several
    of these hold for every graph, ``kinds`` decides, then the name (``y`` is the graph's, a name with ``edge`` in it
    the edges'), then the order node, edge, graph. Numbers become tensors with one row, as PyG's batches make them.

    Args:
        graphs: At least one.
        info: What is known of the dataset.
        split: Graph numbers of ``train``, ``val`` and ``test``.
        kinds: ``"node"``, ``"edge"`` or ``"graph"`` by attribute, where known.

    Raises:
        DataError: If there are no graphs, attributes differ between graphs, or an attribute is no tensor or number.
    """
    if not graphs:
        raise DataError("cannot pack a dataset without graphs")
    # Data.keys() is in no particular order.
    keys = [key for key in graphs[0].to_dict() if key != "num_nodes"]
    if "edge_index" not in keys:
        raise DataError(f"graphs must have an edge_index; graph 0 has only {', '.join(keys) or 'nothing'}")
    columns: dict[str, list[Tensor]] = {key: [] for key in keys}
    for number, data in enumerate(graphs):
        present = set(data.to_dict()) - {"num_nodes"}
        if present != set(keys):
            odd = ", ".join(sorted(present ^ set(keys)))
            raise DataError(f"graph {number} and graph 0 do not have the same attributes; only one of them has {odd}")
        for key in keys:
            columns[key].append(_tensor(key, data[key], number))
    node_counts = torch.tensor([int(data.num_nodes or 0) for data in graphs])
    edge_counts = torch.tensor([index.size(-1) for index in columns["edge_index"]])
    groups: dict[str, dict[str, Any]] = {"node": {}, "edge": {}, "graph": {}, "ragged": {}}
    edge_index = _concatenate("edge_index", columns.pop("edge_index"), 1)
    for key, values in columns.items():
        kind, counts = _kind(key, values, node_counts, edge_counts, (kinds or {}).get(key))
        packed = _concatenate(key, values, ragged_dim(key, values[0]))
        groups[kind][key] = Ragged(packed, _ptr(counts)) if kind == "ragged" else packed
    return GraphDataset(
        info,
        node_ptr=_ptr(node_counts),
        edge_ptr=_ptr(edge_counts),
        edge_index=edge_index,
        node=groups["node"],
        edge=groups["edge"],
        graph=groups["graph"],
        split={key: torch.as_tensor(members, dtype=torch.int64) for key, members in split.items()},
        ragged=groups["ragged"],
    )


def _ptr(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _tensor(key: str, value: Any, number: int) -> Tensor:
    if isinstance(value, bool | int | float):
        value = torch.tensor(value)
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise DataError(
            f"attribute {key!r} of graph {number} is {type(value).__name__}; a packed dataset holds only dense tensors "
            "and numbers. Remove it at the end of the transform."
        )
    return value.detach().unsqueeze(0) if value.dim() == 0 else value.detach()


def _kind(
    key: str, values: list[Tensor], node_counts: Tensor, edge_counts: Tensor, known: str | None
) -> tuple[str, Tensor]:
    counts = torch.tensor([value.size(ragged_dim(key, value)) for value in values])
    # PyG shifts these in a batch, which packed node and edge attributes are not.
    if "index" in key:
        return "ragged", counts
    fits = [
        kind
        for kind, expected in (("node", node_counts), ("edge", edge_counts), ("graph", torch.ones_like(counts)))
        if torch.equal(counts, expected)
    ]
    if not fits:
        return "ragged", counts
    named = "graph" if key == "y" else "edge" if "edge" in key else None
    for choice in (known, named):
        if choice in fits:
            return choice, counts
    return fits[0], counts


def _concatenate(key: str, values: list[Tensor], dim: int) -> Tensor:
    first = values[0]
    for number, value in enumerate(values):
        same = value.dtype == first.dtype and value.dim() == first.dim()
        if not same or any(
            size != other
            for axis, (size, other) in enumerate(zip(value.shape, first.shape, strict=True))
            if axis != dim
        ):
            raise DataError(
                f"attribute {key!r} of graph {number} is {tuple(value.shape)} of {value.dtype}, which cannot be joined "
                f"with {tuple(first.shape)} of {first.dtype} in graph 0"
            )
    return torch.cat(values, dim)
