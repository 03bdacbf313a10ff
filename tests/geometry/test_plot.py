"""Pictures show what they are said to show."""

import io
import sys
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.errors import BackendError, ConfigError, DataError, ShapeError
from gnnkit.geometry import plot
from gnnkit.geometry._layout import layout
from gnnkit.geometry.plot import _ADDED, _KEPT, _REMOVED, _Input, _normalised_spectrum, _resistances
from gnnkit.geometry.simple_graph import SimpleGraph


def data_of(graph: "nx.Graph") -> Any:
    ends = torch.tensor(sorted(graph.edges), dtype=torch.int64).reshape(-1, 2).T
    return Data(edge_index=torch.cat([ends, ends.flip(0)], dim=1), num_nodes=graph.number_of_nodes())


def forman(edge_index: Tensor, num_nodes: int) -> Tensor:
    degree = torch.bincount(edge_index[0], minlength=num_nodes)
    return 4.0 - degree[edge_index].sum(0)


def segments(figure: Figure, panel: int) -> dict[tuple[Any, Any], tuple[float, ...]]:
    """Colour of each line, by its ends."""
    (lines,) = [each for each in figure.axes[panel].collections if isinstance(each, LineCollection)]
    colors = lines.get_colors()
    return {
        tuple(sorted(tuple(np.round(end, 6).tolist()) for end in segment)): tuple(np.asarray(color).tolist())
        for segment, color in zip(lines.get_segments(), colors, strict=True)
    }  # type: ignore[return-value]


def points(figure: Figure, panel: int) -> np.ndarray:
    (dots,) = [each for each in figure.axes[panel].collections if not isinstance(each, LineCollection)]
    return np.round(np.asarray(dots.get_offsets()), 6)


def line(position: np.ndarray, u: int, v: int) -> Any:
    return tuple(sorted((tuple(position[u].tolist()), tuple(position[v].tolist()))))


def test_every_edge_is_a_line_between_its_nodes_and_changes_have_their_colour():
    before, after = nx.path_graph(6), nx.path_graph(6)
    after.remove_edge(2, 3)
    after.add_edges_from([(0, 3), (2, 5)])
    figure = plot(data_of(before), after=data_of(after))
    position = points(figure, 0)
    assert np.array_equal(position, points(figure, 1))
    for panel, graph, changed, color in ((0, before, {(2, 3)}, _REMOVED), (1, after, {(0, 3), (2, 5)}, _ADDED)):
        found = segments(figure, panel)
        expected = {line(position, u, v): to_rgba(color if (u, v) in changed else _KEPT) for u, v in graph.edges}
        assert found == expected
    assert figure.axes[0].get_title() == "before: 6 nodes, 5 edges, 1 removed"
    assert figure.axes[1].get_title() == "after: 6 nodes, 6 edges, 2 added"


def test_colours_follow_the_values():
    data = data_of(nx.star_graph(4))
    value = torch.arange(8.0)[torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])] - 1.5
    for color_by in (value, lambda *_: value):
        figure = plot(data, color_by=color_by)
        position, found = points(figure, 0), segments(figure, 0)
        red = [found[line(position, 0, leaf)][0] for leaf in (1, 2, 3, 4)]
        blue = [found[line(position, 0, leaf)][2] for leaf in (1, 2, 3, 4)]
        assert red[0] > red[3]
        assert blue[0] < blue[3], "negative curvature is red, positive blue"
    figure = plot(data, color_by=forman)
    assert figure.axes[-1].get_ylabel() == "forman"


def test_self_loops_are_not_drawn_and_their_values_not_used():
    looped = Data(edge_index=torch.tensor([[0, 1, 1], [1, 0, 1]]), num_nodes=2)
    assert len(segments(plot(looped), 0)) == 1
    assert len(segments(plot(looped, color_by=torch.tensor([1.0, 1.0, float("nan")])), 0)) == 1
    assert len(segments(plot(looped, color_by=forman), 0)) == 1


def test_a_virtual_node_is_drawn_amid_the_others():
    before, after = nx.cycle_graph(5), nx.wheel_graph(6)
    after = nx.relabel_nodes(after, {0: 5, **{v: v - 1 for v in range(1, 6)}})
    figure = plot(data_of(before), after=data_of(after), color_by=forman)
    assert len(points(figure, 0)) == 5
    position = points(figure, 1)
    assert np.allclose(position[5], position[:5].mean(0), atol=1e-5)
    isolated = plot(data_of(before), after=Data(edge_index=data_of(before).edge_index, num_nodes=7))
    assert len(points(isolated, 1)) == 7


