import copy

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from gnnkit.data import DatasetInfo, GraphDataset, ring_transfer
from gnnkit.errors import DataError, DtypeError, IndexRangeError, ShapeError


def assert_same_graph(actual: Data, expected: Data) -> None:
    assert list(actual.to_dict()) == list(expected.to_dict())
    for key in expected.keys():  # noqa: SIM118
        if isinstance(expected[key], torch.Tensor):
            assert actual[key].dtype == expected[key].dtype, key
            assert torch.equal(actual[key].nan_to_num(-1), expected[key].nan_to_num(-1)), key
        else:
            assert actual[key] == expected[key], key


@pytest.mark.parametrize("options", [{}, {"with_x": False}, {"with_ragged": False}, {"with_edge_attr": False}])
@pytest.mark.parametrize("ids", [[0], [1], [3, 0, 5, 2], [6, 5, 4, 3, 2, 1, 0], [2, 2, 0, 2], [-1, 0]])
def test_batch_equals_pygs_collation(make_dataset, options: dict, ids: list[int]) -> None:
    dataset = make_dataset(**options)
    batch = dataset.batch(torch.tensor(ids))
    expected = Batch.from_data_list([dataset[i] for i in ids])
    assert type(batch) is type(expected)
    assert batch.num_graphs == expected.num_graphs == len(ids)
    assert batch.num_nodes == expected.num_nodes
    assert torch.equal(batch.ptr, expected.ptr)
    assert torch.equal(batch.batch, expected.batch)
    assert_same_graph(batch, expected)
    for position, graph in enumerate(batch.to_data_list()):
        assert_same_graph(graph, expected[position])
        assert_same_graph(graph, dataset[ids[position]])
        assert_same_graph(batch[position], graph)
    assert batch._slice_dict.keys() == expected._slice_dict.keys()
    for key, slices in expected._slice_dict.items():
        assert torch.equal(batch._slice_dict[key], slices)
        assert torch.equal(batch._inc_dict[key].flatten(), expected._inc_dict[key].flatten())


def test_batch_survives_what_users_do_with_batches(make_dataset) -> None:
    batch = make_dataset().batch([3, 1])
    assert copy.copy(batch).num_graphs == 2
    assert batch.clone()[1].num_nodes == 1
    assert batch.to("cpu").num_graphs == 2
    assert [graph.num_nodes for graph in batch[torch.tensor([1, 0])]] == [1, batch[0].num_nodes]


def test_batch_of_no_graphs_is_refused(make_dataset) -> None:
    with pytest.raises(ShapeError, match="at least one graph"):
        make_dataset().batch([])


def test_batch_checks_ids(make_dataset) -> None:
    dataset = make_dataset()
    with pytest.raises(IndexRangeError, match="graph number 7"):
        dataset.batch([0, 7])
    with pytest.raises(DtypeError, match="float32"):
        dataset.batch(torch.tensor([0.0]))


def test_batch_twice_gives_the_same_bits(make_dataset) -> None:
    dataset = make_dataset()
    assert_same_graph(dataset.batch([4, 1, 5]), dataset.batch([4, 1, 5]))


def test_single_graphs(make_dataset) -> None:
    dataset = make_dataset()
    assert len(dataset) == 7
    start, stop = int(dataset.node_ptr[3]), int(dataset.node_ptr[4])
    assert torch.equal(dataset[3].x, dataset.node["x"][start:stop])
    assert_same_graph(dataset[-4], dataset[3])
    assert_same_graph(dataset[torch.tensor(3)], dataset[3])
    with pytest.raises(IndexRangeError):
        dataset[7]
    assert len(list(dataset)) == 7


def test_changing_a_graph_does_not_change_the_dataset(make_dataset) -> None:
    dataset = make_dataset()
    before = dataset.content_hash
    graph = dataset[0]
    graph.x += 1
    graph.y.zero_()
    batch = dataset.batch([1])
    batch.x += 1
    del dataset.__dict__["content_hash"]
    assert dataset.content_hash == before


def test_subsets_carry_graphs_and_splits(make_dataset) -> None:
    dataset = make_dataset()
    chosen = torch.tensor([5, 2, 6])
    subset = dataset[chosen]
    assert isinstance(subset, GraphDataset)
    for position, number in enumerate(chosen.tolist()):
        assert_same_graph(subset[position], dataset[number])
    for key, members in dataset.split.items():
        expected = [i for i, number in enumerate(chosen.tolist()) if number in members.tolist()]
        assert subset.split[key].tolist() == expected
    assert len(dataset[1:4]) == 3
    assert len(dataset[dataset.split["train"]]) == 5
    assert len(dataset[torch.zeros(7, dtype=torch.bool)]) == 0
    assert subset.info == dataset.info


