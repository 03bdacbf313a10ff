"""Curvature profiles against closed forms and NumPy over lists of edges."""

from functools import partial
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import geometry
from gnnkit.encodings import CurvatureProfile
from gnnkit.errors import ConfigError, DataError, ShapeError
from tests.encodings.structural import added, check_batch, check_repeats, few_examples, graphs, members, relabelled
from tests.geometry.undirected import data_of, random_graph, values_by_edge

NAMES = {
    "ollivier_ricci": geometry.ollivier_ricci,
    "lin_lu_yau": geometry.lin_lu_yau,
    "forman": geometry.forman,
    "augmented_forman": geometry.augmented_forman,
    "balanced_forman": geometry.balanced_forman,
    "resistance_curvature": geometry.resistance_curvature,
    "jost_liu_lower": lambda *graph: geometry.jost_liu_bounds(*graph)[0],
    "jost_liu_upper": lambda *graph: geometry.jost_liu_bounds(*graph)[1],
}


def values_at(graph: Any, data: Any, curvature: Any) -> list[list[float]]:
    """Curvature of the edges at every node, ascending."""
    by_edge = values_by_edge(data.edge_index, curvature(data.edge_index, data.num_nodes))
    return [sorted(by_edge[min(u, v), max(u, v)] for v in graph[u]) for u in range(data.num_nodes)]


def profile(values: list[float]) -> list[float]:
    functions = [np.min, np.max, np.mean, np.std, np.median]
    return [float(function(values)) for function in functions] if values else [0.0] * 5


def extremes(values: list[float]) -> list[float]:
    return values[:3] + values[-2:] if len(values) > 5 else values + [0.0] * (5 - len(values))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("statistics", "oracle"), [("profile", profile), ("extremes", extremes)])
def test_equals_statistics_of_lists(name: str, statistics: str, oracle: Any):
    for seed in range(6):
        graph = random_graph(seed, 16)
        data = data_of(graph)
        out = CurvatureProfile(name, statistics=statistics)(data).curvature_profile
        expected = [oracle(values) for values in values_at(graph, data, NAMES[name])]
        np.testing.assert_allclose(out.numpy(), np.array(expected), rtol=1e-5, atol=1e-6)
        assert out.dtype == torch.float32


def test_the_ends_of_a_bridge_between_cliques():
    out = CurvatureProfile()(data_of(nx.barbell_graph(5, 0))).curvature_profile
    expected = torch.tensor([-1.2, 0.6, 0.24, 0.72, 0.6])
    torch.testing.assert_close(out[[4, 5]], expected.expand(2, 5))
    few: Any = CurvatureProfile(statistics="extremes")(data_of(nx.barbell_graph(5, 0)))
    torch.testing.assert_close(few.curvature_profile[4], torch.tensor([-1.2, 0.6, 0.6, 0.6, 0.6]))
    torch.testing.assert_close(few.curvature_profile[0], torch.tensor([0.6, 0.75, 0.75, 0.75, 0.0]))


@pytest.mark.parametrize(
    ("graph", "curvature", "value"),
    [
        (nx.complete_graph(5), "ollivier_ricci", 3 / 4),
        (nx.cycle_graph(6), "ollivier_ricci", 0.0),
        (nx.hypercube_graph(3), "ollivier_ricci", 0.0),
        (nx.petersen_graph(), "ollivier_ricci", -1 / 3),
        (nx.complete_bipartite_graph(3, 3), "ollivier_ricci", 0.0),
        (nx.complete_graph(5), "lin_lu_yau", 5 / 4),
        (nx.hypercube_graph(3), "lin_lu_yau", 2 / 3),
        (nx.complete_graph(5), "forman", -4.0),
        (nx.complete_graph(5), "augmented_forman", 5.0),
        (nx.petersen_graph(), "forman", -2.0),
    ],
)
def test_edges_that_are_all_alike_have_one_curvature(graph: Any, curvature: str, value: float):
    out = CurvatureProfile(curvature)(data_of(graph)).curvature_profile
    torch.testing.assert_close(out, torch.tensor([value, value, value, 0.0, value]).expand(len(graph), 5))


