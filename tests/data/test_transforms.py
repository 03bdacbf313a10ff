import logging
from pathlib import Path

import pytest
import torch
import torch_geometric.transforms as T
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from gnnkit.data import load
from gnnkit.data.storage import TENSORS
from gnnkit.data.transforms import transform_key
from gnnkit.errors import ConfigError, DataError


class AddPower(BaseTransform):
    """Adds x ** exponent; counts its calls outside of itself, so that the count is no part of its key."""

    calls = 0

    def __init__(self, exponent: int) -> None:
        self.exponent = exponent

    def forward(self, data: Data) -> Data:
        AddPower.calls += 1
        data.power = data.x.float() ** self.exponent
        data.x += 1
        return data


class Reverse(BaseTransform):
    def forward(self, data: Data) -> Data:
        data.edge_index = data.edge_index.flip(0)
        data.far_index = data.edge_index[:, :1]
        data.mean = float(data.x.float().mean())
        return data


@pytest.fixture(autouse=True)
def _count_from_zero() -> None:
    AddPower.calls = 0


def test_every_graph_is_transformed_once_and_the_dataset_is_not_changed(make_dataset) -> None:
    dataset = make_dataset()
    before = dataset.node["x"].clone()
    result = dataset.with_transform([AddPower(3), Reverse()], progress=False)
    assert torch.equal(dataset.node["x"], before)
    assert torch.equal(result.node["x"], before + 1)
    assert torch.equal(result.node["power"], before.float() ** 3)
    assert torch.equal(result.edge_index, dataset.edge_index.flip(0))
    for number in range(len(dataset)):
        expected = Reverse()(AddPower(3)(dataset[number]))
        assert torch.equal(result[number].far_index, expected.far_index)
        assert result[number].mean.item() == pytest.approx(expected.mean)
    assert result.info == dataset.info
    assert {key: value.tolist() for key, value in result.split.items()} == {
        key: value.tolist() for key, value in dataset.split.items()
    }


def test_the_result_is_found_again(make_dataset) -> None:
    first = make_dataset().with_transform(AddPower(3), progress=False)
    assert AddPower.calls == 7
    second = make_dataset().with_transform(AddPower(3), progress=False)
    assert AddPower.calls == 7
    assert second.content_hash == first.content_hash
    assert second.info == first.info


def test_other_parameters_and_other_data_are_other_results(make_dataset) -> None:
    make_dataset().with_transform(AddPower(3), progress=False)
    make_dataset().with_transform(AddPower(2), progress=False)
    assert AddPower.calls == 14, "PyG's repr of both is the same, the result is not"
    make_dataset(seed=1).with_transform(AddPower(3), progress=False)
    assert AddPower.calls == 21
    make_dataset().with_transform(AddPower(3), progress=False, cache=False)
    assert AddPower.calls == 28


def test_a_damaged_result_is_made_again(make_dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = make_dataset().with_transform(AddPower(3), progress=False)
    (tensors,) = (tmp_path / "cache" / "transformed").glob(f"*/{TENSORS}")
    tensors.write_bytes(tensors.read_bytes()[:-10])
    with caplog.at_level(logging.WARNING, "gnnkit.data"):
        second = make_dataset().with_transform(AddPower(3), progress=False)
    assert "cached result cannot be used" in caplog.text
    assert AddPower.calls == 14
    assert second.content_hash == first.content_hash
    make_dataset().with_transform(AddPower(3), progress=False)
    assert AddPower.calls == 14


def test_an_interrupted_transform_leaves_nothing(make_dataset, tmp_path: Path) -> None:
    class Interrupted(AddPower):
        pass

    transform = AddPower(3)
    calls = []

    def interrupt(data: Data) -> Data:
        calls.append(data)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return data

    with pytest.raises(KeyboardInterrupt):
        make_dataset().with_transform([transform, interrupt], progress=False)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_what_cannot_be_hashed_is_applied_and_not_kept(make_dataset, tmp_path: Path) -> None:
    assert transform_key(lambda data: data) is None
    assert transform_key(T.Compose([T.ToUndirected(), lambda data: data])) is None
    result = make_dataset().with_transform(lambda data: AddPower(1)(data), progress=False)
    assert "power" in result.node
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_keys_see_every_attribute() -> None:
    keys = [
        transform_key(transform)
        for transform in (
            T.AddRandomWalkPE(4),
            T.AddRandomWalkPE(5),
            T.AddRandomWalkPE(4, attr_name="pe"),
            T.Compose([T.AddRandomWalkPE(4)]),
            T.Compose([T.AddRandomWalkPE(5)]),
            AddPower(1),
            AddPower(True),
            AddPower(torch.tensor(1)),  # type: ignore[arg-type]
            AddPower(torch.tensor([1, 2])),  # type: ignore[arg-type]
            AddPower({"a": [1, (2, {3})]}),  # type: ignore[arg-type]
            AddPower({"a": [1, (2, {4})]}),  # type: ignore[arg-type]
            AddPower(torch.Generator().manual_seed(1)),  # type: ignore[arg-type]
            AddPower(torch.Generator().manual_seed(2)),  # type: ignore[arg-type]
        )
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert transform_key(AddPower(torch.tensor([1, 2]))) == keys[8]  # type: ignore[arg-type]


def test_wrong_transforms(make_dataset) -> None:
    with pytest.raises(ConfigError, match="must be callable"):
        make_dataset().with_transform(3, progress=False)
    with pytest.raises(DataError, match="returned NoneType for graph 0"):
        make_dataset().with_transform(lambda data: None, progress=False)
    with pytest.raises(DataError, match="must have an edge_index"):
        make_dataset().with_transform(drop_edges, progress=False)


def drop_edges(data: Data) -> Data:
    del data.edge_index
    return data


def test_no_transform_is_the_dataset_itself(make_dataset) -> None:
    dataset = make_dataset()
    assert dataset.with_transform([], progress=False) is dataset


def test_progress_is_shown_only_on_request(make_dataset, capfd) -> None:
    make_dataset().with_transform(AddPower(3), progress=False)
    assert capfd.readouterr().err == ""
    make_dataset().with_transform(AddPower(2), progress=True)
    assert "random: AddPower" in capfd.readouterr().err


def test_load_with_a_transform_equals_pyg_on_single_graphs() -> None:
    options = {"num_train": 4, "num_val": 2, "num_test": 2, "ring_size": 6}
    plain = load("ring-transfer", **options)
    result = load("ring-transfer", transform=T.AddRandomWalkPE(3, attr_name="pe"), progress=False, **options)
    assert result.node["pe"].shape == (48, 3)
    assert torch.equal(result[5].pe, T.AddRandomWalkPE(3, attr_name="pe")(plain[5]).pe)
    assert result.info == plain.info


def test_a_cache_that_cannot_be_written_costs_only_the_cache(
    make_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a_file").touch()
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "a_file"))
    with caplog.at_level(logging.WARNING, "gnnkit.data"):
        result = make_dataset().with_transform(AddPower(3), progress=False)
    assert "is not cached" in caplog.text
    assert "power" in result.node
