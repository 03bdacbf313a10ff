"""What all rewirings of undirected graphs share: they read a ``Data``, and write edges back without losing anything."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnkit.compat.pyg import edge_attributes
from gnnkit.errors import ConfigError, DataError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_seed
from gnnkit.transforms.base import GraphTransform

Fill = float | str | dict[str, "float | str"]

ORIGINAL, ADDED = 0, 1


@dataclass(frozen=True)
class Change:
    """What a rewiring does to a :class:`SimpleGraph`.

    Attributes:
        added: New edges, ``[2, A]``, each once, in either direction; none of them in the graph, none a self-loop.
        removed: Numbers of the edges that go, ``[R]``. None: none go.
        weight: Weight of each edge that stays, then of each that is added, float64; written to ``edge_weight``, where
            self-loops keep theirs. None: weights are left alone, and filled like any attribute.
        label: ``edge_type`` of each added edge, int64 ``[A]``. None: 1 for all.
    """

    added: Tensor
    removed: Tensor | None = None
    weight: Tensor | None = None
    label: Tensor | None = None


class Rewiring(GraphTransform):
    """Base of the transforms that add and remove undirected edges.

    A subclass says in :meth:`rewire` what is to change; reading and writing of the data is done here, the same for all:

    - ``edge_index`` must hold both directions of every edge, or there is a ``DataError``. Self-loops are set aside and
      put back. Multi-edges are merged where they carry the same attributes, and refused where merging would lose some.
    - The result has both directions of every edge, in order of source, then target, and ``edge_type``: 0 for original
      edges and self-loops, 1 for added ones. An ``edge_type`` of an earlier rewiring is kept: what it added stays 1.
    - Edge attributes of original edges are kept. Those of added edges are filled as ``edge_fill`` says.
    - Nodes, their attributes and those of the graph stay; a cached :class:`~gnnkit.Graph` goes.
    - A ``Batch`` is rewired graph by graph.

    Args:
        edge_fill: What added edges get in edge attributes: a number, or ``"mean"`` of the original edges' rows
            (floating dtypes only), for all attributes or by name in a dictionary. Not named: 1 for ``edge_weight``,
            0 else, so that a model can learn what an added edge means from ``edge_type``.
        seed: Seed of the random choices; the same graph and seed give the same result. Methods without random choices
            do not look at it.
    """

    def __init__(self, *, edge_fill: Fill | None = None, seed: int = 0) -> None:
        self.edge_fill = checked_fill(edge_fill)
        self.seed = check_seed(seed)

    @abstractmethod
    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        """What is to change in one graph; ``generator`` is the only source of chance."""

    def read(self, data: Any) -> SimpleGraph:
        """The graph that is rewired; a method that weights matter to reads them here as well."""
        return SimpleGraph.from_edge_index(data.edge_index, int(data.num_nodes), allow_self_loops=True)

    def transform(self, data: Any) -> Any:
        """Reads, rewires and writes one graph."""
        graph = self.read(data)
        change = self.rewire(graph, torch.Generator().manual_seed(self.seed))
        return apply_change(data, graph, change, self.edge_fill, name=type(self).__name__)


def edge_count(value: float, num_edges: int) -> int:
    """A number of edges: an integer as it is, a float in [0, 1] as that fraction of ``num_edges``, rounded half up."""
    if isinstance(value, int):
        return value
    return int(value * num_edges + 0.5)


def check_edge_count(name: str, value: object) -> float:
    """Raises ConfigError where ``value`` is neither a count nor a fraction."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{name} must be a number of edges (int) or a fraction of them (float), got {value!r}")
    if isinstance(value, float) and not 0 <= value <= 1:
        raise ConfigError(f"{name} as a fraction of the edges must lie in [0, 1], got {value}; an int is a count")
    if value < 0:
        raise ConfigError(f"{name} must not be negative, got {value}")
    return value


