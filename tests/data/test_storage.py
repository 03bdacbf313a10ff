import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gnnkit.data import GraphDataset
from gnnkit.data import storage as storage_module
from gnnkit.data.storage import DESCRIPTION, TENSORS
from gnnkit.errors import DataError


def assert_equal(first: GraphDataset, second: GraphDataset) -> None:
    assert first.info == second.info
    assert [column.key for column in first.columns] == [column.key for column in second.columns]
    for one, other in zip(first.columns, second.columns, strict=True):
        assert one.values.dtype == other.values.dtype
        assert torch.equal(one.values.nan_to_num(-1), other.values.nan_to_num(-1))
        assert torch.equal(one.ptr, other.ptr)
    assert {key: value.tolist() for key, value in first.split.items()} == {
        key: value.tolist() for key, value in second.split.items()
    }
    assert list(first.split) == list(second.split)


@pytest.mark.parametrize("options", [{}, {"with_x": False, "with_edge_attr": False, "with_ragged": False}])
def test_reading_gives_what_was_saved(make_dataset, tmp_path: Path, options: dict) -> None:
    dataset = make_dataset(**options).with_info(official=False, node_categories=(9, 9, 9, 9), options={"seed": 3})
    dataset.save(tmp_path / "set")
    again = GraphDataset.from_folder(tmp_path / "set")
    assert_equal(again, dataset)
    assert again.content_hash == dataset.content_hash
    assert sorted(os.listdir(tmp_path / "set")) == [DESCRIPTION, TENSORS]


def test_equal_datasets_give_equal_files(make_dataset, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_dataset().save(tmp_path / name)
    for file in (DESCRIPTION, TENSORS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_integers_are_stored_narrow(make_dataset, tmp_path: Path) -> None:
    make_dataset().save(tmp_path)
    stored = load_file(tmp_path / TENSORS)
    assert stored["node.x"].dtype == torch.uint8
    assert stored["node_ptr"].dtype == torch.uint8


@pytest.mark.parametrize(
    "bounds", [(0, 255), (-1, 255), (0, 256), (-(2**15), 2**15 - 1), (0, 2**15), (-(2**63), 2**63 - 1)]
)
def test_narrow_integers_keep_their_values(bounds: tuple[int, int]) -> None:
    values = torch.tensor(bounds)
    narrow = storage_module._narrow(values)
    assert torch.equal(narrow.to(torch.int64), values)
    assert narrow.element_size() == (
        1 if bounds == (0, 255) else 2 if bounds[1] < 2**15 else 4 if bounds[1] < 2**31 else 8
    )


def test_low_precision_is_kept(make_dataset, tmp_path: Path) -> None:
    dataset = make_dataset()
    dataset.node["pe"] = dataset.node["pe"].bfloat16()
    del dataset.__dict__["columns"]
    dataset.save(tmp_path)
    assert torch.equal(GraphDataset.from_folder(tmp_path).node["pe"], dataset.node["pe"])


def test_tensors_that_share_memory_can_be_saved(make_dataset, tmp_path: Path) -> None:
    dataset = make_dataset()
    dataset.node["same"] = dataset.node["pe"]
    dataset.node["part"] = dataset.node["pe"][:, 0]
    dataset.__dict__.pop("columns")
    dataset.save(tmp_path)
    again = GraphDataset.from_folder(tmp_path)
    assert torch.equal(again.node["same"], dataset.node["pe"])
    assert torch.equal(again.node["part"], dataset.node["pe"][:, 0])


def test_the_hash_sees_values_names_shapes_and_dtypes(make_dataset) -> None:
    hashes = {make_dataset().content_hash}
    for key, change in (
        ("pe", lambda v: v + 1),
        ("pe", lambda v: v.reshape(-1, 1, 2)),
        ("pe", lambda v: v.double()),
        ("pe2", lambda v: v),
    ):
        dataset = make_dataset()
        dataset.node[key] = change(dataset.node.pop("pe"))
        hashes.add(dataset.content_hash)
    assert len(hashes) == 5


@pytest.mark.parametrize("file", [TENSORS, DESCRIPTION])
def test_every_truncation_is_noticed(make_dataset, tmp_path: Path, file: str) -> None:
    make_dataset(graphs=3).save(tmp_path)
    content = (tmp_path / file).read_bytes()
    for length in [*range(0, len(content) - 2, 37), len(content) - 2]:
        (tmp_path / file).write_bytes(content[:length])
        with pytest.raises(DataError, match=r"damaged|truncated"):
            GraphDataset.from_folder(tmp_path)


@pytest.mark.parametrize("file", [TENSORS, DESCRIPTION])
def test_every_changed_byte_is_noticed(make_dataset, tmp_path: Path, file: str) -> None:
    make_dataset(graphs=3).save(tmp_path)
    content = (tmp_path / file).read_bytes()
    for position in range(0, len(content) - 1, 11):
        changed = bytearray(content)
        changed[position] ^= 0x04
        if file == DESCRIPTION and _json_equal(changed, content):
            continue
        (tmp_path / file).write_bytes(changed)
        with pytest.raises(DataError):
            GraphDataset.from_folder(tmp_path)


def _json_equal(first: bytearray, second: bytes) -> bool:
    try:
        return json.loads(first) == json.loads(second)
    except ValueError:
        return False


def test_files_of_two_datasets_do_not_mix(make_dataset, tmp_path: Path) -> None:
    make_dataset(seed=0).save(tmp_path / "a")
    make_dataset(seed=1).save(tmp_path / "b")
    (tmp_path / "b" / TENSORS).replace(tmp_path / "a" / TENSORS)
    with pytest.raises(DataError, match=r"does not belong to dataset\.json"):
        GraphDataset.from_folder(tmp_path / "a")


def test_tensors_written_by_something_else_are_refused(make_dataset, tmp_path: Path) -> None:
    make_dataset().save(tmp_path)
    save_file(load_file(tmp_path / TENSORS), tmp_path / TENSORS)
    with pytest.raises(DataError, match="header states None"):
        GraphDataset.from_folder(tmp_path)


def test_another_format_is_refused(make_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset().save(tmp_path)
    monkeypatch.setattr(storage_module, "FORMAT", 2)
    with pytest.raises(DataError, match=r"has format 1, .* reads format 2"):
        GraphDataset.from_folder(tmp_path)


@pytest.mark.parametrize("file", [TENSORS, DESCRIPTION])
def test_missing_files(make_dataset, tmp_path: Path, file: str) -> None:
    make_dataset().save(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(DataError, match=file):
        GraphDataset.from_folder(tmp_path)


def test_an_interrupted_save_keeps_the_old_dataset(
    make_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_dataset(seed=0)
    old.save(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make_dataset(seed=1).save(tmp_path)
    assert_equal(GraphDataset.from_folder(tmp_path), old)
    assert sorted(os.listdir(tmp_path)) == [DESCRIPTION, TENSORS]


def test_info_is_plain_data(make_dataset) -> None:
    assert json.loads(json.dumps(dataclasses.asdict(make_dataset().info)))["name"] == "random"
