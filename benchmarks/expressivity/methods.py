"""The methods that are compared: what describes a graph, and which network reads the description."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import gnnkit


@dataclass(frozen=True)
class Method:
    """One way of telling graphs apart.

    The attributes that an encoding writes are told by patterns, in which ``{}`` stands for its ``attr_name``.

    Attributes:
        name: How the tables call it.
        encoding: Name of a class in ``gnnkit.encodings``; None: nodes are all alike.
        settings: Arguments of that class.
        node: Patterns of the attributes that have a row for every node.
        edge: Patterns of the attributes that have a row for every edge.
        pair: Patterns of an index of pairs of nodes ``[2, P]`` and of their features ``[P, *]``. None: there are no
            pairs.
        categories: The features of pairs are categories from 0 to one below this, which become one-hot rows.
        network: Which network reads it; see :mod:`benchmarks.expressivity.networks`.
    """

    name: str
    encoding: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    node: tuple[str, ...] = ()
    edge: tuple[str, ...] = ()
    pair: tuple[str, str] | None = None
    categories: int | None = None
    network: str = "gin"

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
        return {
            "encoding": self.encoding, "settings": self.settings, "network": self.network,
            "categories": self.categories,
            "attributes": [*self.node, *self.edge, *(self.pair or ())],
        }  # fmt: skip


ITSELF = ("{}",)
SPECTRUM = ("{}", "{}_eigenvalue", "{}_mask")
PAIRS = ("{}_index", "{}_value")

METHODS = (
    Method("none"),
    Method("none, GPS", network="gps"),
    Method("DegreeProfile", "DegreeProfile", node=ITSELF),
    Method("RandomWalk", "RandomWalk", {"steps": 20}, node=ITSELF),
    Method("RandomWalk, GPS", "RandomWalk", {"steps": 20}, node=ITSELF, network="gps"),
    Method("LaplacianEigenvectors", "LaplacianEigenvectors", {"k": 8}, node=SPECTRUM[:2]),
    Method("LaplacianEigenvectors, SignNet", "LaplacianEigenvectors", {"k": 8}, node=SPECTRUM, network="sign_net"),
    # All vectors of the largest graph of BREC: SPE needs whole eigenspaces.
    Method("LaplacianEigenvectors, SPE", "LaplacianEigenvectors", {"k": 197}, node=SPECTRUM, network="spe"),
    Method("HeatKernel", "HeatKernel", {"times": (0.5, 1.0, 2.0, 4.0)}, node=ITSELF),
    Method("CurvatureProfile", "CurvatureProfile", node=ITSELF),
    Method("ResistanceEmbedding", "ResistanceEmbedding", {"k": 8}, node=ITSELF),
    Method("EgoDegrees", "EgoDegrees", {"depth": 2}, node=ITSELF),
    Method("EgoDegrees, edges", "EgoDegrees", {"depth": 1, "level": "edge", "max_degree": 20}, edge=("edge_{}",)),
    Method("HopDistances", "HopDistances", {"max_distance": 20}, pair=("{}_index", "{}"), categories=21),
    Method("RelativeRandomWalk", "RelativeRandomWalk", {"steps": 20}, node=ITSELF, pair=PAIRS),
    Method(
        "RelativeRandomWalk, GRIT", "RelativeRandomWalk", {"steps": 20}, node=ITSELF, pair=PAIRS,
        network="grit",
    ),
    Method("GraphRandomFeatures", "GraphRandomFeatures", {"width": 16}, node=ITSELF),
    Method("RandomFeaturePropagation", "RandomFeaturePropagation", {"width": 8, "steps": 8}, node=ITSELF),
)  # fmt: skip
"""All methods. A further one is a further line here."""


@dataclass(frozen=True)
class Description:
    """What a method has to say of some graphs that stand side by side.

    Attributes:
        ptr: First node of each graph, and their number, ``[G + 1]``.
        edge_index: ``[2, E]``, in the order of the graphs.
        node: Node attributes, float64 ``[N, *]``, by pattern; one that is the same for all nodes if there are none.
        edge: Edge attributes, float64 ``[E, *]``, by pattern; may be empty.
        pair_index: Pairs of nodes, ``[2, P]``, in the order of the graphs; None without.
        pair: Their features, float64 ``[P, *]``; None without.
    """

    ptr: Tensor
    edge_index: Tensor
    node: dict[str, Tensor]
    edge: dict[str, Tensor]
    pair_index: Tensor | None = None
    pair: Tensor | None = None

    @property
    def x(self) -> Tensor:
        """All node attributes in one, ``[N, F]``."""
        return torch.cat(list(self.node.values()), dim=1)

    @property
    def edge_attr(self) -> Tensor | None:
        """All edge attributes in one, ``[E, D]``; None where there are none."""
        return torch.cat(list(self.edge.values()), dim=1) if self.edge else None


def describe(method: Method, transform: Any, batch: Any) -> Description:
    """Encodes a ``Batch`` and collects what the method uses.

    Raises:
        KeyError: If the encoding does not write an attribute that the method names.
        ValueError: If an attribute has another number of rows than there are nodes, edges or pairs.
    """
    encoded = batch if transform is None else transform(batch)
    ptr, edge_index = batch.ptr, batch.edge_index
    prefix = None if transform is None else transform.attr_name
    num_nodes = int(ptr[-1])
    node = {pattern: encoded[pattern.format(prefix)] for pattern in method.node} or {"none": torch.ones(num_nodes)}
    edge = {pattern: encoded[pattern.format(prefix)] for pattern in method.edge}
    pair_index = pair = None
    if method.pair is not None:
        pair_index, values = (encoded[pattern.format(prefix)] for pattern in method.pair)
        if method.categories is not None:
            values = torch.nn.functional.one_hot(values, method.categories)
        pair = _rows(method, {method.pair[1]: values}, pair_index.size(1))[method.pair[1]]
    return Description(
        ptr,
        edge_index,
        _rows(method, node, num_nodes),
        _rows(method, edge, edge_index.size(1)),
        pair_index,
        pair,
    )


def _rows(method: Method, values: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
    for pattern, value in values.items():
        if value.size(0) != rows:
            raise ValueError(f"{method.name}: attribute {pattern!r} has {value.size(0)} rows, expected {rows}")
    return {pattern: value.double().reshape(rows, -1) for pattern, value in values.items()}


def columns_by_graph(index: Tensor, ptr: Tensor) -> Tensor:
    """First column of each graph in an index of edges or pairs, and their number, ``[G + 1]``.

    Raises:
        ValueError: If the columns are not in the order of the graphs.
    """
    graph = torch.searchsorted(ptr, index[0].contiguous(), right=True) - 1
    if bool((graph.diff() < 0).any()):
        raise ValueError("edges or pairs are not in the order of the graphs")
    return torch.searchsorted(graph, torch.arange(ptr.numel()))
