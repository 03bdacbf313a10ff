"""What all rewirings share: what they read, what they keep, and what they write."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import Compose

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.rewire._rewiring import Change, Rewiring, check_edge_count, edge_count


class Swap(Rewiring):
    """Takes out given edges and adds others."""

    def __init__(self, *, added: Any = ((0, 3),), removed: Any = (1,), edge_fill: Any = None, seed: int = 0) -> None:
        super().__init__(edge_fill=edge_fill, seed=seed)
        self.added, self.removed = added, removed

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        added = torch.tensor(self.added, dtype=torch.int64).reshape(-1, 2).T
        return Change(added, torch.tensor(self.removed, dtype=torch.int64))


class Draw(Rewiring):
    """Adds the edge to one random node."""

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        chosen = int(torch.randint(2, 6, (1,), generator=generator))
        return Change(torch.tensor([[0], [chosen]]))


def path(**more: Any) -> Any:
    """0 - 1 - 2 - 3, and a self-loop at 4, in no order."""
    edges = torch.tensor([[1, 2, 4, 0, 3, 2, 1], [2, 1, 4, 1, 2, 3, 0]])
    return Data(x=torch.arange(10.0).reshape(5, 2), y=torch.tensor([7]), edge_index=edges, **more)


def rows(data: Any, *names: str) -> list[tuple]:
    return list(zip(*data.edge_index.tolist(), *(data[name].tolist() for name in names), strict=True))


def test_edges_go_and_come_in_both_directions_and_loops_stay():
    data = path()
    out = Swap()(data)
    assert rows(out, "edge_type") == [(0, 1, 0), (0, 3, 1), (1, 0, 0), (2, 3, 0), (3, 0, 1), (3, 2, 0), (4, 4, 0)]
    assert torch.equal(out.x, data.x)
    assert torch.equal(out.y, data.y)
    assert "edge_type" not in data, "the transform works on a copy"
    assert data.num_edges == 7


def test_attributes_follow_their_edges_and_are_filled_as_asked():
    weight = torch.arange(1.0, 8.0)
    data = path(edge_weight=weight, edge_attr=torch.stack([weight, -weight], dim=1), edge_kind=torch.arange(7))
    out = Swap()(data)
    names = ("edge_weight", "edge_kind")
    kept = {(0, 1): (4, 3), (1, 0): (7, 6), (2, 3): (6, 5), (3, 2): (5, 4), (4, 4): (3, 2)}
    for source, target, found_weight, kind in rows(out, *names):
        assert (found_weight, kind) == kept.get((source, target), (1.0, 0))
    filled = Swap(edge_fill={"edge_attr": "mean", "edge_kind": 9, "edge_weight": 0.5})(data)
    added = filled.edge_type == 1
    assert filled.edge_attr[added].tolist() == [[4.0, -4.0]] * 2
    assert filled.edge_kind[added].tolist() == [9, 9]
    assert filled.edge_weight[added].tolist() == [0.5, 0.5]
    with pytest.raises(ConfigError, match="'mean' needs a floating dtype, but edge_kind"):
        Swap(edge_fill="mean")(data)


def test_labels_of_pairs_of_nodes_and_graphs():
    data = path(edge_label=torch.ones(7), graph=Graph.from_edge_index(path().edge_index, 5))
    out = Swap()(data)
    assert torch.equal(out.edge_label, data.edge_label)
    assert "graph" not in out
    assert "graph" in data


def test_what_an_earlier_rewiring_added_stays_added():
    out: Any = Compose([Swap(removed=()), Swap(added=((1, 3),), removed=(0,))])(path())
    assert [row for row in rows(out, "edge_type") if row[2] == 1] == [(0, 3, 1), (1, 3, 1), (3, 0, 1), (3, 1, 1)]
    with pytest.raises(DataError, match="already holds other relations"):
        Swap()(path(edge_type=torch.arange(7)))


def test_multi_edges_merge_unless_that_would_lose_attributes():
    double = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]])
    data: Any = Data(edge_index=double, num_nodes=4, edge_attr=torch.tensor([1.0, 2.0, 1.0, 2.0]))
    out = Swap(removed=())(data)
    assert rows(out, "edge_attr") == [(0, 1, 1.0), (0, 3, 0.0), (1, 0, 2.0), (3, 0, 0.0)]
    data.edge_attr = torch.arange(4.0)
    with pytest.raises(DataError, match=r"columns 0 and 2 .* different edge_attr; .*coalesce"):
        Swap(removed=())(data)


def test_a_batch_is_rewired_graph_by_graph_and_comes_apart_again():
    graphs = [path(edge_attr=torch.rand(7)) for _ in range(3)]
    batch: Any = Swap()(Batch.from_data_list(graphs))
    for single, graph in zip(batch.to_data_list(), graphs, strict=True):
        alone = Swap()(graph)
        for key in ("edge_index", "edge_type", "edge_attr", "x", "y"):
            assert torch.equal(single[key], alone[key])


def test_one_seed_one_result_and_isolated_nodes_stay():
    data: Any = Data(edge_index=torch.tensor([[0, 1], [1, 0]], dtype=torch.int32), num_nodes=9)
    results = [Draw(seed=seed)(data).edge_index for seed in range(10)]
    assert all(torch.equal(Draw(seed=3)(data).edge_index, results[3]) for _ in range(2))
    assert len({tuple(result.flatten().tolist()) for result in results}) > 1
    assert results[0].dtype == torch.int32
    assert Draw()(data).num_nodes == 9


def test_counts_and_fractions():
    assert edge_count(3, 100) == 3
    assert edge_count(0.25, 10) == 3
    assert edge_count(1.0, 10) == 10
    for value, words in (
        (-1, "negative"),
        (1.5, r"\[0, 1\]"),
        (True, "int"),
        ("3", "int"),
        (float("nan"), r"\[0, 1\]"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_edge_count("add", value)


def test_settings_are_printed():
    assert repr(Draw(edge_fill="mean", seed=4)) == "Draw(edge_fill='mean', seed=4)"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Data(x=torch.ones(3, 1)), "edge_index, which is missing"),
        (Data(edge_index=torch.tensor([[0], [1]])), "set data.num_nodes"),
        (Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2), "to_undirected"),
    ],
)
def test_bad_data_is_named(data: Data, words: str):
    with pytest.raises(DataError, match=words):
        Swap()(data)


@pytest.mark.parametrize("options", [{"edge_fill": "median"}, {"edge_fill": {"edge_attr": Tensor}}, {"seed": 1.5}])
def test_bad_settings_are_named(options: dict[str, Any]):
    with pytest.raises(ConfigError):
        Swap(**options)
