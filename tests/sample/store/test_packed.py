"""Packed epochs: batches as they were live, each row once in a segment, and files that do not fit together."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.errors import ConfigError, DataError
from gnnkit.sample import Loader, Neighbor, SaintWalk, ShaDow
from gnnkit.sample.store import FeatureStore, PackedEpoch, Schedule, _container, pack_epoch, packed, record_schedule
from tests.sample.saint_graphs import random_data

SAMPLERS: dict[str, Callable[[Data], Loader]] = {
    "walk": lambda data: SaintWalk(data, 9, 2, 10),
    "neighbor": lambda data: Neighbor(data, [3, 2], batch_size=9, shuffle=True, seed=5),
    "disjoint": lambda data: Neighbor(data, [3, 2], batch_size=9, disjoint=True),
    "shadow": lambda data: ShaDow(data, 2, 3, batch_size=7),
}
NUM_NODES, WIDTH = 150, 6


def live_data(dtype: torch.dtype = torch.float32) -> Data:
    data = random_data(NUM_NODES, 400, width=WIDTH)
    data.x, data.num_nodes = (data.x * 100).to(dtype), NUM_NODES
    return data


def prepared(folder: Path, name: str, dtype: torch.dtype = torch.float32) -> tuple[Data, Schedule, FeatureStore]:
    data = live_data(dtype)
    return data, record_schedule(SAMPLERS[name](data), folder / "schedule"), FeatureStore.write(folder / "x", data.x)


def same_batch(found: Data, wanted: Data) -> None:
    assert found.to_dict().keys() == wanted.to_dict().keys()
    for key, value in wanted.to_dict().items():
        if isinstance(value, Tensor):
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value), key
        else:
            assert found[key] == value, key


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("blowup", [1.0, 1.7, 3.0, 100.0])
@pytest.mark.parametrize("memory", [0, 10, 1000])
def test_batches_are_those_of_the_sampler(tmp_path: Path, name: str, blowup: float, memory: int):
    data, schedule, store = prepared(tmp_path, name)
    path = pack_epoch(schedule, store, tmp_path / "packed", blowup=blowup, memory_bytes=memory * store.row_bytes)
    epoch = PackedEpoch(data, schedule, path)
    assert len(epoch) == len(schedule)
    for _ in range(2):
        for batch, wanted in zip(epoch, (SAMPLERS[name](data).make(0, i) for i in range(len(epoch))), strict=True):
            same_batch(batch, wanted)
    assert epoch.blowup <= blowup
    epoch.verify()
    assert store.metrics.rows == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_every_dtype(tmp_path: Path, dtype: torch.dtype):
    data, schedule, store = prepared(tmp_path, "neighbor", dtype)
    epoch = PackedEpoch(data, schedule, pack_epoch(schedule, store, tmp_path / "packed", memory_bytes=99))
    same_batch(epoch.make(0, 1), SAMPLERS["neighbor"](data).make(0, 1))


def test_the_layout_is_what_is_documented(tmp_path: Path):
    data, schedule, store = prepared(tmp_path, "neighbor")
    sets = [set(schedule.n_id(number).tolist()) for number in range(len(schedule))]
    for blowup, memory in ((1.0, 0), (1.5, 5), (2.0, 20), (4.0, 0)):
        pack_epoch(schedule, store, tmp_path / "packed", blowup=blowup, memory_bytes=memory * store.row_bytes)
        epoch = PackedEpoch(data, schedule, tmp_path / "packed", prefetch=0)
        visits = torch.tensor([sum(node in part for part in sets) for node in range(NUM_NODES)])
        hot = set(visits.argsort(descending=True, stable=True)[:memory].tolist())

        def stored(length: int, hot: set[int] = hot) -> int:
            parts = [sets[i : i + length] for i in range(0, len(sets), length)]
            return len(hot) + sum(len(set().union(*part) - hot) for part in parts)

        length = epoch.segment_length
        assert epoch.blowup == stored(length) / NUM_NODES <= blowup
        assert length == 1 or stored(length // 2) > blowup * NUM_NODES
        for number, members in enumerate(sets):
            epoch.reset_metrics()
            batch = epoch.make(0, number)
            assert epoch.metrics.rows == batch.n_id.numel()
            assert epoch.metrics.hits == len(members & hot)
            assert epoch.metrics.bytes_read == len(members - hot) * store.row_bytes
        if length == 1:
            # Everything a batch reads lies side by side.
            place = epoch._place[epoch._ptr[2] : epoch._ptr[3]]
            rows = place[place >= 0].unique()
            assert int(rows[-1] - rows[0]) == rows.numel() - 1


def test_what_data_holds_as_features_is_not_read(tmp_path: Path):
    data, schedule, store = prepared(tmp_path, "walk")
    pack_epoch(schedule, store, tmp_path / "packed")
    wanted, features = SAMPLERS["walk"](data).make(0, 0), data.x
    data.x = store
    same_batch(PackedEpoch(data, schedule, tmp_path / "packed").make(0, 0), wanted)
    assert store.metrics.rows == 0
    del data.x
    same_batch(PackedEpoch(data, schedule, tmp_path / "packed").make(0, 0), wanted)
    assert torch.equal(PackedEpoch(data, schedule, tmp_path / "packed", name="z").make(0, 0).z, features[wanted.n_id])


def test_shards_share_an_epoch(tmp_path: Path):
    data, schedule, store = prepared(tmp_path, "neighbor")
    epoch = PackedEpoch(data, schedule, pack_epoch(schedule, store, tmp_path / "packed"))
    numbers = [batch.input_id.tolist() for rank in range(2) for batch in epoch.shard(rank, 2)]
    assert sorted(node for part in numbers for node in part) == list(range(NUM_NODES))


def test_a_schedule_without_batches(tmp_path: Path):
    data = live_data()
    schedule = record_schedule(Neighbor(data, [2], torch.arange(0)), tmp_path / "schedule")
    store = FeatureStore.write(tmp_path / "x", data.x)
    epoch = PackedEpoch(data, schedule, pack_epoch(schedule, store, tmp_path / "packed"))
    assert list(epoch) == []
    assert epoch.blowup == 0


def test_files_that_do_not_fit_together(tmp_path: Path):
    data, schedule, store = prepared(tmp_path, "walk")
    pack_epoch(schedule, store, tmp_path / "packed")
    other = record_schedule(SAMPLERS["neighbor"](data), tmp_path / "other")
    with pytest.raises(DataError, match="holds the features of another schedule"):
        PackedEpoch(data, other, tmp_path / "packed")
    with pytest.raises(DataError, match="is a schedule for another graph"):
        PackedEpoch(random_data(NUM_NODES, 401), schedule, tmp_path / "packed")
    with pytest.raises(DataError, match="holds a feature store, not a packed epoch"):
        PackedEpoch(data, schedule, tmp_path / "x")
    short = FeatureStore.write(tmp_path / "short", data.x[:-1])
    with pytest.raises(DataError, match=f"has {NUM_NODES - 1} rows"):
        pack_epoch(schedule, short, tmp_path / "packed")


def test_options_that_are_wrong(tmp_path: Path):
    _, schedule, store = prepared(tmp_path, "walk")
    for blowup in (0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="blowup must be positive"):
            pack_epoch(schedule, store, tmp_path / "packed", blowup=blowup)
    with pytest.raises(ConfigError, match="memory_bytes must be"):
        pack_epoch(schedule, store, tmp_path / "packed", memory_bytes=-1)
    with pytest.raises(ConfigError, match=r"blowup = 0\.01 is too little.*must be at least 0\.") as caught:
        pack_epoch(schedule, store, tmp_path / "packed", blowup=0.01)
    needed = float(str(caught.value).rpartition(" ")[2]) + 1e-4
    pack_epoch(schedule, store, tmp_path / "packed", blowup=needed)


def test_faults_leave_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data, schedule, store = prepared(tmp_path, "neighbor")
    pack_epoch(schedule, store, tmp_path / "packed")
    content, write = (tmp_path / "packed").read_bytes(), _container._write
    for failing in range(6):
        calls = []

        def fails(*given: Any, calls: list[int] = calls, failing: int = failing) -> None:
            calls.append(1)
            if len(calls) > failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(*given)

        monkeypatch.setattr(_container, "_write", fails)
        with pytest.raises(DataError, match="No space left on device"):
            pack_epoch(schedule, store, tmp_path / "packed", memory_bytes=500)
        monkeypatch.undo()
        assert sorted(os.listdir(tmp_path)) == ["packed", "schedule", "x"]
        assert (tmp_path / "packed").read_bytes() == content
    (tmp_path / "packed").write_bytes(content[:-1])
    with pytest.raises(DataError, match="truncated"):
        PackedEpoch(data, schedule, tmp_path / "packed")


def test_places_that_were_changed_are_not_read(tmp_path: Path):
    data, schedule, store = prepared(tmp_path, "walk")
    pack_epoch(schedule, store, tmp_path / "packed")
    content = bytearray((tmp_path / "packed").read_bytes())
    header = json.loads(content[56 : 56 + int.from_bytes(content[16:24], "little")])
    start = next(array["start"] for array in header["arrays"] if array["name"] == "place")
    content[start : start + 8] = (2**60).to_bytes(8, "little")
    (tmp_path / "packed").write_bytes(content)
    epoch = PackedEpoch(data, schedule, tmp_path / "packed", prefetch=0)
    with pytest.raises((RuntimeError, IndexError), match="outside of its range"):
        epoch.make(0, 0)
    with pytest.raises(DataError, match="damaged: place is not what was written"):
        epoch.verify()


def test_rows_of_a_segment_that_the_same_batches_need_are_neighbours():
    needed = [torch.tensor(rows) for rows in ([0, 2, 4, 6, 8], [0, 2, 4, 6, 8], [1, 3, 5, 7, 9], [1, 3, 5, 7, 9])]
    times = torch.full((10,), 2, dtype=torch.int32)
    layout = object.__new__(packed._Layout)
    order = layout._shared(needed, times)
    assert len(torch.unique_consecutive(order % 2)) == 2
    assert order.sort().values.tolist() == list(range(10))