def test_the_bounds_are_the_least_and_the_greatest():
    for seed in range(8):
        graph = random_graph(seed, 16)
        data = data_of(graph)
        out = CurvatureProfile("jost_liu_bounds")(data).curvature_profile
        lower, upper = (values_at(graph, data, NAMES[name]) for name in ("jost_liu_lower", "jost_liu_upper"))
        expected = [[min(low, default=0.0), max(high, default=0.0)] for low, high in zip(lower, upper, strict=True)]
        np.testing.assert_allclose(out.numpy(), np.array(expected), rtol=1e-6, atol=1e-7)


def test_options_go_to_the_curvature():
    data = data_of(nx.barbell_graph(4, 1))
    lazy = CurvatureProfile("ollivier_ricci", options={"alpha": 0.5})(data).curvature_profile
    by_hand = CurvatureProfile(partial(geometry.ollivier_ricci, alpha=0.5))(data).curvature_profile
    assert torch.equal(lazy, by_hand)
    assert not torch.equal(lazy, CurvatureProfile()(data).curvature_profile)
    squares = CurvatureProfile("augmented_forman", options={"cycles": 4})(data_of(nx.cycle_graph(4))).curvature_profile
    assert squares[0].tolist() == [2, 2, 2, 0, 2]


@pytest.mark.parametrize("name", ["ollivier_ricci", "forman", "resistance_curvature"])
def test_weights_go_to_the_curvature(name: str):
    data = data_of(nx.barbell_graph(4, 1))
    data.length = 1.0 + (data.edge_index.sum(0) % 3)
    weighted = partial(NAMES[name], weight=data.length)
    expected = CurvatureProfile(lambda *graph: weighted(*graph))(data).curvature_profile
    found = CurvatureProfile(name, weight_attr="length")(data).curvature_profile
    assert torch.equal(found, expected)
    assert not torch.allclose(found, CurvatureProfile(name)(data).curvature_profile)


def test_a_function_of_ones_own_is_averaged_over_the_columns_of_an_edge():
    data: Any = Data(edge_index=torch.tensor([[0, 1, 1, 0, 1, 2], [1, 0, 0, 1, 2, 1]]), num_nodes=4)
    out = CurvatureProfile(lambda edge_index, num_nodes: torch.tensor([1, 3, 1, 3, 5, 7]))(data).curvature_profile
    assert out.tolist() == [[2, 2, 2, 0, 2], [2, 6, 4, 2, 4], [6, 6, 6, 0, 6], [0] * 5]


def test_empty_graphs_and_isolated_nodes_have_zeros():
    for curvature, width in (("ollivier_ricci", 5), ("jost_liu_bounds", 2), ("resistance_curvature", 5)):
        for num_nodes in (0, 1, 3):
            data = Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=num_nodes)
            assert CurvatureProfile(curvature)(data).curvature_profile.tolist() == [[0.0] * width] * num_nodes


def test_multi_edges_count_once():
    plain = data_of(nx.barbell_graph(4, 0))
    double = Data(edge_index=torch.cat([plain.edge_index, plain.edge_index], dim=1), num_nodes=8)
    assert torch.equal(CurvatureProfile()(double).curvature_profile, CurvatureProfile()(plain).curvature_profile)


@given(
    graph=graphs(),
    seed=st.integers(0, 9),
    name=st.sampled_from(["ollivier_ricci", "balanced_forman", "jost_liu_bounds"]),
)
@few_examples
def test_moves_with_the_nodes(graph: Any, seed: int, name: str):
    data = data_of(graph)
    moved, order = relabelled(data, seed)
    encoding = CurvatureProfile(name)
    found, expected = encoding(moved).curvature_profile[order], encoding(data).curvature_profile
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@given(parts=st.lists(graphs(6), min_size=1, max_size=4), name=st.sampled_from(["ollivier_ricci", "forman"]))
@few_examples
def test_a_batch_is_its_graphs(parts: list[Any], name: str):
    check_batch(CurvatureProfile(name), [data_of(part) for part in parts])


