"""Many graphs: the same results however they are computed, and a cache that can be trusted."""

import logging
from pathlib import Path
from typing import Any, ClassVar

import joblib
import networkx as nx
import numpy as np
import pytest
import pytest_socket
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, InMemoryDataset
from torch_geometric.transforms import BaseTransform, Compose, ToUndirected

import gnnkit
from gnnkit import Graph
from gnnkit.encodings import Encoding
from gnnkit.errors import ConfigError, DataError
from gnnkit.rewire import LASER, Expander, RandomEdges, VirtualNode, apply
from gnnkit.transforms import _cache
from tests.rewire.made_graphs import data_of


def some_graphs(count: int = 70) -> list[Any]:
    graphs = []
    for number in range(count):
        data = data_of(nx.gnm_random_graph(8 + number % 5, 12, seed=number), y=torch.tensor([[float(number)]]))
        data.x = torch.rand(data.num_nodes, 3, generator=torch.Generator().manual_seed(number))
        data.name = f"graph {number}"
        graphs.append(data)
    return graphs


def assert_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert type(one) is type(other)
        assert list(one.to_dict()) == list(other.to_dict())
        for key, value in other.to_dict().items():
            if isinstance(value, torch.Tensor):
                assert one[key].dtype == value.dtype
                assert torch.equal(one[key], value)
            else:
                assert one[key] == value
                assert type(one[key]) is type(value)


def test_results_are_those_of_the_transform_in_order_for_any_number_of_workers(tmp_path: Path):
    graphs, transform = some_graphs(), RandomEdges(num_edges=3, seed=5)
    expected = [transform(data) for data in graphs]
    assert_same(apply(graphs, transform), expected)
    assert_same(apply(iter(graphs), transform, progress=False), expected)
    before = torch.get_num_threads()
    assert_same(apply(graphs, transform, num_workers=2), expected)
    assert_same(apply(graphs, transform, num_workers=2, cache=tmp_path), expected)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert_same(apply(graphs, transform, num_workers=1, cache=tmp_path), expected)
    assert sorted(tmp_path.iterdir()) == files, "the key is the same in every process"
    assert torch.get_num_threads() == before


def test_back_ends_are_those_of_joblib():
    graphs, transform = some_graphs(40), Expander(degree=3)
    expected = [transform(data) for data in graphs]
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert_same(apply(graphs, transform), expected)

    class Plain(joblib.parallel.SequentialBackend):
        supports_return_generator = False

    joblib.register_parallel_backend("plain", Plain)
    with joblib.parallel_config(backend="plain"):
        assert_same(apply(graphs, transform), expected)


def test_dask_is_a_back_end(tmp_path: Path):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    graphs, transform = some_graphs(70), Compose([RandomEdges(num_edges=2), gnnkit.encodings.RandomWalk(3)])
    expected = [transform(data) for data in graphs]
    # Its scheduler and workers are threads here, but talk to each other all the same.
    pytest_socket.enable_socket()
    client = distributed.Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None)
    with client, joblib.parallel_config(backend="dask"):
        assert_same(apply(graphs, transform), expected)
        for _ in range(2):
            assert_same(apply(graphs, transform, cache=tmp_path), expected)
        graphs[50].edge_index = graphs[50].edge_index[:, :1]
        with pytest.raises(DataError, match=r"graph 50: .*directed"):
            apply(graphs, transform)
    assert len(list(tmp_path.iterdir())) == 3


def test_rewirings_and_encodings_have_the_same_apply():
    assert gnnkit.rewire.apply is gnnkit.encodings.apply is gnnkit.transforms.apply is apply


class NodeNumbers(Encoding):
    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        return {"number": torch.arange(data.num_nodes) - data.ptr[graph_of_node] if "ptr" in data else graph_of_node}


def test_encodings_take_small_graphs_side_by_side_in_any_process(tmp_path: Path):
    graphs = some_graphs()
    for options in ({}, {"num_workers": 2}, {"num_workers": 2, "cache": tmp_path}, {"cache": tmp_path}):
        for data, given in zip(apply(graphs, NodeNumbers(), **options), graphs, strict=True):
            assert data.number.tolist() == list(range(given.num_nodes))
            assert data.x is given.x, "what was left alone is the tensor that was given"
            assert "number" not in given


class WriteInPlace(BaseTransform):
    def forward(self, data: Any) -> Any:
        data.x.add_(1)
        return data


