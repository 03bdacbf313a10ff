"""What all encodings share: copies with new attributes, one by one, in batches, side by side and from a cache."""

import inspect
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, InMemoryDataset
from torch_geometric.transforms import Compose, ToUndirected

import gnnkit
from gnnkit.cli import _ENCODINGS
from gnnkit.data.columns import DatasetInfo
from gnnkit.data.packing import pack
from gnnkit.data.transforms import transform_key
from gnnkit.encodings import Encoding, apply
from gnnkit.errors import ConfigError, DataError
from gnnkit.experiment.transforms import TRANSFORMS
from gnnkit.rewire import RandomEdges
from gnnkit.transforms._cache import transform_description
from tests.rewire.made_graphs import data_of


class Degree(Encoding):
    """Weighted degree to several powers; counts its calls outside of itself."""

    calls = 0

    def __init__(self, powers: int, *, attr_name: str = "degree", weight_attr: str | None = "edge_weight") -> None:
        self.powers = powers
        self.attr_name = attr_name
        self.weight_attr = weight_attr

    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        Degree.calls += 1
        weight = data.get(self.weight_attr) if self.weight_attr else None
        weight = torch.ones(data.num_edges) if weight is None else weight
        if bool((weight < 0).any()):
            raise DataError("Degree: a weight is negative")
        degree = torch.zeros(data.num_nodes).index_add(0, data.edge_index[0], weight)
        size = torch.bincount(graph_of_node)[graph_of_node] if graph_of_node.numel() else graph_of_node
        powers = degree[:, None] ** torch.arange(1, self.powers + 1)
        return {self.attr_name: powers, f"{self.attr_name}_size": size}


class Pairs(Encoding):
    """All pairs of nodes, and the row of each."""

    def encode(self, data: Any) -> dict[str, Tensor]:
        size = int(data.num_nodes)
        index = torch.cartesian_prod(torch.arange(size), torch.arange(size)).reshape(-1, 2).T.contiguous()
        return {"pairs_index": index, "pairs": index.sum(0)[:, None].float()}


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    Degree.calls = 0


def some_graphs(count: int = 40) -> list[Any]:
    graphs = []
    for number in range(count):
        graph = nx.gnm_random_graph(number % 7, 2 * (number % 7), seed=number)
        data = data_of(graph, y=torch.tensor([number]))
        data.x = torch.full((data.num_nodes, 1), float(number))
        data.edge_weight = torch.rand(data.num_edges, generator=torch.Generator().manual_seed(number))
        graphs.append(data)
    return graphs


def assert_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert set(one.keys()) == set(other.keys())
        for key, value in other.to_dict().items():
            assert torch.equal(torch.as_tensor(one[key]), torch.as_tensor(value)), key


def test_the_data_given_are_left_as_they_are():
    for data in (some_graphs(9)[8], Batch.from_data_list(some_graphs(9))):
        before = {key: torch.as_tensor(data[key]).clone() for key in data.keys()}  # noqa: SIM118
        out = Degree(2)(data)
        assert out is not data
        assert set(out.keys()) - set(data.keys()) == {"degree", "degree_size"}
        assert set(data.keys()) == set(before)
        assert all(torch.equal(torch.as_tensor(data[key]), value) for key, value in before.items())


@pytest.mark.parametrize("encoding", [Degree(2), Pairs()])
def test_a_batch_is_its_graphs_one_by_one_and_comes_apart_again(encoding: Encoding):
    graphs = some_graphs()
    batch: Any = encoding(Batch.from_data_list(graphs))
    assert_same(batch.to_data_list(), [encoding(data) for data in graphs])


@pytest.mark.parametrize("encoding", [Degree(2), Pairs(), Compose([ToUndirected(), Degree(1), Pairs()])])
def test_many_graphs_are_encoded_as_one_by_one(encoding: Any):
    graphs = some_graphs()
    expected = [encoding(data) for data in graphs]
    found = apply(graphs, encoding)
    assert_same(found, expected)
    assert all(data.x is given.x for data, given in zip(found, graphs, strict=True))


