"""Passes over a loader: what is made, when, in which thread, and how a pass ends."""

import gc
import threading
import time

import pytest
import torch
from torch_geometric.data import Data

from gnnkit.errors import ConfigError, DataError
from gnnkit.sample import Loader

every_prefetch = pytest.mark.parametrize("prefetch", [0, 1, 2, 7])


class Numbered(Loader):
    """Batches that hold their epoch and number, and the thread that made them."""

    def __init__(self, count: int = 5, *, prefetch: int = 2, fails_at: int = -1) -> None:
        super().__init__(prefetch=prefetch)
        self.count = count
        self.fails_at = fails_at
        self.made: list[int] = []

    @property
    def num_batches(self) -> int:
        return self.count

    def make(self, epoch: int, number: int) -> Data:
        if number == self.fails_at:
            raise DataError(f"batch {number} is damaged")
        self.made.append(number)
        return Data(
            which=(epoch, number), thread=threading.current_thread().name, records=torch.is_grad_enabled(), num_nodes=1
        )


def seen(loader: Loader) -> list[tuple[int, int]]:
    return [batch.which for batch in loader]


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("gnnkit")]


@every_prefetch
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_pass_gives_every_batch_once_and_in_order(prefetch: int, count: int):
    loader = Numbered(count, prefetch=prefetch)
    assert len(loader) == count
    assert seen(loader) == [(0, number) for number in range(count)]
    assert seen(loader) == [(1, number) for number in range(count)]
    assert own_threads() == []


@every_prefetch
def test_epochs_are_counted_on_from_the_one_that_is_set(prefetch: int):
    loader = Numbered(1, prefetch=prefetch)
    loader.set_epoch(7)
    assert [seen(loader), seen(loader)] == [[(7, 0)], [(8, 0)]]
    loader.set_epoch(2)
    assert seen(loader) == [(2, 0)]


def test_passes_at_the_same_time_are_epochs_of_their_own():
    loader = Numbered(3)
    pairs = [(one.which, two.which) for one, two in zip(loader, loader, strict=True)]
    assert pairs == [((0, number), (1, number)) for number in range(3)]


@every_prefetch
def test_some_batches_of_an_epoch_come_as_asked_for(prefetch: int):
    loader = Numbered(prefetch=prefetch)
    assert [batch.which for batch in loader.batches(3, [4, 0, 2])] == [(3, 4), (3, 0), (3, 2)]
    assert loader.made == [4, 0, 2]
    assert list(loader.batches(3, [])) == []
    assert seen(loader)[0] == (0, 0)  # passes are counted as before


def test_batches_are_made_in_a_thread_and_without_one():
    assert {batch.thread for batch in Numbered(prefetch=0)} == {threading.current_thread().name}
    assert {batch.thread for batch in Numbered()} == {"gnnkit Numbered"}


def test_the_thread_records_gradients_as_the_caller_does():
    assert all(batch.records for batch in Numbered())
    with torch.no_grad():
        assert not any(batch.records for batch in Numbered())


def test_the_thread_is_ahead_by_as_much_as_is_asked_for():
    loader = Numbered(50, prefetch=3)
    batches = iter(loader)
    next(batches)
    deadline = time.monotonic() + 10
    while len(loader.made) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    # One is with the caller, three wait, and one more is finished but finds no room.
    assert loader.made == [0, 1, 2, 3, 4]
    del batches
    gc.collect()
    assert own_threads() == []


@every_prefetch
def test_leaving_early_ends_the_thread(prefetch: int):
    loader = Numbered(100, prefetch=prefetch)
    for batch in loader:
        if batch.which[1] == 3:
            break
    gc.collect()
    assert own_threads() == []
    assert len(loader.made) <= 4 + prefetch + 1
    assert seen(loader)[0] == (1, 0)


@every_prefetch
def test_an_error_comes_in_place_of_its_batch(prefetch: int):
    loader, before = Numbered(6, prefetch=prefetch, fails_at=2), []
    with pytest.raises(DataError, match="batch 2 is damaged"):
        before.extend(batch.which for batch in loader)
    assert own_threads() == []
    batches = iter(loader)
    assert [next(batches).which, next(batches).which] == [(1, 0), (1, 1)]
    with pytest.raises(DataError):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


def test_an_error_of_the_caller_ends_the_thread():
    def fails() -> None:
        for _ in Numbered(100):
            raise ValueError("not for the loader")

    with pytest.raises(ValueError, match="not for the loader"):
        fails()
    gc.collect()
    assert own_threads() == []


@every_prefetch
@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_shards_give_each_batch_once(prefetch: int, world_size: int):
    loader = Numbered(5, prefetch=prefetch)
    loader.set_epoch(3)
    shards = [loader.shard(rank, world_size) for rank in range(world_size)]
    found = [seen(shard) for shard in shards]
    assert [len(shard) for shard in shards] == [len(part) for part in found]
    assert sorted(which for part in found for which in part) == [(3, number) for number in range(5)]
    assert all(which[1] % world_size == rank for rank, part in enumerate(found) for which in part)
    assert seen(loader)[0] == (3, 0)


def test_shards_of_shards_give_each_batch_once():
    parts = [Numbered(11).shard(rank, 2).shard(worker, 3) for rank in range(2) for worker in range(3)]
    assert sorted(number for part in parts for _, number in seen(part)) == list(range(11))


def test_bad_arguments():
    for prefetch in (-1, 1.5, None, True):
        with pytest.raises(ConfigError, match="prefetch must be an integer of at least 0"):
            Numbered(prefetch=prefetch)  # type: ignore[arg-type]
    for epoch in (-1, "0"):
        with pytest.raises(ConfigError, match="epoch must be"):
            Numbered().set_epoch(epoch)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rank must be below world_size = 2, got 2"):
        Numbered().shard(2, 2)
    with pytest.raises(ConfigError, match="rank must be"):
        Numbered().shard(-1, 2)
    with pytest.raises(ConfigError, match="world_size must be"):
        Numbered().shard(0, 0)
