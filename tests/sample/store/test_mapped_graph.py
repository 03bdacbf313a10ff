"""Mapped topology: the graph of all edges, from parts of them."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import Graph, ops
from gnnkit.errors import ConfigError, DataError, DtypeError, GnnkitError, IndexRangeError, ShapeError
from gnnkit.sample import Neighbor, SaintEdge, SaintFrontier, SaintNode, SaintWalk, ShaDow
from gnnkit.sample._counts import fingerprint
from gnnkit.sample.store import MappedGraph
from gnnkit.sample.store import graph as module

SIZES = [(40, 200), (1, 5), (7, 0), (0, 0), (300, 40)]
every_size = pytest.mark.parametrize(("num_nodes", "num_edges"), SIZES)


def edges_of(num_nodes: int, num_edges: int, dtype: torch.dtype = torch.int64) -> Tensor:
    rng = np.random.default_rng(num_nodes + num_edges)
    return torch.from_numpy(rng.integers(0, max(num_nodes, 1), (2, num_edges))).to(dtype)


def same(found: Graph, expected: Graph) -> None:
    assert (found.num_src, found.num_dst, found.num_edges) == (expected.num_src, expected.num_dst, expected.num_edges)
    assert torch.equal(found.rowptr.long(), expected.rowptr.long())
    assert torch.equal(found.col.long(), expected.col.long())
    assert torch.equal(found.edge_index.long(), expected.edge_index.long())
    assert (found.edge_id is None) == (expected.edge_id is None)
    if found.edge_id is not None and expected.edge_id is not None:
        assert torch.equal(found.edge_id.long(), expected.edge_id.long())


@every_size
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("size", [1, 17, 10_000])
def test_is_the_graph_of_all_edges(tmp_path: Path, num_nodes: int, num_edges: int, dtype: torch.dtype, size: int):
    edges = edges_of(num_nodes, num_edges, dtype)
    found = MappedGraph.build(tmp_path / "graph", edges.split(size, dim=1) if num_edges else [], num_nodes)
    same(found, Graph.from_edge_index(edges, num_nodes))
    assert isinstance(found, Graph)
    assert found.rowptr.dtype == torch.int32
    same(MappedGraph(tmp_path / "graph"), found)
    found.verify()
    assert os.listdir(tmp_path) == ["graph"]


def test_parts_larger_than_what_is_sorted_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_AT_ONCE", 13)
    edges = edges_of(40, 200)
    same(MappedGraph.build(tmp_path / "graph", edges, 40), Graph.from_edge_index(edges, 40))


def test_edges_in_order_of_destination_need_no_numbers(tmp_path: Path):
    edges = edges_of(40, 200)
    edges = edges[:, edges[1].argsort(stable=True)]
    found = MappedGraph.build(tmp_path / "graph", edges.split(11, dim=1), 40)
    assert found.edge_id is None
    same(found, Graph.from_edge_index(edges, 40))
    late = torch.cat([edges[:, 50:], edges[:, :50]], dim=1)
    same(MappedGraph.build(tmp_path / "graph", late.split(50, dim=1), 40), Graph.from_edge_index(late, 40))


def test_without_numbers_edges_are_those_of_the_file(tmp_path: Path):
    edges = edges_of(40, 200)
    found = MappedGraph.build(tmp_path / "graph", [edges], 40, edge_ids=False)
    assert found.edge_id is None
    order = edges[1].argsort(stable=True)
    assert torch.equal(found.edge_index.long(), edges[:, order])


def test_bipartite(tmp_path: Path):
    edges = torch.tensor([[8, 0, 8], [1, 0, 0]])
    found = MappedGraph.build(tmp_path / "graph", [edges], num_src=9, num_dst=3)
    same(found, Graph.from_edge_index(edges, num_src=9, num_dst=3))
    with pytest.raises(DataError, match="a bipartite graph cannot be sampled from"):
        Neighbor(Data(graph=found, num_nodes=9), [2])


def test_wide_indices_where_narrow_ones_do_not_suffice(tmp_path: Path):
    edges = torch.tensor([[2**31 + 5, 3], [1, 0]])
    found = MappedGraph.build(tmp_path / "graph", [edges], num_src=2**31 + 6, num_dst=2)
    assert found.col.dtype == torch.int64
    assert torch.equal(found.edge_index, edges)


def test_operators_run_on_it(tmp_path: Path):
    edges, x = edges_of(40, 200), torch.randn(40, 5)
    found, weight = MappedGraph.build(tmp_path / "graph", [edges], 40), torch.rand(200)
    expected = Graph.from_edge_index(edges, 40)
    assert torch.equal(ops.spmm(found, x, weight), ops.spmm(expected, x, weight))
    assert torch.equal(found.transpose().edge_index.long(), expected.transpose().edge_index)
    assert torch.equal(found.in_degree().long(), expected.in_degree())


SAMPLERS = {
    "node": lambda data: SaintNode(data, 12, 3),
    "edge": lambda data: SaintEdge(data, 6, 3),
    "walk": lambda data: SaintWalk(data, 5, 2, 3),
    "frontier": lambda data: SaintFrontier(data, 9, 3, 3),
    "inductive": lambda data: SaintWalk(data, 5, 2, 3, inductive=True, train_mask=torch.arange(40) % 2 == 0),
    "neighbor": lambda data: Neighbor(data, [3, 2], batch_size=9, shuffle=True),
    "out": lambda data: Neighbor(data, [3, 2], batch_size=9, direction="out"),
    "both": lambda data: Neighbor(data, [3, 2], batch_size=9, direction="both", disjoint=True),
    "shadow": lambda data: ShaDow(data, 2, 3, batch_size=7),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_give_the_same_batches(tmp_path: Path, name: str):
    edges, y, weight = edges_of(40, 200), torch.arange(40), torch.rand(200)
    graph = MappedGraph.build(tmp_path / "graph", edges.split(60, dim=1), 40)
    mapped = SAMPLERS[name](Data(graph=graph, y=y, edge_weight=weight, num_nodes=40))
    live = SAMPLERS[name](Data(edge_index=edges, y=y, edge_weight=weight, num_nodes=40))
    assert len(mapped) == len(live) > 0
    for batch, wanted in zip(mapped, live, strict=True):
        assert batch.to_dict().keys() == wanted.to_dict().keys()
        for key, value in wanted.to_dict().items():
            same_value = torch.equal(batch[key], value) if isinstance(value, Tensor) else batch[key] == value
            assert same_value, key


def test_data_must_have_as_many_nodes_as_its_graph(tmp_path: Path):
    graph = MappedGraph.build(tmp_path / "graph", [edges_of(40, 200)], 40)
    for data in (Data(graph=graph), Data(graph=graph, num_nodes=41), Data(graph=graph, x=torch.ones(39, 1))):
        with pytest.raises(DataError, match=r"data\.num_nodes must be set to the number of nodes of data\.graph"):
            SaintWalk(data, 5, 2)


def test_the_checksum_is_that_of_the_graph_in_memory(tmp_path: Path):
    edges = edges_of(40, 200)
    found = MappedGraph.build(tmp_path / "graph", [edges], 40)
    wanted = fingerprint(Graph.from_edge_index(edges, 40), ())
    assert found.cached("fingerprint", lambda: "") == wanted == fingerprint(found, ())


def test_a_function_gives_the_parts_twice(tmp_path: Path):
    edges, calls = edges_of(40, 200), []

    def parts() -> Iterator[Tensor]:
        calls.append(1)
        yield from edges.split(30, dim=1)

    same(MappedGraph.build(tmp_path / "graph", parts, 40), Graph.from_edge_index(edges, 40))
    assert len(calls) == 2
    with pytest.raises(DataError, match="edges are read twice, which generator does not allow"):
        MappedGraph.build(tmp_path / "graph", parts(), 40)
    with pytest.raises(DataError, match="which int does not allow"):
        MappedGraph.build(tmp_path / "graph", 5, 40)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["more", "fewer", "others"])
def test_parts_that_change_between_the_passes(tmp_path: Path, change: str):
    edges = edges_of(40, 200)
    other = edges.clone()
    other[1] = 0
    second = {"more": torch.cat([edges, edges[:, :1]], dim=1), "fewer": edges[:, :-1], "others": other}[change]
    passes = iter([edges, second])
    with pytest.raises(DataError, match="not the same in the second pass"):
        MappedGraph.build(tmp_path / "graph", lambda: next(passes).split(50, dim=1), 40)
    assert os.listdir(tmp_path) == []


def test_edges_that_are_none(tmp_path: Path):
    good = edges_of(40, 200)
    for end, text in ((0, "sources"), (1, "destinations")):
        for node in (-1, 40):
            wrong = good.clone()
            wrong[end, 7] = node
            with pytest.raises(IndexRangeError, match=rf"number of {text} = 40.*edges\[{end}\]\[7\] = {node}"):
                MappedGraph.build(tmp_path / "graph", [good, wrong], 40)
    with pytest.raises(DtypeError):
        MappedGraph.build(tmp_path / "graph", [good.float()], 40)
    with pytest.raises(ShapeError, match=r"edges must have shape \[2, e\]"):
        MappedGraph.build(tmp_path / "graph", [good.t()], 40)
    with pytest.raises(ShapeError, match="number of nodes must be given"):
        MappedGraph.build(tmp_path / "graph", [good])
    with pytest.raises(ShapeError, match="not both"):
        MappedGraph.build(tmp_path / "graph", [good], 40, num_src=40)
    with pytest.raises(ConfigError, match="edge_ids must be True or False"):
        MappedGraph.build(tmp_path / "graph", [good], 40, edge_ids=1)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def test_another_process_opens_the_file_again(tmp_path: Path):
    edges = edges_of(300, 4000)
    found = MappedGraph.build(tmp_path / "graph", [edges], 300)
    sent = pickle.dumps(found)
    assert len(sent) < 1000
    same(pickle.loads(sent), found)
    assert repr(found) == f"MappedGraph(num_src=300, num_dst=300, num_edges=4000, {tmp_path / 'graph'})"


def test_damage_is_found(tmp_path: Path):
    MappedGraph.build(tmp_path / "graph", [edges_of(300, 4000)], 300)
    content = bytearray((tmp_path / "graph").read_bytes())
    (tmp_path / "short").write_bytes(content[:-1])
    with pytest.raises(DataError, match="truncated"):
        MappedGraph(tmp_path / "short")
    # The sources begin after the header and a page of row boundaries.
    content[16384 + 4096 + 40 : 16384 + 4096 + 44] = (2**30).to_bytes(4, "little")
    (tmp_path / "wrong").write_bytes(content)
    wrong = MappedGraph(tmp_path / "wrong")
    with pytest.raises(DataError, match="damaged: col is not what was written"):
        wrong.verify()
    # What is not looked at beforehand must still not be read out of bounds.
    with pytest.raises((RuntimeError, GnnkitError, IndexError)):
        ops.spmm(wrong, torch.randn(300, 4))
