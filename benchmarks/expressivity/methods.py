"""The methods that are compared: what describes a graph, and which network reads the description."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import gnnkit


@dataclass(frozen=True)
class Method:
    """One way of telling graphs apart.

    The attributes that an encoding writes are told by suffixes to its ``attr_name``; ``""`` is that attribute itself.

    Attributes:
        name: How the tables call it.
        encoding: Name of a class in ``gnnkit.encodings``; None: nodes are all alike.
        settings: Arguments of that class.
        node: Suffixes of the attributes that have a row for every node.
        edge: Suffixes of the attributes that have a row for every edge.
        pair: Suffixes of an index of pairs of nodes ``[2, P]`` and of their features ``[P, *]``: the network then sends
            its messages along these pairs and not along the edges. None: there are no pairs.
        network: Which network reads it; see :mod:`benchmarks.expressivity.networks`.
        random: The encoding draws random numbers, so that relabelled copies of a graph may differ.
    """

    name: str
    encoding: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    node: tuple[str, ...] = ()
    edge: tuple[str, ...] = ()
    pair: tuple[str, str] | None = None
    network: str = "gin"
    random: bool = False

    def transform(self) -> Any:
        """The encoding; None where there is none.

        Raises:
            AttributeError: If this version of gnnkit has no such encoding.
        """
        if self.encoding is None:
            return None
        return getattr(gnnkit.encodings, self.encoding)(**self.settings)

    def description(self) -> dict[str, Any]:
        """All that results depend on, for records."""
        return {"encoding": self.encoding, "settings": self.settings, "network": self.network}


METHODS = (
    Method("none"),
    Method("RandomWalk", "RandomWalk", {"steps": 20}, node=("",)),
    Method("LaplacianEigenvectors", "LaplacianEigenvectors", {"k": 8}, node=("", "_eigenvalue")),
)
"""All methods. A further one is a further line here."""


@dataclass(frozen=True)
class Blocks:
    """The description of some graphs that stand side by side.

    Attributes:
        ptr: First node of each graph, and their number, ``[G + 1]``.
        edge_index: Along what messages go, ``[2, E]``: the edges, or the pairs of nodes where a method has some.
        edge_ptr: First column of each graph in ``edge_index``, ``[G + 1]``.
        node: Node attributes, float64 ``[N, *]``, by suffix; those of all nodes alike where a method has none.
        edge: Attributes of the columns of ``edge_index``, float64 ``[E, *]``, by suffix; may be empty.
    """

    ptr: Tensor
    edge_index: Tensor
    edge_ptr: Tensor
    node: dict[str, Tensor]
    edge: dict[str, Tensor]

    @property
    def x(self) -> Tensor:
        """All node attributes in one, ``[N, F]``."""
        return torch.cat(list(self.node.values()), dim=1)

    @property
    def edge_attr(self) -> Tensor | None:
        """All attributes of edges or pairs in one, ``[E, D]``; None where there are none."""
        return torch.cat(list(self.edge.values()), dim=1) if self.edge else None


def describe(method: Method, transform: Any, batch: Any) -> Blocks:
    """Encodes a ``Batch`` and collects what the method uses.

    Raises:
        KeyError: If the encoding does not write an attribute that the method names.
        ValueError: If an attribute has another number of rows than there are nodes, edges or pairs, or edges or pairs
            are not in the order of the graphs.
    """
    encoded = batch if transform is None else transform(batch)
    ptr, edge_index = batch.ptr, batch.edge_index
    prefix = None if transform is None else transform.attr_name
    node = {suffix: encoded[f"{prefix}{suffix}"] for suffix in method.node}
    edge = {suffix: encoded[f"{prefix}{suffix}"] for suffix in method.edge}
    if method.pair is not None:
        edge_index = encoded[f"{prefix}{method.pair[0]}"]
        edge = {method.pair[1]: encoded[f"{prefix}{method.pair[1]}"]}
    num_nodes, columns = int(ptr[-1]), edge_index.size(1)
    if not node:
        node = {"none": torch.ones(num_nodes, 1)}
    graph = torch.searchsorted(ptr, edge_index[0], right=True) - 1
    if bool((graph.diff() < 0).any()):
        raise ValueError(f"{method.name}: edges or pairs are not in the order of the graphs")
    edge_ptr = torch.searchsorted(graph.contiguous(), torch.arange(ptr.numel()))
    return Blocks(ptr, edge_index, edge_ptr, _rows(method, node, num_nodes), _rows(method, edge, columns))


def _rows(method: Method, values: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
    for suffix, value in values.items():
        if value.size(0) != rows:
            raise ValueError(f"{method.name}: attribute {suffix!r} has {value.size(0)} rows, expected {rows}")
    return {suffix: value.double().reshape(rows, -1) for suffix, value in values.items()}


def cut(blocks: Blocks, begin: int, end: int) -> Blocks:
    """Graphs ``begin:end`` alone."""
    first, last = int(blocks.ptr[begin]), int(blocks.ptr[end])
    edges = slice(int(blocks.edge_ptr[begin]), int(blocks.edge_ptr[end]))
    return Blocks(
        blocks.ptr[begin : end + 1] - first,
        blocks.edge_index[:, edges] - first,
        blocks.edge_ptr[begin : end + 1] - edges.start,
        {key: value[first:last] for key, value in blocks.node.items()},
        {key: value[edges] for key, value in blocks.edge.items()},
    )
