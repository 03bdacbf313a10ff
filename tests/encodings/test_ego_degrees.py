"""Degrees within ego networks against subgraphs that NetworkX takes out, closed forms, and the operator's reference."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit.encodings import EgoDegrees
from gnnkit.errors import ConfigError, DataError, IndexRangeError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._library import references
from tests.encodings.structural import (
    added,
    assert_same,
    check_batch,
    check_repeats,
    few_examples,
    graphs,
    members,
    relabelled,
)
from tests.geometry.undirected import data_of, edge_index_of, random_graph
from tests.ops.kernels import EMULATED, needs_kernels
from tests.ops.nonsense import call_with_nonsense, nonsense

runs_kernels = pytest.mark.skipif(EMULATED, reason="no kernel of a GPU for this")
CALLS = [
    (depth, layout, count, of_edges)
    for depth, layout, count in ((1, 0, 3), (2, 1, 9), (3, 2, 31))
    for of_edges in (False, True)
]
every_call = pytest.mark.parametrize("call", CALLS, ids=str)


def shrikhande() -> Any:
    steps = [(0, 1), (1, 0), (1, 1)]
    edges = [((x, y), ((x + a) % 4, (y + b) % 4)) for x in range(4) for y in range(4) for a, b in steps]
    return nx.convert_node_labels_to_integers(nx.Graph(edges))


def rook() -> Any:
    return nx.convert_node_labels_to_integers(nx.line_graph(nx.complete_bipartite_graph(4, 4)))


Member = tuple[int, int, int, int]


def tuples(graph: Any, depth: int, root: int, other: int) -> Iterator[Member]:
    """Distance from the root and the three degrees of every node of the intersection of two ego networks."""
    network = graph.subgraph(set(nx.ego_graph(graph, root, depth)) & set(nx.ego_graph(graph, other, depth)))
    distance = nx.single_source_shortest_path_length(graph, root)
    for node in network:
        steps = Counter(distance[x] - distance[node] for x in network[node])
        yield distance[node], steps[-1], steps[0], steps[1]


def relative(found: list[Member], depth: int, most: int) -> list[float]:
    cells = Counter((member[0], which, min(member[1 + which], most)) for member in found for which in range(3))
    return [
        cells[level, which, degree] for level in range(depth + 1) for which in range(3) for degree in range(most + 1)
    ]


def total(found: list[Member], depth: int, most: int) -> list[float]:
    cells = Counter((member[0], min(sum(member[1:]), most)) for member in found)
    return [cells[level, degree] for level in range(depth + 1) for degree in range(most + 1)]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("degrees", "oracle"), [("relative", relative), ("total", total)])
def test_equals_subgraphs_taken_out_one_by_one(depth: int, degrees: str, oracle: Any):
    for seed in range(12):
        graph = random_graph(seed, 12)
        data = data_of(graph)
        out = EgoDegrees(depth, level="both", degrees=degrees, max_degree=3)(data)
        nodes = [oracle(list(tuples(graph, depth, v, v)), depth, 3) for v in range(len(graph))]
        edges = [oracle(list(tuples(graph, depth, u, v)), depth, 3) for u, v in data.edge_index.T.tolist()]
        assert out.ego_degrees.tolist() == nodes
        assert out.edge_ego_degrees.tolist() == edges
        assert out.ego_degrees.dtype == torch.float32


@pytest.mark.parametrize("depth", [1, 2])
def test_joint_histograms_differ_where_the_tuples_do(depth: int):
    """In so many bins that the few tuples there are do not collide."""
    encoding = EgoDegrees(depth, level="both", degrees="joint", num_buckets=2**16)
    for seed in range(12):
        graph = random_graph(seed, 10)
        data = data_of(graph)
        out = encoding(data)
        nodes = [(v, v) for v in range(len(graph))]
        for value, pairs in ((out.ego_degrees, nodes), (out.edge_ego_degrees, data.edge_index.T.tolist())):
            expected = [sorted(tuples(graph, depth, u, v)) for u, v in pairs]
            for row, first in zip(value, expected, strict=True):
                assert row.sum() == len(first)
                same = [bool(torch.equal(row, other)) for other in value]
                assert same == [first == second for second in expected]


def test_joint_degrees_have_no_bound():
    star, larger = (EgoDegrees(1, degrees="joint")(data_of(nx.star_graph(leaves))).ego_degrees for leaves in (40, 41))
    assert not torch.equal(star[0].bool(), larger[0].bool())


def rows_of(graph: Any, encoding: EgoDegrees) -> tuple[list[list[float]], list[list[float]]]:
    out = encoding(data_of(graph))
    return sorted(out.ego_degrees.tolist()), sorted(out.edge_ego_degrees.tolist())


@pytest.mark.parametrize("degrees", ["relative", "total", "joint"])
def test_edges_tell_the_shrikhande_graph_from_the_rooks_graph_and_nodes_do_not(degrees: str):
    for depth in (1, 2, 3):
        encoding = EgoDegrees(depth, level="both", degrees=degrees)
        one, other = rows_of(shrikhande(), encoding), rows_of(rook(), encoding)
        assert one[0] == other[0]
        assert (one[1] != other[1]) == (depth == 1), "two hops reach all of these graphs"


@pytest.mark.data
def test_edges_tell_all_strongly_regular_graphs_of_25_nodes_apart(raw_data: Path):
    found: Any = nx.read_graph6(raw_data / "strongly-regular" / "sr251256.g6")
    rows = [rows_of(graph, EgoDegrees(1, level="both")) for graph in found]
    assert len({str(nodes) for nodes, _ in rows}) == 1
    assert len({str(edges) for _, edges in rows}) == len(found) == 15


def test_edges_of_the_rooks_graph_are_those_of_a_clique():
    """Two common neighbours, which are adjacent there, and not in the other graph."""
    cells = {}
    for name, graph in (("rook", rook()), ("shrikhande", shrikhande())):
        value = EgoDegrees(1, level="edge", max_degree=3)(data_of(graph)).edge_ego_degrees
        assert bool((value == value[0]).all())
        cells[name] = value[0].reshape(2, 3, 4).tolist()
    root = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert cells["rook"] == [root, [[0, 3, 0, 0], [0, 0, 3, 0], [3, 0, 0, 0]]]
    assert cells["shrikhande"] == [root, [[0, 3, 0, 0], [0, 2, 1, 0], [3, 0, 0, 0]]]


def test_a_path_by_hand():
    out = EgoDegrees(2, max_degree=2)(data_of(nx.path_graph(4))).ego_degrees
    # From node 1: itself with two neighbours, nodes 0 and 2, of which the latter has one farther on, node 3.
    assert out[1].reshape(3, 3, 3).tolist() == [
        [[1, 0, 0], [1, 0, 0], [0, 0, 1]],
        [[0, 2, 0], [2, 0, 0], [1, 1, 0]],
        [[0, 1, 0], [1, 0, 0], [1, 0, 0]],
    ]
    total_degrees = EgoDegrees(2, degrees="total", max_degree=2)(data_of(nx.path_graph(4))).ego_degrees
    assert total_degrees[1].reshape(3, 3).tolist() == [[0, 0, 1], [0, 1, 1], [0, 1, 0]]


def test_degrees_above_the_largest_go_to_the_last_bin():
    out = EgoDegrees(1, degrees="total", max_degree=2)(data_of(nx.complete_graph(6))).ego_degrees
    assert out[0].tolist() == [0, 0, 1, 0, 0, 5]
    none = EgoDegrees(1, degrees="total", max_degree=0)(data_of(nx.complete_graph(6))).ego_degrees
    assert none[0].tolist() == [1, 5]


def test_both_directions_of_an_edge_see_it_from_their_source():
    data = data_of(nx.star_graph(3))
    out = EgoDegrees(2, level="edge", degrees="total", max_degree=3)(data).edge_ego_degrees
    by_pair = dict(zip(map(tuple, data.edge_index.T.tolist()), out.reshape(-1, 3, 4).tolist(), strict=True))
    assert by_pair[0, 1] == [[0, 0, 0, 1], [0, 3, 0, 0], [0, 0, 0, 0]]
    assert by_pair[1, 0] == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 2, 0, 0]]


def test_multi_edges_are_one_edge_and_a_self_loop_has_the_encoding_of_its_node():
    plain, encoding = data_of(nx.path_graph(3)), EgoDegrees(1, level="both", max_degree=3)
    expected = encoding(plain)
    first = plain.edge_index[:, :1]
    more = torch.cat([plain.edge_index, first, first.flip(0), torch.tensor([[1], [1]])], dim=1)
    out: Any = encoding(Data(edge_index=more, num_nodes=3))
    assert torch.equal(out.ego_degrees, expected.ego_degrees)
    back = (plain.edge_index == first.flip(0)).all(0).nonzero().item()
    rows = [*expected.edge_ego_degrees, expected.edge_ego_degrees[0], expected.edge_ego_degrees[back]]
    assert torch.equal(out.edge_ego_degrees, torch.stack([*rows, expected.ego_degrees[1]]))


def test_isolated_nodes_and_empty_graphs():
    encoding = EgoDegrees(2, level="both", max_degree=1)
    for num_nodes in (0, 1, 3):
        out: Any = encoding(Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=num_nodes))
        assert out.ego_degrees.tolist() == [[1, 0, 1, 0, 1, 0, *[0] * 12]] * num_nodes
        assert out.edge_ego_degrees.shape == (0, 18)


def test_a_depth_beyond_all_nodes_finds_the_component():
    graph = nx.disjoint_union(nx.cycle_graph(5), nx.path_graph(2))
    deep = EgoDegrees(50, max_degree=2)(data_of(graph)).ego_degrees
    at_diameter = EgoDegrees(2, max_degree=2)(data_of(graph)).ego_degrees
    assert torch.equal(deep[:, :27], at_diameter)
    assert not deep[:, 27:].any()


@given(
    graph=graphs(),
    depth=st.integers(1, 4),
    degrees=st.sampled_from(["relative", "total", "joint"]),
    seed=st.integers(0, 9),
)
@few_examples
def test_moves_with_the_nodes_and_columns(graph: Any, depth: int, degrees: str, seed: int):
    encoding = EgoDegrees(depth, level="both", degrees=degrees, max_degree=4)
    data = data_of(graph)
    expected = added(encoding, data)
    moved, order = relabelled(data, seed)
    found = encoding(moved)
    assert torch.equal(found.ego_degrees[order], expected["ego_degrees"])
    assert torch.equal(found.edge_ego_degrees, expected["edge_ego_degrees"][moved.columns])
    assert expected["ego_degrees"].size(1) == encoding.width


@given(parts=st.lists(graphs(6), min_size=1, max_size=4), depth=st.integers(1, 3))
@few_examples
def test_a_batch_is_its_graphs(parts: list[Any], depth: int):
    check_batch(EgoDegrees(depth, level="both", max_degree=3), [data_of(part) for part in parts])


@pytest.mark.parametrize("level", ["node", "edge", "both"])
def test_a_batch_comes_apart_again(level: str):
    check_batch(EgoDegrees(2, level=level), members())
    names = {"node": ["ego_degrees"], "edge": ["edge_ego_degrees"], "both": ["edge_ego_degrees", "ego_degrees"]}
    assert sorted(added(EgoDegrees(1, level=level), Batch.from_data_list(members()))) == names[level]


def test_repeats_bit_by_bit():
    check_repeats(EgoDegrees(2, level="both"), data_of(nx.barabasi_albert_graph(200, 5, seed=0)))


def test_names_and_prints():
    encoding = EgoDegrees(1, level="both", attr_name="ego")
    assert sorted(added(encoding, data_of(nx.path_graph(3)))) == ["edge_ego", "ego"]
    assert repr(encoding) == (
        "EgoDegrees(depth=1, level='both', degrees='relative', max_degree=10, num_buckets=256, attr_name='ego')"
    )


def test_bad_input_is_named():
    bad: list[tuple[Any, Any, str]] = [
        (0, {}, "depth must be an integer of at least 1, got 0"),
        (2**21, {}, "depth must be at most"),
        (1, {"level": "graph"}, "level must be 'node', 'edge' or 'both', got 'graph'"),
        (1, {"degrees": ["total"]}, "degrees must be"),
        (1, {"max_degree": -1}, "max_degree must be an integer of at least 0"),
        (1, {"num_buckets": 0}, "num_buckets must be an integer of at least 1"),
        (1, {"num_buckets": 2**40}, "bins can be told apart"),
    ]
    for depth, options, message in bad:
        with pytest.raises(ConfigError, match=message):
            EgoDegrees(depth, **options)
    with pytest.raises(DataError, match="directed"):
        EgoDegrees(1)(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
    with pytest.raises(IndexRangeError, match="num_nodes"):
        EgoDegrees(1)(Data(edge_index=torch.tensor([[0, 2], [2, 0]]), num_nodes=2))
    for data in (Data(x=torch.ones(2, 1)), Batch.from_data_list([Data(x=torch.ones(2, 1))])):
        with pytest.raises(DataError, match="edge_index, which is missing"):
            EgoDegrees(1)(data)


def arguments(graph: Any, call: tuple) -> tuple:
    read = SimpleGraph.from_edge_index(*edge_index_of(graph))
    return (read.rowptr, read.col, *call)


def run(graph: Any, call: tuple) -> Tensor:
    return torch.ops.gnnkit.ego_degrees(*arguments(graph, call))


@needs_kernels
@every_call
def test_kernel_equals_reference_bit_by_bit(call: tuple):
    some = [random_graph(seed, 18) for seed in range(20)]
    for graph in [*some, nx.empty_graph(0), nx.empty_graph(3), nx.star_graph(30), nx.complete_graph(7)]:
        found, expected = run(graph, call), references["ego_degrees"](*arguments(graph, call))
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


@every_call
def test_is_traceable(call: tuple):
    operator = torch.ops.gnnkit.ego_degrees
    torch.library.opcheck(operator.default, arguments(random_graph(3), call))
    compiled = torch.compile(lambda *given: operator(*given).sum(), backend="aot_eager", fullgraph=True, dynamic=True)
    for seed in (3, 5):
        assert compiled(*arguments(random_graph(seed), call)) == run(random_graph(seed), call).sum()


@every_call
def test_reads_nothing_it_did_not_write(call: tuple, nan_filled_memory: None):
    expected = references["ego_degrees"](*arguments(random_graph(3), call))
    assert torch.equal(run(random_graph(3), call), expected)


@needs_kernels
@runs_kernels
def test_hubs_do_not_make_it_slow():
    """In a star of this size, reading the hub's row once for each leaf takes ten thousand million steps."""
    leaves = torch.arange(1, 100_001)
    edge_index = torch.stack([torch.zeros_like(leaves), leaves])
    star = Data(edge_index=torch.cat([edge_index, edge_index.flip(0)], 1), num_nodes=100_001)
    out: Any = EgoDegrees(1, level="both", degrees="total", max_degree=1)(star)
    assert out.ego_degrees[0].tolist() == [0, 1, 0, 100_000]
    assert bool((out.ego_degrees[1:] == torch.tensor([0.0, 1, 0, 1])).all())
    assert bool((out.edge_ego_degrees == torch.tensor([0.0, 1, 0, 1])).all())