def apply_change(data: Any, graph: SimpleGraph, change: Change, fill: Fill | None, *, name: str) -> Any:
    """A copy of ``data`` with the edges changed. ``graph`` is what its ``edge_index`` was read as."""
    source, target = data.edge_index.cpu().long()
    loop = (source == target).nonzero().squeeze(1)
    # One column stands for each direction of each edge: attributes are taken from there.
    direction = torch.where(source < target, graph.column_edge, graph.column_edge + graph.num_edges)
    columns = torch.arange(source.numel())
    first = torch.full((2 * graph.num_edges,), source.numel()).scatter_reduce(
        0, direction[source != target], columns[source != target], "amin"
    )
    stays = torch.ones(graph.num_edges, dtype=torch.bool)
    if change.removed is not None:
        stays[change.removed] = False
    kept = torch.cat([first[stays.repeat(2)], loop])
    pairs = torch.cat([change.added, change.added.flip(0)], dim=1)
    edges = torch.cat([torch.stack([source[kept], target[kept]]), pairs], dim=1)
    order = (edges[0] * max(graph.num_nodes, 1) + edges[1]).argsort(stable=True)

    out, num_added = data.__copy__(), pairs.size(1)
    attributes = edge_attributes(data)
    _check_merging(attributes, first, direction, source != target, name)
    if change.weight is not None:
        attributes.pop("edge_weight", None)
    for key, value in attributes.items():
        if key != "edge_type":
            rows = _filled(key, value, kept.to(value.device), num_added, fill, name)
            out[key] = rows.index_select(0, order.to(value.device))
    device, dtype = data.edge_index.device, data.edge_index.dtype
    if change.weight is not None:
        out["edge_weight"] = _weights(data, change.weight, stays, loop, num_added)[order].to(device)
    types = torch.zeros(kept.numel(), dtype=torch.int64)
    if "edge_type" in attributes:
        types = _earlier_types(attributes["edge_type"], name)[kept]
    label = torch.full((change.added.size(1),), ADDED) if change.label is None else change.label
    out["edge_type"] = torch.cat([types, label, label])[order].to(device)
    out["edge_index"] = edges[:, order].to(device=device, dtype=dtype)
    for key in list(out.keys()):
        if isinstance(out[key], Graph):
            del out[key]
    if out.num_nodes != graph.num_nodes:
        out.num_nodes = graph.num_nodes
    return out


def _check_merging(attributes: dict[str, Tensor], first: Tensor, direction: Tensor, proper: Tensor, name: str) -> None:
    columns = proper.nonzero().squeeze(1)
    if columns.numel() == first.numel():
        return
    stands_for = first[direction[columns]]
    for key, value in attributes.items():
        rows = value.detach().cpu().unsqueeze(-1).flatten(1)
        differs = (rows[columns] != rows[stands_for]).any(1)
        if bool(differs.any()):
            where = int(columns[differs.nonzero()[0, 0]])
            raise DataError(
                f"{name}: columns {int(first[direction[where]])} and {where} of edge_index are the same edge with "
                f"different {key}; merge multi-edges first, for example with data.coalesce()"
            )


def _filled(key: str, value: Tensor, kept: Tensor, num_added: int, fill: Fill | None, name: str) -> Tensor:
    chosen = fill.get(key) if isinstance(fill, dict) else fill
    if chosen is None:
        chosen = 1.0 if key == "edge_weight" else 0.0
    shape = (num_added, *value.shape[1:])
    rows = value.index_select(0, kept)
    if chosen == "mean":
        if not value.is_floating_point():
            raise ConfigError(f"{name}: edge_fill='mean' needs a floating dtype, but {key} is {value.dtype}")
        row = value.mean(0, keepdim=True) if value.size(0) else value.new_zeros((1, *value.shape[1:]))
        return torch.cat([rows, row.expand(shape)])
    return torch.cat([rows, value.new_full(shape, chosen)])  # type: ignore[arg-type]


def _weights(data: Any, weight: Tensor, stays: Tensor, loop: Tensor, num_added: int) -> Tensor:
    num_kept = int(stays.sum())
    kept, added = weight[:num_kept], weight[num_kept:]
    given = data.get("edge_weight")
    dtype = given.dtype if isinstance(given, Tensor) and given.is_floating_point() else torch.get_default_dtype()
    if num_added != 2 * added.numel():
        raise ValueError("a change must give one weight to each edge that it keeps or adds")
    of_loop = weight.new_ones(loop.numel())
    if isinstance(given, Tensor):
        of_loop = given.detach().cpu().reshape(-1)[loop].to(weight.dtype)
    shape = (-1, *given.shape[1:]) if isinstance(given, Tensor) else (-1,)
    return torch.cat([kept, kept, of_loop, added, added]).to(dtype).reshape(shape)


def _earlier_types(value: Tensor, name: str) -> Tensor:
    types = value.detach().cpu().reshape(-1)
    if types.numel() != value.size(0) or not bool(((types == ORIGINAL) | (types == ADDED)).all()):
        raise DataError(
            f"{name} marks edges in data.edge_type (0 original, 1 added), which already holds other relations; "
            "move them to another attribute first, such as data.edge_relation"
        )
    return types.long()


def checked_fill(fill: Fill | None) -> Fill | None:
    """``fill``; raises ConfigError where it is neither a number, ``"mean"``, nor a dictionary of these."""
    for value in fill.values() if isinstance(fill, dict) else [fill]:
        if value is None or value == "mean" or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            continue
        raise ConfigError(f"edge_fill must be a number, 'mean', or a dictionary of these by attribute, got {value!r}")
    return fill
