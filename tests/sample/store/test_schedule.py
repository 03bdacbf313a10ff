"""Schedules: the batches of an epoch come back bit for bit, and for the graph and sampler they were made for only."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.errors import ConfigError, DataError
from gnnkit.sample import (
    ClusterPartition,
    Loader,
    Neighbor,
    SaintEdge,
    SaintFrontier,
    SaintNode,
    SaintWalk,
    ShaDow,
)
from gnnkit.sample.store import FeatureStore, MappedGraph, Schedule, _container, record_schedule, visit_counts
from tests.sample.saint_graphs import random_data

SAMPLERS: dict[str, Callable[[Data], Loader]] = {
    "node": lambda data: SaintNode(data, 12, 4),
    "edge": lambda data: SaintEdge(data, 6, 4),
    "walk": lambda data: SaintWalk(data, 5, 2, 4, train_mask=data.train_mask),
    "frontier": lambda data: SaintFrontier(data, 15, 4, 4, coverage=0),
    "inductive": lambda data: SaintWalk(data, 5, 2, 4, train_mask=data.train_mask, inductive=True),
    "neighbor": lambda data: Neighbor(data, [3, 2], batch_size=9, shuffle=True, seed=5),
    "disjoint": lambda data: Neighbor(data, [3, 2], batch_size=9, disjoint=True, replace=True, direction="both"),
    "shadow": lambda data: ShaDow(data, 2, 3, batch_size=7, shuffle=True),
    "cluster": lambda data: ClusterPartition(data, 8, batch_size=2),
}
every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def whole(**options: Any) -> Data:
    data = random_data(**options)
    data.num_nodes = data.x.size(0)
    return data


def same_batch(found: Data, wanted: Data) -> None:
    assert found.to_dict().keys() == wanted.to_dict().keys()
    for key, value in wanted.to_dict().items():
        if isinstance(value, Tensor):
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value), key
        else:
            assert found[key] == value, key


@every_sampler
@pytest.mark.parametrize("epoch", [0, 3])
def test_batches_are_those_of_the_sampler(tmp_path: Path, name: str, epoch: int):
    data = whole()
    sampler = SAMPLERS[name](data)
    schedule = record_schedule(sampler, tmp_path / "schedule", epoch=epoch)
    schedule = Schedule(schedule.path)
    assert (len(schedule), schedule.epoch, schedule.num_nodes) == (len(sampler), epoch, 40)
    for number, made in enumerate(schedule):
        wanted = sampler.make(epoch, number)
        same_batch(schedule.batch(number, data), wanted)
        assert torch.equal(made.n_id, wanted.n_id)
        assert torch.equal(schedule.n_id(number), wanted.n_id)
        assert "x" not in made
    schedule.check(data)
    schedule.check_sampler(SAMPLERS[name](data))
    schedule.verify()
    assert torch.equal(
        visit_counts(schedule, 40), visit_counts((sampler.make(epoch, i) for i in range(len(schedule))), 40)
    )
    assert os.listdir(tmp_path) == ["schedule"]


@every_sampler
def test_features_are_not_read(tmp_path: Path, name: str):
    data = whole()
    data.x = FeatureStore.write(tmp_path / "x", data.x)
    record_schedule(SAMPLERS[name](data), tmp_path / "schedule")
    assert data.x.metrics.rows == 0


def test_a_recorded_batch_is_the_callers(tmp_path: Path):
    data = whole()
    schedule = record_schedule(SAMPLERS["walk"](data), tmp_path / "schedule")
    before = schedule.n_id(0).clone()
    schedule.n_id(0).zero_()
    schedule.batch(0, data).n_id.zero_()
    assert torch.equal(schedule.n_id(0), before)


def test_attributes_of_the_sampler_come_before_those_of_the_data(tmp_path: Path):
    data = whole()
    data.in_degree = torch.zeros(40)
    sampler = SAMPLERS["walk"](data)
    schedule = record_schedule(sampler, tmp_path / "schedule")
    same_batch(schedule.batch(0, data), sampler.make(0, 0))


def test_all_batches_are_recorded_from_a_shard(tmp_path: Path):
    data = whole()
    one = record_schedule(SAMPLERS["neighbor"](data), tmp_path / "one")
    two = record_schedule(SAMPLERS["neighbor"](data).shard(1, 2), tmp_path / "two")
    assert one.content == two.content


def test_a_mapped_graph_and_the_same_graph_in_memory_have_one_schedule(tmp_path: Path):
    data = whole()
    graph = MappedGraph.build(tmp_path / "graph", [data.edge_index], 40)
    schedule = record_schedule(Neighbor(Data(graph=graph, num_nodes=40), [3], batch_size=8), tmp_path / "schedule")
    schedule.check(data)
    schedule.check_sampler(Neighbor(data, [3], batch_size=8))


def test_a_schedule_of_another_graph(tmp_path: Path):
    data, other = whole(), whole(seed=1)
    schedule = record_schedule(SAMPLERS["walk"](data), tmp_path / "schedule")
    turned = data.clone()
    turned.edge_index = data.edge_index.flip(1)
    larger = data.clone()
    larger.x, larger.y, larger.train_mask = torch.ones(41, 3), torch.ones(41), torch.ones(41, dtype=torch.bool)
    larger.num_nodes = 41
    for wrong in (other, turned, larger):
        with pytest.raises(DataError, match="is a schedule for another graph"):
            schedule.check(wrong)


def test_a_schedule_of_another_sampler(tmp_path: Path):
    data = whole()
    schedule = record_schedule(Neighbor(data, [3, 2], torch.arange(20), batch_size=9), tmp_path / "schedule")
    schedule.check_sampler(Neighbor(data, [3, 2], torch.arange(20), batch_size=9, prefetch=0))
    for sampler, text in (
        (Neighbor(data, [3, 3], torch.arange(20), batch_size=9), r"fanout: \[3, 2\], not \[3, 3\]"),
        (Neighbor(data, [3, 2], torch.arange(20), batch_size=9, seed=1), "seed: 0, not 1"),
        (Neighbor(data, [3, 2], torch.arange(21), batch_size=9), "seeds: 'sha256"),
        (SaintWalk(data, 5, 2), "class: 'Neighbor', not 'SaintWalk'"),
    ):
        with pytest.raises(DataError, match=text):
            schedule.check_sampler(sampler)


class Strange(Loader):
    """A sampler whose batches hold what a file cannot."""

    def __init__(self, data: Data, value: object, count: int = 1) -> None:
        super().__init__(prefetch=0)
        self.data, self._value, self._count = data, value, count

    @property
    def num_batches(self) -> int:
        return self._count

    def make(self, epoch: int, number: int) -> Data:
        n_id = torch.tensor([number])
        return Data(n_id=n_id, e_id=n_id[:0], edge_index=torch.empty(2, 0).long(), num_nodes=1, strange=self._value)


@pytest.mark.parametrize("value", [True, 3, 0.1, "text", [1, [2.5, None]], {"a": 1}, torch.tensor(2.5).bfloat16()])
def test_plain_values_come_back(tmp_path: Path, value: object):
    data = whole()
    schedule = record_schedule(Strange(data, value), tmp_path / "schedule")
    found = schedule.batch(0, data).strange
    assert torch.equal(found, value) if isinstance(value, Tensor) else found == value


@pytest.mark.parametrize("value", [object(), {1, 2}, (1, 2), 1j, {1: 2}])
def test_values_that_a_file_cannot_hold(tmp_path: Path, value: object):
    with pytest.raises(DataError, match=r"batch\.strange is .*, which a schedule cannot hold"):
        record_schedule(Strange(whole(), value), tmp_path / "schedule")
    assert os.listdir(tmp_path) == []


def test_an_epoch_without_batches(tmp_path: Path):
    data = whole()
    schedule = record_schedule(Neighbor(data, [2], torch.arange(0)), tmp_path / "schedule")
    assert len(schedule) == 0
    assert list(schedule) == []
    with pytest.raises(ConfigError, match="number must be below the 0 batches"):
        schedule.batch(0, data)


def test_arguments_that_are_wrong(tmp_path: Path):
    data = whole()
    with pytest.raises(ConfigError, match="epoch must be"):
        record_schedule(SAMPLERS["walk"](data), tmp_path / "schedule", epoch=-1)
    for sampler in (data, [data], None):
        with pytest.raises(ConfigError, match="is recorded from a sampler"):
            record_schedule(sampler, tmp_path / "schedule")  # type: ignore[arg-type]
    schedule = record_schedule(SAMPLERS["walk"](data), tmp_path / "schedule")
    for number in (-1, 4, 0.5):
        with pytest.raises(ConfigError, match="number must be"):
            schedule.n_id(number)  # type: ignore[arg-type]


def test_faults_leave_the_old_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = whole()
    before = record_schedule(SAMPLERS["walk"](data), tmp_path / "schedule").content
    written = []

    def write(*given: Any) -> None:
        written.append(given)
        if len(written) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_container, "_write", write)
    with pytest.raises(DataError, match="No space left on device"):
        record_schedule(SAMPLERS["neighbor"](data), tmp_path / "schedule")
    monkeypatch.undo()
    assert Schedule(tmp_path / "schedule").content == before
    assert os.listdir(tmp_path) == ["schedule"]
    content = (tmp_path / "schedule").read_bytes()
    (tmp_path / "schedule").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="truncated"):
        Schedule(tmp_path / "schedule")