@pytest.mark.parametrize("num_workers", [0, 1])
def test_pyg_data_loader(make_dataset, num_workers: int) -> None:
    dataset = make_dataset()
    loader = DataLoader(
        dataset, batch_size=3, num_workers=num_workers, multiprocessing_context="spawn" if num_workers else None
    )
    batches = list(loader)
    assert [batch.num_graphs for batch in batches] == [3, 3, 1]
    assert_same_graph(batches[1], dataset.batch([3, 4, 5]))


def test_sizes_and_repr(make_dataset) -> None:
    dataset = make_dataset()
    assert (dataset.num_node_features, dataset.num_edge_features) == (4, 2)
    assert (dataset.name, dataset.task, dataset.metric, dataset.num_outputs) == ("random", "multilabel", "ap", 3)
    assert dataset.checksums == {"random.csv": "ab" * 32}
    assert "graphs=7" in repr(dataset)
    assert "official" not in repr(dataset)
    assert "official=False" in repr(dataset.with_info(official=False))


def test_statistics_count_by_hand(make_dataset) -> None:
    dataset = make_dataset()
    y = dataset.graph["y"]
    assert dataset.statistics() == {
        "graphs": 7,
        "nodes": sum(int(graph.num_nodes) for graph in dataset),
        "edges": sum(graph.num_edges for graph in dataset),
        "split": {"train": 5, "val": 1, "test": 1},
        "labels": {"positive": [int((y[:, t] == 1).sum()) for t in range(3)], "missing": [0, 1, 0]},
    }


def test_device_move_keeps_pointers_on_the_cpu(make_dataset) -> None:
    moved = make_dataset().to("meta")
    assert moved.device.type == "meta"
    assert moved.node_ptr.device.type == "cpu"
    assert all(value.device.type == "meta" for value in moved.node.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_are_made_on_the_datasets_device(make_dataset) -> None:
    dataset = make_dataset()
    batch = dataset.to("cuda").batch([3, 0, 5])
    assert batch.x.is_cuda
    assert batch.ptr.is_cuda
    assert_same_graph(batch.cpu(), dataset.batch([3, 0, 5]))


def small(**changes) -> GraphDataset:
    """Two graphs with two nodes and one edge each, with some parts replaced."""
    parts = {
        "node_ptr": torch.tensor([0, 2, 4]),
        "edge_ptr": torch.tensor([0, 1, 2]),
        "edge_index": torch.tensor([[0, 1], [1, 0]]),
        "node": {"x": torch.ones(4, 1)},
        "edge": {},
        "graph": {"y": torch.zeros(2, 1)},
        "split": {"train": torch.tensor([0]), "val": torch.tensor([1]), "test": torch.tensor([], dtype=torch.int64)},
    }
    return GraphDataset(DatasetInfo("small", "binary", "rocauc", 1), **(parts | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edge_index": torch.tensor([[0, 2], [1, 0]])}, r"edge 0 of graph 1 is \(2, 0\), but the graph has 2 nodes"),
        ({"edge_index": torch.tensor([[0, -1], [1, 0]])}, "edge 0 of graph 1"),
        ({"edge_index": torch.tensor([[0, 1], [1, 0]], dtype=torch.int32)}, "int64"),
        ({"node_ptr": torch.tensor([0, 3, 2])}, "never decrease"),
        ({"node_ptr": torch.tensor([1, 2, 4])}, "start with 0"),
        ({"edge_ptr": torch.tensor([0, 2])}, "3 entries for 2 graphs"),
        ({"node": {"x": torch.ones(5, 1)}}, "x has shape"),
        ({"graph": {}}, "labels 'y'"),
        ({"graph": {"y": torch.zeros(2, 2)}}, r"float32 \[G, 1\]"),
        ({"graph": {"y": torch.full((2, 1), 0.5)}}, "labels of graph 0"),
        ({"node": {"x": torch.ones(4, 1), "batch": torch.zeros(4)}}, "needs that name"),
        ({"edge": {"x": torch.ones(2, 1)}}, "given twice"),
        ({"split": {"train": torch.tensor([0, 2])}}, "names graph 2"),
        ({"split": {"train": torch.tensor([0, 1]), "val": torch.tensor([1])}}, "graph 1 .* train and val"),
        ({"split": {"train": torch.tensor([0, 0])}}, "more than one place"),
        ({"split": {"train": torch.tensor([0.0])}}, "int64"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        small(**changes)


def test_classes_must_be_in_range() -> None:
    parts = ring_transfer(num_train=5, num_val=0, num_test=0)
    with pytest.raises(DataError, match=r"\[0, 3\)"):
        GraphDataset(
            DatasetInfo("ring", "multiclass", "accuracy", 3),
            node_ptr=parts.node_ptr,
            edge_ptr=parts.edge_ptr,
            edge_index=parts.edge_index,
            node=parts.node,
            edge={},
            graph=parts.graph,
            split=parts.split,
        )