def test_small_graphs_stand_side_by_side_and_large_ones_alone():
    graphs = some_graphs(10)
    Degree(1).forward_many(graphs)
    assert Degree.calls == 1
    large = data_of(nx.empty_graph(5000))
    found = Degree(1).forward_many([*graphs, large, *graphs])
    assert Degree.calls == 4
    assert found[10].degree_size.unique().tolist() == [5000]
    found[0].degree.fill_(9)
    assert found[9].degree.untyped_storage().nbytes() == 4 * found[9].num_nodes


def test_graphs_with_different_attributes_are_encoded_all_the_same():
    graphs = some_graphs(12)
    graphs[3].extra = torch.ones(2)
    del graphs[5].edge_weight
    graphs[7].x = torch.ones(graphs[7].num_nodes, 3)
    graphs[9].y = "text"
    graphs[11].batch = torch.zeros(graphs[11].num_nodes, dtype=torch.int64)
    expected = [Degree(2)(data) for data in graphs]
    for one, other in zip(Degree(2).forward_many(graphs), expected, strict=True):
        assert torch.equal(one.degree, other.degree)
        assert torch.equal(one.degree_size, other.degree_size)


def test_errors_name_the_graph():
    graphs = some_graphs()
    graphs[34].edge_weight[0] = -1
    with pytest.raises(DataError, match="graph 34: Degree: a weight is negative"):
        apply(graphs, Degree(1))
    del graphs[34].edge_index
    with pytest.raises(DataError, match=r"graph 34: Degree needs data\.edge_index, which is missing"):
        apply(graphs, Degree(1))
    with pytest.raises(DataError, match="graph 0: Degree: nothing tells the number of nodes"):
        apply([Data(edge_index=torch.tensor([[0], [1]]))], Degree(1))


def test_settings_are_the_arguments_and_make_the_key():
    assert repr(Degree(2, attr_name="d")) == "Degree(powers=2, attr_name='d', weight_attr='edge_weight')"
    others = [Degree(2), Degree(3), Degree(2, attr_name="d"), Degree(2, weight_attr=None)]
    for key in (transform_description, transform_key, lambda each: transform_key(Compose([each]))):
        keys = [key(each) for each in others]
        assert None not in keys
        assert len(set(keys)) == 4
        assert key(Degree(2)) == keys[0]


def test_what_is_derived_from_the_settings_is_no_part_of_the_key():
    encoding = Degree(2)
    before = transform_key(encoding), transform_description(encoding)
    encoding._found = lambda: 3  # type: ignore[attr-defined]
    assert (transform_key(encoding), transform_description(encoding)) == before