@needs_kernels
@runs_kernels
@pytest.mark.parametrize(
    ("rowptr", "col"),
    [
        ([0, 1, 1], [1]),  # one direction
        ([0, 1, 2], [0, 0]),  # a self-loop
        ([0, 2, 4], [1, 1, 0, 0]),  # multi-edges
        ([0, 2, 3, 4], [2, 1, 0, 0]),  # not ascending
        ([0, 1, 2], [1, 2]),  # out of range
        ([0, 9, 2], [1, 0]),
    ],
)
def test_the_kernel_refuses_what_is_no_undirected_graph(rowptr: list[int], col: list[int]):
    with pytest.raises(RuntimeError, match=r"rows must ascend|boundaries must|outside of its range"):
        torch.ops.gnnkit.ego_degrees(torch.tensor(rowptr), torch.tensor(col), 1, 0, 3, True)


@needs_kernels
@runs_kernels
def test_the_kernel_refuses_arguments_out_of_range():
    for wrong in ((0, 0, 3), (2**40, 0, 3), (1, 3, 3), (1, -1, 3), (1, 0, 0), (1, 0, 2**40)):
        with pytest.raises(RuntimeError, match="must"):
            run(nx.path_graph(4), (*wrong, False))


@needs_kernels
@runs_kernels
@nonsense
def test_raw_calls_survive_nonsense(data: Any):
    graph = random_graph(data.draw(st.integers(0, 99)), 8)
    call_with_nonsense(data, "ego_degrees", arguments(graph, data.draw(st.sampled_from(CALLS))))


def test_the_same_for_int32_columns():
    data = data_of(random_graph(3))
    expected = added(EgoDegrees(1, level="both"), data)
    narrow = Data(edge_index=data.edge_index.int(), num_nodes=data.num_nodes)
    assert_same(added(EgoDegrees(1, level="both"), narrow), expected, bitwise=True)
