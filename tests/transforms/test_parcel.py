"""Graphs between processes: they arrive as they were sent."""

import pickle
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from gnnkit import Graph
from gnnkit.transforms.parcel import Parcel


class OwnData(Data):
    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return 7 if key == "mark" else super().__inc__(key, value, *args, **kwargs)


def sent(parcel: Parcel) -> Parcel:
    return pickle.loads(pickle.dumps(parcel))


TENSORS = {
    "bool": torch.tensor([True, False, True]),
    "byte": torch.arange(5, dtype=torch.uint8),
    "half": torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
    "complex": torch.tensor([[1 + 2j, 3 - 4j]]),
    "scalar": torch.tensor(3),
    "empty": torch.empty(0, 4, dtype=torch.float64),
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "strided": torch.arange(10)[::3],
    "conjugate": torch.tensor([1 + 2j]).conj(),
    "learned": torch.ones(2, requires_grad=True),
    "sparse": torch.eye(3).to_sparse(),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_any_kind_arrive_as_they_were(name: str):
    value = TENSORS[name]
    (found,) = sent(Parcel([Data(value=value, num_nodes=3)])).graphs
    assert found.num_nodes == 3
    assert found.value.dtype == value.dtype
    assert found.value.shape == value.shape
    assert found.value.requires_grad == value.requires_grad
    assert torch.equal(torch.nan_to_num(found.value.to_dense()), torch.nan_to_num(value.to_dense()))


def test_all_else_arrives_as_well():
    data: Any = OwnData(edge_index=torch.tensor([[0], [1]]), name="ü", nested=[1, (2, {"a": torch.ones(1)})])
    data.graph = Graph.from_edge_index(data.edge_index, 2)
    data.mark = torch.tensor([1])
    (found,) = sent(Parcel([data])).graphs
    assert type(found) is OwnData
    assert found.__inc__("mark", found.mark) == 7
    assert list(found.to_dict()) == list(data.to_dict())
    assert found.name == "ü"
    assert found.nested[1][1]["a"].tolist() == [1]
    assert torch.equal(found.graph.col, data.graph.col)
    assert data.edge_index.tolist() == [[0], [1]], "what was sent is left as it was"


def test_tensors_that_arrive_can_be_written_into_and_do_not_touch():
    first, second = sent(Parcel([Data(x=torch.zeros(3)), Data(x=torch.zeros(3))])).graphs
    first.x += 1
    assert second.x.tolist() == [0, 0, 0]
    assert first.x.untyped_storage().nbytes() == 12, "saving one saves no other"


def test_what_a_transform_has_left_alone_is_not_sent_back():
    original = [Data(x=torch.arange(50_000.0), y=torch.tensor([1])) for _ in range(2)]
    arrived = sent(Parcel(original)).graphs
    results = [data.__copy__() for data in arrived]
    for data in results:
        data.pe = torch.ones(3)
    content = pickle.dumps(Parcel(results, arrived))
    assert len(content) < 5_000
    found = pickle.loads(content).with_given(original)
    for data, given in zip(found, original, strict=True):
        assert data.x is given.x
        assert data.pe.tolist() == [1, 1, 1]
        assert list(data.to_dict()) == ["x", "y", "pe"]


def test_what_a_transform_has_written_into_is_sent_back():
    original = [Data(x=torch.zeros(3))]
    arrived = sent(Parcel(original)).graphs
    result = arrived[0].__copy__()
    result.x += 1
    (found,) = sent(Parcel([result], arrived)).with_given(original)
    assert found.x.tolist() == [1, 1, 1]
    assert original[0].x.tolist() == [0, 0, 0]


def test_between_threads_graphs_stay_what_they_are():
    data = Data(x=torch.ones(2))
    assert Parcel([data], [data]).with_given([data])[0] is data