@pytest.mark.parametrize("name", [*NAMES, "jost_liu_bounds"])
def test_a_batch_comes_apart_again(name: str):
    check_batch(CurvatureProfile(name), members(), bitwise=name != "resistance_curvature")


def test_all_graphs_of_a_batch_are_one_call():
    calls = []

    def counted(edge_index: Tensor, num_nodes: int) -> Tensor:
        calls.append(num_nodes)
        return geometry.forman(edge_index, num_nodes)

    check_batch(CurvatureProfile(counted), members())
    sizes = [member.num_nodes for member in members()]
    assert calls == [sum(sizes), *sizes, sum(sizes)]


@pytest.mark.parametrize("name", ["ollivier_ricci", "jost_liu_bounds"])
def test_repeats_bit_by_bit(name: str):
    check_repeats(CurvatureProfile(name), data_of(nx.barabasi_albert_graph(100, 3, seed=0)))


def test_names_and_prints():
    encoding = CurvatureProfile("forman", attr_name="lcp")
    assert list(added(encoding, data_of(nx.path_graph(3)))) == ["lcp"]
    assert repr(encoding) == (
        "CurvatureProfile(curvature='forman', options=None, statistics='profile', attr_name='lcp', weight_attr=None)"
    )


def test_bad_settings_are_named():
    bad: list[tuple[Any, dict[str, Any], str]] = [
        ("ricci", {}, "curvature must be a function or one of ollivier_ricci"),
        (3, {}, "curvature must be a function"),
        ("forman", {"statistics": "median"}, "statistics must be"),
        ("jost_liu_bounds", {"statistics": "extremes"}, "two columns"),
        ("ollivier_ricci", {"options": {"alfa": 0.5}}, "'alfa' is no option of 'ollivier_ricci'; did you mean 'alpha'"),
        ("ollivier_ricci", {"options": {"alpha": 1.5}}, "alpha must lie in"),
        ("ollivier_ricci", {"options": {"weight": None}}, "weight_attr"),
        ("lin_lu_yau", {"options": {"alpha": 0.5}}, "takes none"),
        ("augmented_forman", {"options": {"cycles": 5}}, "cycles must be"),
        ("lin_lu_yau", {"weight_attr": "edge_weight"}, "takes no weights"),
        (geometry.forman, {"options": {"weight": None}}, r"functools\.partial"),
        (geometry.forman, {"weight_attr": "edge_weight"}, r"functools\.partial"),
    ]
    for curvature, options, message in bad:
        with pytest.raises(ConfigError, match=message):
            CurvatureProfile(curvature, **options)


def test_bad_data_is_named():
    path = data_of(nx.path_graph(3))
    with pytest.raises(DataError, match="directed"):
        CurvatureProfile()(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
    with pytest.raises(DataError, match="self-loop"):
        CurvatureProfile()(Data(edge_index=torch.tensor([[0], [0]]), num_nodes=2))
    with pytest.raises(DataError, match=r"data\.edge_weight is missing"):
        CurvatureProfile("forman", weight_attr="edge_weight")(path)
    path.edge_weight = torch.tensor([1.0, 1.0, -1.0, 1.0])
    with pytest.raises(DataError, match="finite and positive"):
        CurvatureProfile("forman", weight_attr="edge_weight")(path)
    with pytest.raises(DataError, match="edge_index, which is missing"):
        CurvatureProfile()(Data(x=torch.ones(2, 1)))
    for value in (torch.ones(3), torch.ones(4, 1), 1.0):
        with pytest.raises(ShapeError, match="one real number per column"):
            CurvatureProfile(lambda *graph, value=value: value)(path)
    with pytest.raises(DataError, match="column 0 has nan"):
        CurvatureProfile(lambda *graph: torch.full((4,), torch.nan))(path)
