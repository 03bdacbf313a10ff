"""Curvature of the edges around a node."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gnnkit import geometry, ops
from gnnkit.encodings._encoding import Encoding
from gnnkit.encodings._moments import at_rank, in_order, mean_and_deviation
from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import describe

Curvature = Callable[..., Tensor]


def _jost_liu_lower(edge_index: Tensor, num_nodes: int) -> Tensor:
    return geometry.jost_liu_bounds(edge_index, num_nodes)[0]


def _jost_liu_upper(edge_index: Tensor, num_nodes: int) -> Tensor:
    return geometry.jost_liu_bounds(edge_index, num_nodes)[1]


_CURVATURES: dict[str, Curvature] = {
    "ollivier_ricci": geometry.ollivier_ricci,
    "lin_lu_yau": geometry.lin_lu_yau,
    "forman": geometry.forman,
    "augmented_forman": geometry.augmented_forman,
    "balanced_forman": geometry.balanced_forman,
    "resistance_curvature": geometry.resistance_curvature,
    "jost_liu_lower": _jost_liu_lower,
    "jost_liu_upper": _jost_liu_upper,
}
_BOUNDS = "jost_liu_bounds"
_STATISTICS = ("profile", "extremes")


class CurvatureProfile(Encoding):
    r"""Local curvature profile: statistics of the curvature of the edges at every node.

    .. math::
        [\min K_i, \max K_i, \mathrm{mean}\, K_i, \mathrm{std}\, K_i, \mathrm{median}\, K_i], \qquad
        K_i = \{\!\{ \kappa(i, j) : j \sim i \}\!\}

    `Fesser and Weber, Effective structural encodings via local curvature profiles (ICLR 2024)
    <https://arxiv.org/abs/2311.14864>`_. The deviation is that of the population; the median of an even number of
    values is the mean of the middle two. An isolated node has zeros.

    ``curvature`` is the name of a function of :mod:`gnnkit.geometry`, with its ``options``: ``"ollivier_ricci"`` (the
    paper's, with ``alpha`` 0), ``"lin_lu_yau"``, ``"forman"``, ``"augmented_forman"``, ``"balanced_forman"`` or
    ``"resistance_curvature"``; ``"jost_liu_lower"`` or ``"jost_liu_upper"``, bounds of the first one that take no
    transport; or ``"jost_liu_bounds"``, the paper's form for large graphs with two columns, the least of the lower and
    the greatest of the upper bounds. Or it is a function of ``(edge_index, num_nodes)`` that gives one number per
    column of ``edge_index``, ``[E]``, of which columns of one edge are averaged.

    ``statistics="extremes"`` is the paper's other form: all values in ascending order where there are at most five, and
    zeros behind them where there are fewer; of more values the three smallest and the two largest.

    Edges are undirected, and a multi-edge counts once. Curvature depends on one connected component, and so a function
    must keep it: all graphs of a ``Batch`` are given to it side by side, as one graph.

    Args:
        curvature: Name or function.
        options: Arguments of the named function by name, for example ``{"alpha": 0.5}``. A function of one's own gets
            its arguments from :func:`functools.partial`.
        statistics: ``"profile"`` or ``"extremes"``.
        attr_name: Name of the node attribute that is written, float32 ``[N, 5]``, or ``[N, 2]`` with
            ``"jost_liu_bounds"``.
        weight_attr: Name of the edge attribute that holds weights, positive, for curvatures that take them: lengths for
            ``"ollivier_ricci"``, conductances for ``"forman"`` and ``"resistance_curvature"``. None: no weights, as in
            the paper.

    Raises:
        ConfigError: If ``curvature``, ``statistics`` or the name of an option is unknown, or the curvature takes no
            weights. What options hold is checked by the named function, when the transform is made.
        DataError: In a call, if a direction of an edge is missing (the graph is directed), there is a self-loop, the
            weights are missing, not positive or not finite, or a function gives a value that is not finite.
        IndexRangeError: In a call, if an edge leaves the range of the nodes.
        ShapeError: In a call, if there is not one weight or not one curvature per column of ``edge_index``.

    Determinism: that of the curvature; bitwise for all that are named. Computed in float64.
    Complexity: that of the curvature, and ``O(E log E)``.
    """

    def __init__(
        self,
        curvature: str | Curvature = "ollivier_ricci",
        *,
        options: dict[str, Any] | None = None,
        statistics: str = "profile",
        attr_name: str = "curvature_profile",
        weight_attr: str | None = None,
    ) -> None:
        if statistics not in _STATISTICS:
            raise ConfigError(f"statistics must be 'profile' or 'extremes', got {statistics!r}")
        if statistics == "extremes" and curvature == _BOUNDS:
            raise ConfigError(f"{_BOUNDS!r} has two columns of its own and no extremes; choose 'jost_liu_lower'")
        _check_curvature(curvature, options or {}, weight_attr)
        self.curvature = curvature
        self.options = None if options is None else dict(options)
        self.statistics = statistics
        self.attr_name = attr_name
        self.weight_attr = weight_attr

    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        """The profile."""
        edge_index, size = data.edge_index.cpu().long(), graph_of_node.numel()
        graph = SimpleGraph.from_edge_index(edge_index, size)
        if self.curvature == _BOUNDS:
            lower, upper = geometry.jost_liu_bounds(edge_index, size)
            (ptr, lower), (_, upper) = _at_nodes(graph, lower), _at_nodes(graph, upper)
            columns = [ops.segment_reduce(lower, ptr, "min"), ops.segment_reduce(upper, ptr, "max")]
        else:
            ptr, value = _at_nodes(graph, self._values(data, edge_index, size))
            columns = _extremes(ptr, value) if self.statistics == "extremes" else _profile(ptr, value)
        return {self.attr_name: torch.stack(columns, dim=1).float()}

    def _values(self, data: Any, edge_index: Tensor, size: int) -> Tensor:
        if callable(self.curvature):
            return _checked_values(self.curvature(edge_index, size), edge_index.size(1))
        options = dict(self.options or {})
        if self.weight_attr is not None:
            options["weight"] = data.get(self.weight_attr)
            if options["weight"] is None:
                raise DataError(f"CurvatureProfile: data.{self.weight_attr} is missing; set it, or weight_attr=None")
        return _CURVATURES[self.curvature](edge_index, size, **options)


def _check_curvature(curvature: object, options: dict[str, Any], weight_attr: str | None) -> None:
    """Raises ConfigError where the name, an option or weights do not fit; values of options by a call without edges."""
    if callable(curvature):
        if options or weight_attr is not None:
            raise ConfigError("a function of one's own takes neither options nor weight_attr; use functools.partial")
        return
    if not isinstance(curvature, str) or curvature not in (*_CURVATURES, _BOUNDS):
        raise ConfigError(
            f"curvature must be a function or one of {', '.join((*_CURVATURES, _BOUNDS))}, got {curvature!r}"
        )
    function = _CURVATURES.get(curvature, geometry.jost_liu_bounds)
    known = list(inspect.signature(function).parameters)[2:]
    if weight_attr is not None and "weight" not in known:
        raise ConfigError(f"curvature {curvature!r} takes no weights; set weight_attr=None")
    known = [name for name in known if name != "weight"]
    for name in options:
        if name == "weight":
            raise ConfigError("weights are an attribute of the data: name it with weight_attr")
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1, 0)
            hint = f"; did you mean {near[0]!r}?" if near else ", which takes none"
            raise ConfigError(f"{name!r} is no option of {curvature!r}{hint}")
    function(torch.empty((2, 0), dtype=torch.int64), 0, **options)


def _checked_values(value: object, num_columns: int) -> Tensor:
    if not isinstance(value, Tensor) or value.shape != (num_columns,) or value.is_complex():
        given = describe(value) if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError(f"curvature must give one real number per column of edge_index, [{num_columns}], got {given}")
    value = value.detach().cpu().double()
    bad = ~value.isfinite()
    if bool(bad.any()):
        column = int(bad.nonzero()[0, 0])
        raise DataError(f"curvature must be finite, but column {column} has {float(value[column])}")
    return value


def _at_nodes(graph: SimpleGraph, value: Tensor) -> tuple[Tensor, Tensor]:
    """From one value per column, boundaries of the nodes and the values of the edges of each, ascending."""
    columns = torch.bincount(graph.column_edge, minlength=graph.num_edges)
    of_edge = value.new_zeros(graph.num_edges).index_add(0, graph.column_edge, value) / columns
    return in_order(graph.ends.reshape(-1), of_edge.repeat(2), graph.num_nodes)


def _profile(ptr: Tensor, value: Tensor) -> list[Tensor]:
    length = ptr.diff()
    low, high = at_rank(ptr, value, (length - 1) // 2), at_rank(ptr, value, length // 2)
    least, most = at_rank(ptr, value, torch.zeros_like(length)), at_rank(ptr, value, length - 1)
    return [least, most, *mean_and_deviation(value, ptr), (low + high) / 2]


def _extremes(ptr: Tensor, value: Tensor) -> list[Tensor]:
    length = ptr.diff()
    ranks = [torch.full_like(length, rank) for rank in range(3)]
    return [at_rank(ptr, value, rank) for rank in [*ranks, (length - 2).clamp(min=3), (length - 1).clamp(min=4)]]