def test_what_is_written_in_place_is_in_the_results_but_not_in_the_cache(tmp_path: Path):
    expected = [data.x + 1 for data in some_graphs(3)]
    for workers in (None, 2):
        found = apply(some_graphs(3), WriteInPlace(), num_workers=workers)
        assert all(torch.equal(data.x, x) for data, x in zip(found, expected, strict=True))
    with pytest.raises(DataError, match=r"wrote into attribute 'x' of the graph given, in place.*cache=None"):
        apply(some_graphs(3), WriteInPlace(), cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_transform_that_takes_many_graphs_gets_them():
    class Many(BaseTransform):
        sizes: ClassVar[list[int]] = []

        def forward(self, data: Any) -> Any:
            raise DataError("one by one")

        def forward_many(self, graphs: Any) -> list[Any]:
            self.sizes.append(len(graphs))
            if len(self.sizes) == 4:
                raise DataError("which?")
            return list(graphs)

    graphs = some_graphs(70)
    assert_same(apply(graphs, Many()), graphs)
    assert Many.sizes == [32, 32, 6]
    with pytest.raises(DataError, match="graph 0: one by one"):
        apply(graphs, Compose([VirtualNode(), Many()]))


def test_workers_run_torch_on_one_thread():
    assert set(apply(some_graphs(2), ThreadCount(), num_workers=2)[0].threads.tolist()) == {1}


class ThreadCount(BaseTransform):
    def forward(self, data: Any) -> Any:
        data.threads = torch.tensor([torch.get_num_threads()])
        return data


class Counting(BaseTransform):
    """Counts its calls outside of itself."""

    calls = 0

    def __init__(self, size: int = 1, stop_at: int | None = None) -> None:
        self.size = size
        self._stop_at = stop_at

    def settings(self) -> dict[str, Any]:
        return {"size": self.size}

    def forward(self, data: Any) -> Any:
        Counting.calls += 1
        if Counting.calls == self._stop_at:
            raise KeyboardInterrupt
        data.size = torch.full((1,), self.size)
        data.words = {"a": [1, 2.5, None, True], "b": "ü"}
        return data


@pytest.fixture(autouse=True)
def _no_calls():
    Counting.calls = 0


def test_the_cache_is_hit_and_keyed_by_content_and_settings(tmp_path: Path):
    graphs = some_graphs(40)
    first = apply(graphs, Counting(), cache=tmp_path)
    assert Counting.calls == 40
    assert_same(apply(some_graphs(40), Counting(), cache=tmp_path), first)
    assert Counting.calls == 40
    apply(graphs, Counting(size=2), cache=tmp_path)
    assert Counting.calls == 80
    changed = some_graphs(40)
    changed[33].x[0, 0] += 1
    apply(changed, Counting(), cache=tmp_path)
    assert Counting.calls == 88, "the chunk with the change only"
    for change in ({"x": changed[0].x.double()}, {"name": "another"}, {"z": changed[0].x}, {"num_nodes": 99}):
        apply([Data(**{**graphs[0].to_dict(), **change})], Counting(), cache=tmp_path)
    assert Counting.calls == 92


def test_a_new_version_computes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    apply(some_graphs(3), Counting(), cache=tmp_path)
    monkeypatch.setattr(_cache, "__version__", "999")
    apply(some_graphs(3), Counting(), cache=tmp_path)
    assert Counting.calls == 6


def test_what_was_interrupted_goes_on_where_it_was(tmp_path: Path):
    graphs = some_graphs(100)
    with pytest.raises(KeyboardInterrupt):
        apply(graphs, Counting(stop_at=70), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    Counting.calls = 0
    apply(graphs, Counting(), cache=tmp_path)
    assert Counting.calls == 36


@pytest.mark.parametrize("damage", ["cut", "flip", "header", "empty"])
def test_a_damaged_file_is_computed_again_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str):
    graphs = some_graphs(5)
    expected = apply(graphs, LASER(), cache=tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-7]
    elif damage == "flip":
        content[-3] ^= 1
    elif damage == "header":
        content[content.index(b"order")] ^= 1
    else:
        content = bytearray()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert_same(apply(graphs, LASER(), cache=tmp_path), expected)
    assert "graphs 0 to 4 are computed again" in caplog.text
    assert "damaged" in caplog.text
    caplog.clear()
    assert_same(apply(graphs, LASER(), cache=tmp_path), expected)
    assert caplog.text == "", "it was mended"


def test_a_folder_that_cannot_be_written_is_said_and_harmless(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with caplog.at_level(logging.WARNING):
        results = apply(some_graphs(3), VirtualNode(), cache=blocked)
    assert len(results) == 3
    assert "not cached" in caplog.text


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", broken)
    apply(some_graphs(3), VirtualNode(), cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_attributes_of_any_kind_are_kept_where_they_were_not_changed(tmp_path: Path):
    data = some_graphs(1)[0]
    data.array = np.arange(3.0)
    data.nested = ("a", [1, (2, 3)], {"k": None})
    data.graph = Graph.from_edge_index(data.edge_index, num_nodes=data.num_nodes)
    data.half = torch.ones(2, dtype=torch.bfloat16)
    data.empty = torch.empty(0, 4)
    data.nan = torch.tensor([float("nan")])
    for _ in range(2):
        (out,) = apply([data], Counting(), cache=tmp_path)
        assert out.array is data.array
        assert out.nested is data.nested
        assert out.graph is data.graph
        assert out.half is data.half
        assert out.nan.isnan()
        assert out.empty.shape == (0, 4)
    assert Counting.calls == 1


class Odd(BaseTransform):
    def __init__(self, value: Any) -> None:
        self.value = value

    def settings(self) -> dict[str, Any]:
        return {}

    def forward(self, data: Any) -> Any:
        data.odd = self.value
        return data


def test_what_cannot_be_stored_is_named(tmp_path: Path):
    graphs = some_graphs(1)
    for value in ((1, 2), np.arange(3), object(), torch.eye(2).to_sparse()):
        with pytest.raises(DataError, match=r"attribute 'odd', which the transform has set, is a .* cache=None"):
            apply(graphs, Odd(value), cache=tmp_path)
        assert apply(graphs, Odd(value))[0].odd is value
    graphs[0].thing = object()
    with pytest.raises(DataError, match=r"attribute 'thing' is a builtins\.object, whose content cannot be hashed"):
        apply(graphs, Counting(), cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_transforms_that_have_no_key_are_named(tmp_path: Path):
    class Local(BaseTransform):
        def forward(self, data: Any) -> Any:
            return data

    with pytest.raises(ConfigError, match="Local is not cached, since its source"):
        apply(some_graphs(1), Local(), cache=tmp_path)
    with pytest.raises(ConfigError, match=r"the transform holds a builtins\.function"):
        apply(some_graphs(1), lambda data: data, cache=tmp_path)
    assert len(apply(some_graphs(1), lambda data: data)) == 1


def test_compositions_have_keys_of_all_their_parts(tmp_path: Path):
    def composed(seed: int) -> Any:
        return Compose([ToUndirected(), RandomEdges(num_edges=2, seed=seed), gnnkit.encodings.RandomWalk(3)])

    graphs = some_graphs(3)
    expected = [composed(1)(data) for data in graphs]
    assert_same(apply(graphs, composed(1), cache=tmp_path), expected)
    assert_same(apply(graphs, composed(1), cache=tmp_path), expected)
    apply(graphs, composed(2), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert _cache.transform_description(Odd(torch.ones(2))) == _cache.transform_description(Odd(3))


def test_datasets_of_both_kinds(tmp_path: Path):
    graphs = some_graphs(9)
    InMemoryDataset.save(graphs, str(tmp_path / "data.pt"))

    class Stored(InMemoryDataset):
        def __init__(self) -> None:
            super().__init__()
            self.load(str(tmp_path / "data.pt"))

    packed = gnnkit.data.load("ring-transfer", ring_size=6, num_train=3, num_val=2, num_test=2)
    for dataset in (Stored(), packed):
        expected = [VirtualNode()(data) for data in dataset]
        found = apply(dataset, VirtualNode())
        assert_same(found, expected)
        assert len(found) == len(dataset)
    assert apply([], VirtualNode()) == []


def test_progress_is_shown_on_demand(capfd: pytest.CaptureFixture[str]):
    apply(some_graphs(40), VirtualNode(), progress=True)
    assert "VirtualNode: 100%" in capfd.readouterr().err
    apply(some_graphs(40), VirtualNode(), progress=False)
    assert capfd.readouterr().err == ""


def test_errors_name_the_graph():
    graphs = some_graphs(40)
    graphs[35].edge_index = graphs[35].edge_index[:, :1]
    with pytest.raises(DataError, match=r"graph 35: .*directed"):
        apply(graphs, RandomEdges(num_edges=1))
    with pytest.raises(DataError, match="function returned NoneType for graph 0"):
        apply(graphs, lambda data: None)


def test_bad_input_is_named():
    with pytest.raises(DataError, match="expected several graphs, got one Data"):
        apply(some_graphs(1)[0], VirtualNode())
    with pytest.raises(DataError, match="expected several graphs, got one DataBatch"):
        apply(Batch.from_data_list(some_graphs(2)), VirtualNode())
    with pytest.raises(DataError, match=r"entry 1 of the dataset is a DataBatch.*to_data_list"):
        apply([some_graphs(1)[0], Batch.from_data_list(some_graphs(2))], VirtualNode())
    with pytest.raises(DataError, match="entry 0 of the dataset is a str"):
        apply(["a.pt"], VirtualNode())
    with pytest.raises(ConfigError, match="a transform must be callable"):
        apply(some_graphs(1), "laser")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="num_workers must be 1 or more"):
        apply(some_graphs(1), VirtualNode(), num_workers=0)