def test_spectrum_and_resistances_are_those_of_the_definition():
    graph = nx.disjoint_union_all([nx.gnm_random_graph(12, 20, seed=1), nx.path_graph(3), nx.empty_graph(1)])
    state = _Input.of(data_of(graph), None, "graph")
    laplacian = nx.normalized_laplacian_matrix(graph, nodelist=range(16)).toarray()
    assert np.allclose(_normalised_spectrum(state), np.linalg.eigvalsh(laplacian))
    found = sorted(_resistances(state))
    expected = []
    for group in nx.connected_components(graph):
        part = graph.subgraph(group)
        inverse = np.linalg.pinv(nx.laplacian_matrix(part).toarray().astype(float), hermitian=True)
        diagonal = inverse.diagonal()
        matrix = diagonal[:, None] + diagonal - 2 * inverse
        expected += matrix[np.triu_indices(len(group), 1)].tolist()
    assert np.allclose(found, sorted(expected))


def test_panels_by_kind():
    data, after = data_of(nx.path_graph(8)), data_of(nx.cycle_graph(8))
    for kind, panels in (("graph", 1), ("spectrum", 1), ("resistance", 1), ("all", 3)):
        assert len(plot(data, kind=kind).axes) == panels  # type: ignore[arg-type]
    figure = plot(data, after=after, kind="all")
    assert len(figure.axes) == 4
    curve = figure.axes[2].get_lines()[1].get_ydata()
    assert np.allclose(curve, np.sort(1 - np.cos(2 * np.pi * np.arange(8) / 8)))
    counts = [sum(patch.get_height() for patch in bars) for bars in figure.axes[3].containers]
    assert counts == [28, 28]


def test_the_same_picture_twice_and_no_window():
    data = data_of(nx.gnm_random_graph(30, 45, seed=3))
    pictures = []
    for seed in (0, 0, 1):
        stream = io.BytesIO()
        plot(data, seed=seed).savefig(stream, format="png", dpi=60)
        pictures.append(stream.getvalue())
    assert pictures[0] == pictures[1] != pictures[2]
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_large_pictures_stay_small():
    graph = nx.barabasi_albert_graph(1000, 10, seed=0)
    for kind, limit in (("png", 1_500_000), ("pdf", 1_500_000)):
        stream = io.BytesIO()
        plot(data_of(graph)).savefig(stream, format=kind, dpi=150)
        assert len(stream.getvalue()) < limit


@pytest.mark.parametrize(
    "graph", [nx.empty_graph(0), nx.empty_graph(1), nx.empty_graph(4), nx.path_graph(2), nx.complete_graph(5)]
)
def test_small_graphs_are_drawn(graph: "nx.Graph"):
    figure = plot(data_of(graph), after=data_of(graph), kind="all", color_by=forman)
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    assert len(points(figure, 0)) == graph.number_of_nodes()


def test_layouts_follow_distances_and_part_components():
    graph = nx.path_graph(30)
    position = layout(SimpleGraph.from_edge_index(data_of(graph).edge_index, 30))
    steps = np.linalg.norm(np.diff(position, axis=0), axis=1)
    assert steps.max() < 1.5 * steps.min()
    parts = nx.disjoint_union_all([nx.cycle_graph(9), nx.complete_graph(6), nx.path_graph(2), nx.empty_graph(3)])
    position = layout(SimpleGraph.from_edge_index(data_of(parts).edge_index, 20))
    boxes = [(position[list(group)].min(0), position[list(group)].max(0)) for group in nx.connected_components(parts)]
    for place, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:place]:
            assert (high < other_low).any() or (other_high < low).any()
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(25, 25))
    large = layout(SimpleGraph.from_edge_index(data_of(grid).edge_index, 625))
    lengths = np.linalg.norm(large[[u for u, _ in grid.edges]] - large[[v for _, v in grid.edges]], axis=1)
    assert lengths.max() < 0.2 * np.ptp(large), "a grid is drawn with short edges"


def test_bad_input_is_named(monkeypatch: pytest.MonkeyPatch):
    data = data_of(nx.path_graph(4))
    with pytest.raises(ConfigError, match="kind must be"):
        plot(data, kind="histogram")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="num_nodes must be given"):
        plot(data.edge_index)
    with pytest.raises(ShapeError, match="must be a Data with edge_index"):
        plot([1, 2])
    with pytest.raises(ShapeError, match="one number per column"):
        plot(data, color_by=torch.ones(3))
    with pytest.raises(ConfigError, match="must be a function"):
        plot(data, after=data, color_by=torch.ones(6))
    with pytest.raises(DataError, match="at least the 4 nodes"):
        plot(data, after=data_of(nx.path_graph(3)))
    with pytest.raises(DataError, match="directed"):
        plot(data.edge_index[:, :1], 4)
    with pytest.raises(DataError, match="up to 4000 nodes, got 5000"):
        plot(data.edge_index, 5000, kind="spectrum")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(BackendError, match=r"plot needs matplotlib: pip install 'gnnkit\[plot\]'"):
            plot(data)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(BackendError, match="plot needs matplotlib, which is installed but cannot be imported"):
        plot(data)
