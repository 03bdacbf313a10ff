"""Pictures of a graph, and of what a rewiring has made of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from gnnkit._optional import require
from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.geometry.pair_resistance import all_resistances
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.geometry.spectrum import laplacian_spectrum
from gnnkit.ops._checks import describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Colors = Tensor | Callable[[Tensor, int], Tensor]
Kind = Literal["graph", "spectrum", "resistance", "all"]

_PANEL = 4.5
_LARGEST_DENSE = 4000
_KEPT, _ADDED, _REMOVED, _NODE = "#9aa0a6", "#1f77b4", "#d62728", "#202124"


def plot(
    graph: Any,
    num_nodes: int | None = None,
    *,
    after: Any = None,
    color_by: Colors | None = None,
    kind: Kind = "graph",
    seed: int = 0,
) -> "Figure":
    """Draws a graph; with ``after``, beside what it was turned into.

    Args:
        graph: A ``Data``, or an ``edge_index`` ``[2, E]`` with ``num_nodes``; both directions of every edge.
            Self-loops are not drawn.
        num_nodes: Number of nodes, for an ``edge_index``.
        after: The graph after a rewiring, ``Data`` or ``edge_index``; nodes keep their number and place, and it may
            have more (a virtual node). Edges that went are red in the picture before, new ones blue in the one after.
        color_by: One number per column of ``edge_index``, or a function of ``edge_index`` and ``num_nodes`` that gives
            them, such as :func:`gnnkit.geometry.ollivier_ricci`: edges take their colour from it, on one scale for
            both graphs. With ``after``, it must be a function.
        kind: ``"graph"``; ``"spectrum"``: eigenvalues of the normalised Laplacian in ascending order;
            ``"resistance"``: histogram of the effective resistance of all pairs of nodes in one component; or
            ``"all"`` of these, side by side.
        seed: Seed of the layout.

    Returns:
        A matplotlib figure that belongs to no window; ``figure.savefig("graph.png", dpi=150)`` writes it. Edges are
        drawn as pixels even in a PDF, so that files stay small.

    Raises:
        BackendError: If matplotlib is not installed, or cannot be imported.
        ConfigError: If an argument is none of those named.
        DataError: If a graph is directed, ``after`` has fewer nodes, or a spectrum or resistances are asked of more
            than 4000 nodes.
        ShapeError: If there is not one colour per column.

    Determinism: the same input and seed give the same picture on one machine.
    Complexity: ``O(50 (N + M))`` for a picture, ``O(N^3)`` for spectrum and resistances.
    """
    if kind not in ("graph", "spectrum", "resistance", "all"):
        raise ConfigError(f"kind must be 'graph', 'spectrum', 'resistance' or 'all', got {kind!r}")
    figure_class = require("matplotlib.figure", "matplotlib", "plot", "plot").Figure
    first = _Input.of(graph, num_nodes, "graph")
    second = None if after is None else _Input.of(after, None, "after", at_least=first.num_nodes)
    if second is not None and isinstance(color_by, Tensor):
        raise ConfigError("with after, color_by must be a function of edge_index and num_nodes, not a tensor")
    states = [("before" if second else "", first)] + ([("after", second)] if second else [])
    panels = len(states) * (kind in ("graph", "all")) + (kind in ("spectrum", "all")) + (kind in ("resistance", "all"))
    figure = figure_class(figsize=(_PANEL * panels, _PANEL), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    if kind in ("graph", "all"):
        _draw_graphs(figure, axes[: len(states)], states, color_by, seed)
        axes = axes[len(states) :]
    if kind in ("spectrum", "all"):
        _draw_spectra(axes.pop(0), states)
    if kind in ("resistance", "all"):
        _draw_resistances(axes.pop(0), states)
    return figure


class _Input:
    """A graph as it was given, and as it is drawn."""

    def __init__(self, edge_index: Tensor, num_nodes: int) -> None:
        proper = edge_index[0] != edge_index[1]
        self.edge_index = edge_index[:, proper]
        self.proper = proper
        self.num_nodes = num_nodes
        self.graph = SimpleGraph.from_edge_index(edge_index, num_nodes, allow_self_loops=True)

    @classmethod
    def of(cls, value: Any, num_nodes: int | None, name: str, at_least: int = 0) -> "_Input":
        edge_index = value if isinstance(value, Tensor) else getattr(value, "edge_index", None)
        if not isinstance(edge_index, Tensor) or edge_index.dim() != 2 or edge_index.size(0) != 2:
            raise ShapeError(f"{name} must be a Data with edge_index, or an edge_index [2, E], got {value!r}")
        if num_nodes is None:
            num_nodes = at_least if isinstance(value, Tensor) else int(value.num_nodes)
            if isinstance(value, Tensor) and at_least == 0:
                raise ShapeError(f"{name} is an edge_index, so num_nodes must be given")
        if num_nodes < at_least:
            raise DataError(f"{name} must have at least the {at_least} nodes of graph, got {num_nodes}")
        return cls(edge_index, num_nodes)

    def values(self, color_by: Colors) -> np.ndarray:
        """The value of each edge."""
        given = color_by if isinstance(color_by, Tensor) else color_by(self.edge_index, self.num_nodes)
        value = given.detach().cpu().double()
        if value.shape == self.proper.shape and isinstance(color_by, Tensor):
            value = value[self.proper.cpu()]
        if value.shape != (self.edge_index.size(1),):
            raise ShapeError(f"color_by must give one number per column of edge_index, got {describe(given)}")
        out = torch.empty(self.graph.num_edges, dtype=torch.float64)
        edge = self.graph.column_edge
        return out.index_copy_(0, edge[edge >= 0], value).numpy()


def _draw_graphs(
    figure: "Figure", axes: "list[Axes]", states: list[tuple[str, _Input]], color_by: Colors | None, seed: int
) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    position = _positions([state for _, state in states], seed)
    changed = _changes([state for _, state in states])
    scale = None
    values = [np.empty(0)] * len(states)
    if color_by is not None:
        values = [state.values(color_by) for _, state in states]
        finite = np.concatenate(values)
        finite = finite[np.isfinite(finite)]
        bound = max(float(np.abs(finite).max()) if finite.size else 0.0, 1e-9)
        # Around 0, whose colour is the middle one: curvature is what this is for.
        scale = ScalarMappable(Normalize(-bound, bound), "coolwarm_r")
    for axis, (name, state), value, change in zip(axes, states, values, changed, strict=True):
        edges = state.graph.ends.numpy()
        mark = _REMOVED if name == "before" else _ADDED
        colors = [mark if is_changed else _KEPT for is_changed in change] if scale is None else scale.to_rgba(value)
        _draw_edges(axis, position, edges, colors, change)
        count = state.num_nodes
        size = float(np.clip(1500 / max(count, 1), 1, 40))
        axis.scatter(*position[:count].T, s=size, c=_NODE, zorder=3, linewidths=0)
        title = f"{count} nodes, {state.graph.num_edges} edges"
        if name:
            what = "removed" if name == "before" else "added"
            title = f"{name}: {title}" + (f", {int(change.sum())} {what}" if change.any() else "")
        axis.set_title(title, fontsize=10)
        axis.set_aspect("equal")
        axis.set_axis_off()
    if scale is not None:
        name = getattr(color_by, "__name__", "value").replace("_", " ")
        figure.colorbar(scale, ax=axes, label=name, shrink=0.8)


def _draw_edges(axis: "Axes", position: np.ndarray, edges: np.ndarray, colors: Any, change: np.ndarray) -> None:
    from matplotlib.collections import LineCollection

    width = float(np.clip(300 / max(edges.shape[1], 1), 0.2, 1.2))
    # What has changed lies above what has not.
    order = np.argsort(change, kind="stable")
    lines = list(position[edges.T[order]])
    colors = [colors[place] for place in order]
    axis.add_collection(LineCollection(lines, colors=colors, linewidths=np.where(change[order], 1.5, 1) * width,
                                       rasterized=True))  # fmt: skip
    axis.autoscale_view()


def _positions(states: list[_Input], seed: int) -> np.ndarray:
    """Where the nodes lie: those of the graph before by its own edges, further ones amid their neighbours."""
    from gnnkit.geometry._layout import layout

    position = layout(states[0].graph, seed)
    last = states[-1]
    extra = last.num_nodes - len(position)
    if extra:
        u, v = last.graph.edge_index().numpy()
        position = np.concatenate([position, np.zeros((extra, 2))])
        known = (u >= states[0].num_nodes) & (v < states[0].num_nodes)
        total = np.zeros_like(position)
        np.add.at(total, u[known], position[v[known]])
        count = np.bincount(u[known], minlength=len(position))[:, None]
        middle = position[:-extra].mean(0) if len(position) > extra else np.zeros(2)
        new = slice(-extra, None)
        position[new] = np.where(count > 0, total / np.maximum(count, 1), middle)[new]
    return position


def _changes(states: list[_Input]) -> list[np.ndarray]:
    """Which edges of each graph the other has not."""
    if len(states) == 1:
        return [np.zeros(states[0].graph.num_edges, dtype=bool)]
    size = states[-1].num_nodes
    wide = [SimpleGraph.from_ends(state.graph.ends, size) for state in states]
    return [(wide[1 - place].find(wide[place].ends) < 0).numpy() for place in (0, 1)]


def _draw_spectra(axis: "Axes", states: list[tuple[str, _Input]]) -> None:
    for name, state in states:
        values = _normalised_spectrum(state)
        axis.step(np.linspace(0, 1, len(values)), values, where="mid", label=name or None)
    axis.set(xlabel="share of eigenvalues", ylabel="eigenvalue", title="normalised Laplacian", ylim=(-0.05, 2.05))
    if states[0][0]:
        axis.legend()


def _draw_resistances(axis: "Axes", states: list[tuple[str, _Input]]) -> None:
    values = [_resistances(state) for _, state in states]
    largest = max([float(value.max()) for value in values if value.size], default=1.0)
    bins = np.linspace(0, largest, 41)
    for (name, _), value in zip(states, values, strict=True):
        axis.hist(value, bins=bins.tolist(), alpha=0.6, label=name or None)
    axis.set(xlabel="effective resistance", ylabel="pairs of nodes", title="all pairs in one component")
    if states[0][0]:
        axis.legend()


def _checked_size(state: _Input) -> _Input:
    if state.num_nodes > _LARGEST_DENSE:
        raise DataError(
            f"spectrum and resistances are drawn for graphs of up to {_LARGEST_DENSE} nodes, got {state.num_nodes}; "
            "use kind='graph'"
        )
    return state


def _normalised_spectrum(state: _Input) -> np.ndarray:
    return laplacian_spectrum(_checked_size(state).graph.edge_index(), state.num_nodes).numpy()


def _resistances(state: _Input) -> np.ndarray:
    """Of all pairs in one component."""
    resistance = all_resistances(_checked_size(state).graph)
    pairs = resistance[torch.ones_like(resistance, dtype=torch.bool).triu(1)]
    return pairs[pairs.isfinite()].numpy()
