"""Induced subgraphs against brute force over all edges, and NetworkX."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph, ops
from gnnkit.errors import IndexRangeError
from gnnkit.ops._library import references
from tests.ops.kernels import needs_checking_kernels
from tests.ops.samples import STRUCTURES, sample

SQUARE = [name for name, (_, num_src, num_dst, _) in STRUCTURES.items() if num_src == num_dst]


def random_sets(num_nodes: int, largest: int, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Sets of nodes in no order, some of them empty."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, min(largest, num_nodes) + 1, count)
    members = [rng.permutation(num_nodes)[:size] for size in sizes]
    ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *members])), torch.from_numpy(ptr)


def expected(graph: Graph, members: Tensor, token_ptr: Tensor) -> list[tuple[int, int, int]]:
    """Destination, source and edge of all copies, in the order of the result."""
    source, destination = graph.edge_index.tolist()
    nodes, bounds = members.tolist(), token_ptr.tolist()
    edges: dict[int, list[int]] = {node: [] for node in nodes}
    for edge, node in enumerate(destination):
        if node in edges:
            edges[node].append(edge)
    found = []
    for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
        place = {node: begin + n for n, node in enumerate(nodes[begin:end])}
        for node in nodes[begin:end]:
            found += [(place[node], place[source[e]], e) for e in edges[node] if source[e] in place]
    return found


def listed(found: Graph, edge: Tensor) -> list[tuple[int, int, int]]:
    source, destination = found.edge_index.tolist()
    return list(zip(destination, source, edge.tolist(), strict=True))


def star(leaves: int) -> Graph:
    """Both directions, in no order."""
    leaf = torch.arange(1, leaves + 1)
    edges = torch.cat([torch.stack([leaf, 0 * leaf]), torch.stack([0 * leaf, leaf])], 1)
    return Graph.from_edge_index(edges[:, torch.randperm(2 * leaves)], leaves + 1)


def hub_sets(num_nodes: int, count: int) -> tuple[Tensor, Tensor]:
    """Many small sets, all with node 0."""
    rest, ptr = random_sets(num_nodes - 1, 5, count)
    members = [torch.cat([part + 1, torch.zeros(1, dtype=torch.int64)]) for part in rest.split(ptr.diff().tolist())]
    return torch.cat(members), ptr + torch.arange(count + 1)


@pytest.mark.parametrize("structure", SQUARE)
@pytest.mark.parametrize("index_dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("largest", [0, 4, 1000])
def test_equals_brute_force(structure, index_dtype, largest):
    graph = sample(structure, index_dtype).graph
    members, token_ptr = random_sets(graph.num_nodes, largest, 9)
    found, edge = ops.induced_subgraphs(graph, members.to(index_dtype), token_ptr.to(index_dtype))
    assert listed(found, edge) == expected(graph, members, token_ptr)
    assert (found.num_nodes, found.edge_id) == (len(members), None)
    assert found.rowptr.dtype == found.col.dtype == index_dtype
    assert edge.dtype == torch.int64
    Graph(found.rowptr, found.col, None, found.num_src)  # is a graph by the checks of one


@pytest.mark.parametrize("structure", SQUARE)
def test_kernel_equals_reference(structure):
    graph = sample(structure).graph
    arguments = (graph.rowptr, graph.col, graph.edge_id, *random_sets(graph.num_nodes, 20, 30))
    found = torch.ops.gnnkit.induced_subgraphs(*arguments)
    for actual, wanted in zip(found, references["induced_subgraphs"](*arguments), strict=True):
        assert torch.equal(actual, wanted)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_agrees_with_networkx(data):
    size = data.draw(st.integers(1, 8))
    node = st.integers(0, size - 1)
    graph = nx.DiGraph(data.draw(st.lists(st.tuples(node, node), max_size=20)))
    graph.add_nodes_from(range(size))
    sets = data.draw(st.lists(st.lists(node, unique=True), max_size=4))
    edges = torch.tensor(list(graph.edges), dtype=torch.int64).reshape(-1, 2).T
    members = torch.tensor([node for nodes in sets for node in nodes], dtype=torch.int64)
    token_ptr = torch.tensor(np.cumsum([0, *map(len, sets)]))
    found, _ = ops.induced_subgraphs(Graph.from_edge_index(edges, size), members, token_ptr)
    wanted = {(k, u, v) for k, nodes in enumerate(sets) for u, v in graph.subgraph(nodes).edges}
    token = torch.repeat_interleave(token_ptr.diff())
    source, target = found.edge_index
    assert {*zip(token[target].tolist(), members[source].tolist(), members[target].tolist(), strict=True)} == wanted
    assert torch.equal(token[source], token[target])
    assert found.num_edges == len(wanted)


@pytest.mark.parametrize("doubled", [False, True])
def test_hubs_in_many_sets(doubled):
    """Rows long enough to be searched, in order of their sources and not."""
    graph = star(300)
    if doubled:
        graph = Graph.from_edge_index(graph.edge_index.repeat(1, 2), 301)
    for chosen in (graph, Graph.from_edge_index(graph.edge_index[:, graph.edge_index[0].argsort()], 301)):
        members, token_ptr = hub_sets(301, 60)
        found, edge = ops.induced_subgraphs(chosen, members, token_ptr)
        assert listed(found, edge) == expected(chosen, members, token_ptr)


def test_small_sets_of_a_large_graph():
    """More nodes than a table by node is made for."""
    size = 200_000
    source = torch.randint(size, (600_000,))
    graph = Graph.from_edge_index(torch.stack([source, (source + torch.randint(1, 4, (600_000,))) % size]), size)
    begin = torch.randint(size, (200, 1))
    members = (begin + torch.randperm(9)) % size
    token_ptr = torch.arange(201) * 9
    found, edge = ops.induced_subgraphs(graph, members.reshape(-1), token_ptr)
    assert listed(found, edge) == expected(graph, members.reshape(-1), token_ptr)
    assert found.num_edges > 1000


def test_one_set_of_all_nodes_is_the_graph():
    graph = sample("many").graph
    found, edge = ops.induced_subgraphs(graph, torch.arange(500), torch.tensor([0, 500]))
    assert torch.equal(found.rowptr, graph.rowptr)
    assert torch.equal(found.col, graph.col)
    assert torch.equal(edge, graph.edge_id)


def test_renumbering_nodes_renumbers_sources_only():
    graph, permutation = sample("many").graph, torch.randperm(500)
    renamed = Graph.from_edge_index(permutation[graph.edge_index], 500)
    members, token_ptr = random_sets(500, 100, 20)
    found, edge = ops.induced_subgraphs(graph, members, token_ptr)
    other, other_edge = ops.induced_subgraphs(renamed, permutation[members], token_ptr)
    assert torch.equal(found.edge_index, other.edge_index)
    assert torch.equal(edge, other_edge)


@pytest.mark.parametrize("kind", ["small", "one", "hubs"])
def test_same_bits_for_any_number_of_threads(kind):
    graph, (members, token_ptr) = sample("many").graph, random_sets(500, 40, 1000)
    if kind == "one":
        members, token_ptr = torch.randperm(500), torch.tensor([0, 500])
        graph = Graph.from_edge_index(torch.randint(500, (2, 60_000)), 500)
    if kind == "hubs":
        graph, (members, token_ptr) = star(2000), hub_sets(2001, 400)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(
                torch.ops.gnnkit.induced_subgraphs(graph.rowptr, graph.col, graph.edge_id, members, token_ptr)
            )
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_repeated_members_are_named():
    graph = sample("many").graph
    members = torch.cat([torch.arange(500), torch.tensor([7, 3, 7])])
    with pytest.raises(IndexRangeError, match=r"set 2 has node 7 again at members\[502\]; make"):
        ops.induced_subgraphs(graph, members, torch.tensor([0, 500, 500, 503]))
    ops.induced_subgraphs(graph, members[:-1], torch.tensor([0, 500, 502]))


def test_repeated_members_that_no_check_sees_leave_edges_to_the_first():
    graph = sample("many").graph
    members = torch.randint(500, (400,))
    arguments = (graph.rowptr, graph.col, graph.edge_id, members, torch.tensor([0, 150, 150, 400]))
    found, wanted = torch.ops.gnnkit.induced_subgraphs(*arguments), references["induced_subgraphs"](*arguments)
    assert all(torch.equal(one, two) for one, two in zip(found, wanted, strict=True))
    first = next(n for n in range(400) if members[n] in members[:n] and (n < 150 or members[n] in members[150:n]))
    assert int(found[3]) == first


def test_is_traceable():
    graph, sets = sample("isolated-tail").graph, random_sets(9, 5, 4)
    arguments = (graph.rowptr, graph.col, graph.edge_id, *sets)
    torch.library.opcheck(torch.ops.gnnkit.induced_subgraphs.default, arguments)
    compiled = torch.compile(
        lambda graph, *sets: ops.induced_subgraphs(graph, *sets)[1].sum(),
        backend="aot_eager",
        fullgraph=True,
        dynamic=True,
    )
    for structure in ("isolated-tail", "many"):
        chosen = sample(structure).graph
        sets = random_sets(chosen.num_nodes, 5, 7)
        assert compiled(chosen, *sets) == ops.induced_subgraphs(chosen, *sets)[1].sum()


def test_reads_nothing_it_did_not_write(nan_filled_memory):
    graph, (members, token_ptr) = sample("many").graph, random_sets(500, 30, 50)
    found, edge = ops.induced_subgraphs(graph, members, token_ptr)
    assert listed(found, edge) == expected(graph, members, token_ptr)


@needs_checking_kernels
@pytest.mark.parametrize(
    ("rowptr", "col", "members", "ptr"),
    [
        ([0, 1, 2], [1, 2], [0, 1], [0, 2]),
        ([0, 1, 2], [-1, 0], [0, 1], [0, 2]),
        ([0, 9, 2], [1, 0], [0, 1], [0, 2]),
        ([0, 2, 1], [1, 0], [0, 1], [0, 2]),
        ([0, 1, 2], [1, 0], [0, 2], [0, 2]),
        ([0, 1, 2], [1, 0], [-1, 0], [0, 2]),
        ([0, 1, 2], [1, 0], [0, 1], [0, 3]),
        ([0, 1, 2], [1, 0], [0, 1], [0, 2, 1, 2]),
        ([0, 1, 2], [1, 0], [0, 1], []),
    ],
)
def test_kernel_refuses_what_python_cannot_read(rowptr, col, members, ptr):
    given = [torch.tensor(value, dtype=torch.int64) for value in (rowptr, col, members, ptr)]
    with pytest.raises(RuntimeError):
        torch.ops.gnnkit.induced_subgraphs(given[0], given[1], None, given[2], given[3])