def test_the_cache_is_found_again(tmp_path: Path):
    graphs = some_graphs()
    expected = apply(graphs, Degree(2), cache=tmp_path)
    calls, files = Degree.calls, sorted(tmp_path.iterdir())
    assert_same(apply(some_graphs(), Degree(2), cache=tmp_path), expected)
    assert (Degree.calls, sorted(tmp_path.iterdir())) == (calls, files)
    apply(some_graphs(), Degree(3), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * len(files)


def test_what_is_drawn_anew_each_time_has_no_key(tmp_path: Path):
    class Drawn(Degree):
        def __init__(self, seed: int | None = 0) -> None:
            super().__init__(1)
            self.seed = seed

    with pytest.raises(ConfigError, match=r"Drawn\(seed=None\) is not cached: it is another one each time"):
        apply(some_graphs(2), Compose([Drawn(None)]), cache=tmp_path)
    assert len(apply(some_graphs(2), Drawn(None))) == 2


ALL = {
    "CurvatureProfile": {},
    "DegreeProfile": {},
    "EgoDegrees": {"depth": 2, "level": "both"},
    "GraphRandomFeatures": {"width": 4, "seed": 3},
    "HeatKernel": {"times": (0.5, 2.0)},
    "HopDistances": {"max_distance": 3},
    "LaplacianEigenvectors": {"k": 3},
    "RandomFeaturePropagation": {"width": 2, "steps": 3, "seed": 1},
    "RandomWalk": {"steps": 6},
    "RelativeRandomWalk": {"steps": 3},
    "ResistanceEmbedding": {"k": 3},
    "SparseGraphRandomFeatures": {"seed": 3},
}


def test_every_encoding_is_tested_here_and_named_in_configurations_and_by_the_command():
    names = {name for name in gnnkit.encodings.__all__ if name not in ("Encoding", "apply")}
    assert set(ALL) == names
    assert {target.partition(":")[2] for target in TRANSFORMS.values() if "encodings" in target} == names
    assert {name for name, _ in _ENCODINGS.values()} == names


@pytest.mark.parametrize("name", ALL)
def test_every_encoding_is_the_same_one_by_one_side_by_side_in_a_data_set_and_from_a_cache(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "data"))
    graphs = some_graphs(24)
    for data in graphs:
        # The same in both directions.
        data.edge_weight = 1 + data.edge_index.sum(0).float()
    kind = getattr(gnnkit.encodings, name)
    encoding = kind(**ALL[name])
    expected = [encoding(data) for data in graphs]
    assert_same(apply(graphs, encoding), expected)
    for _ in range(2):
        assert_same(apply(graphs, Compose([encoding]), cache=tmp_path / "apply"), expected)
        dataset = dataset_of(graphs).with_transform(encoding, progress=False)
        for found, other in zip(dataset, expected, strict=True):
            new = set(other.keys()) - set(graphs[0].keys())
            assert new
            assert all(torch.equal(found[key], other[key]) for key in new)
    assert list(inspect.signature(kind).parameters) == list(encoding.settings())
    assert (
        transform_key(encoding) == transform_key(kind(**ALL[name])) != transform_key(kind(**ALL[name], attr_name="a"))
    )


def dataset_of(graphs: list[Any]) -> Any:
    info = DatasetInfo("made", "multiclass", "accuracy", 40)
    return pack(graphs, info, {"train": [0], "val": [1], "test": [2]})


@pytest.mark.parametrize("encoding", [Degree(2), Pairs(), Compose([ToUndirected(), Degree(2)])])
def test_a_data_set_is_encoded_and_kept(encoding: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path))
    dataset = dataset_of(some_graphs())
    expected = [encoding(data) for data in dataset]
    found = dataset.with_transform(encoding, progress=False)
    assert_same(list(found), expected)
    assert "degree" not in dataset.node
    Degree.calls = 0
    assert_same(list(dataset_of(some_graphs()).with_transform(encoding, progress=False)), expected)
    assert Degree.calls == 0
    assert_same(found.batch([3, 5, 9]).to_data_list(), [expected[number] for number in (3, 5, 9)])


def test_errors_in_a_data_set_name_the_graph():
    graphs = some_graphs()
    graphs[34].edge_weight[0] = -1
    with pytest.raises(DataError, match="graph 34: Degree: a weight is negative"):
        dataset_of(graphs).with_transform(Degree(1), progress=False, cache=False)


class Stored(InMemoryDataset):
    """Some graphs in files, as every data set of PyTorch Geometric has them."""

    @property
    def processed_file_names(self) -> str:
        return "data.pt"

    def process(self) -> None:
        assert self.pre_transform is not None
        self.save([self.pre_transform(data) for data in some_graphs(9)], self.processed_paths[0])


def test_encodings_are_pre_transforms_of_pytorch_geometric(tmp_path: Path):
    steps = Compose([RandomEdges(num_edges=1), gnnkit.encodings.RandomWalk(3), Degree(2)])
    dataset = Stored(str(tmp_path), pre_transform=steps, log=False)
    dataset.load(dataset.processed_paths[0])
    for found, data in zip(list(dataset), some_graphs(9), strict=True):
        expected: Any = steps(data)
        assert torch.equal(found.degree, expected.degree)
        assert torch.equal(found.random_walk_pe, expected.random_walk_pe)
    written = torch.load(tmp_path / "processed" / "pre_transform.pt", weights_only=False)
    assert "Degree(powers=2, attr_name='degree', weight_attr='edge_weight')" in str(written)
