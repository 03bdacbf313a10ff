"""What all samplers are: iterables whose batches are made ahead of time in a thread."""

import copy
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch_geometric.data import Data

from gnnkit.errors import ConfigError
from gnnkit.ops._checks import check_count


class Loader(ABC):
    """Base of the samplers: one pass over it is one epoch of batches.

    A subclass says in :attr:`num_batches` how many batches an epoch has, and makes any of them in :meth:`make`, which
    must depend on its two arguments and what the constructor was given alone. So whoever asks for a batch gets the
    same one: in whatever order, ahead of time or not, in this process or another. A sampler keeps the whole graph that
    it was given as ``data``, and its settings as public attributes: :mod:`gnnkit.sample.store` reads them.

    While the caller works on a batch, one thread makes the next ones. An error in it is raised to the caller in place
    of the batch; a loop that is left early ends the thread.

    Args:
        prefetch: How many finished batches may wait in a queue, besides the one that the thread is at; 0: each is made
            when it is asked for, without a thread.

    Raises:
        ConfigError: If ``prefetch`` is no integer of at least 0.
    """

    def __init__(self, *, prefetch: int = 2) -> None:
        self.prefetch = check_count("prefetch", prefetch, 0)
        self._epoch = 0
        self._first = 0
        self._stride = 1

    @property
    @abstractmethod
    def num_batches(self) -> int:
        """Batches of an epoch, those of all shards together."""

    @abstractmethod
    def make(self, epoch: int, number: int) -> Data:
        """Batch ``number``, counted from 0 over all shards, of an epoch."""

    def __len__(self) -> int:
        """Batches in one pass over this shard."""
        return len(self._numbers())

    def __iter__(self) -> Iterator[Data]:
        """The batches of the next epoch."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        return self.batches(epoch, self._numbers())

    def batches(self, epoch: int, numbers: Sequence[int]) -> Iterator[Data]:
        """Some batches of an epoch, in the order of their numbers as given, made ahead of time as in a whole pass.

        Args:
            epoch: Which epoch; the count of passes is not touched.
            numbers: Of the batches, counted over all shards.
        """
        if self.prefetch == 0:
            return (self.make(epoch, number) for number in numbers)
        return self._ahead(epoch, numbers)

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the next pass is; those after it count on from there. Without a call, the first is 0.

        Raises:
            ConfigError: If ``epoch`` is no integer of at least 0.
        """
        self._epoch = check_count("epoch", epoch, 0)

    def shard(self, rank: int, world_size: int) -> Self:
        """The loader of every ``world_size``-th batch, from batch ``rank`` on, for one of several processes.

        All shards together give each batch once. Their lengths differ by one where ``world_size`` does not divide
        ``num_batches``; ``DistributedDataParallel`` must then be told so (``with model.join(): ...``).

        Args:
            rank: Which shard, in ``[0, world_size)``.
            world_size: How many there are.

        Returns:
            A loader that shares everything with this one but the count of its epochs.

        Raises:
            ConfigError: If an argument is out of range.
        """
        check_count("world_size", world_size, 1)
        if check_count("rank", rank, 0) >= world_size:
            raise ConfigError(f"rank must be below world_size = {world_size}, got {rank}")
        part = copy.copy(self)
        part._first = self._first + self._stride * rank
        part._stride = self._stride * world_size
        return part

    def _numbers(self) -> range:
        return range(self._first, self.num_batches, self._stride)

    def _ahead(self, epoch: int, numbers: Sequence[int]) -> Iterator[Data]:
        ready: queue.Queue[_Made] = queue.Queue(self.prefetch)
        stop = threading.Event()
        # Whether gradients are recorded is known to each thread by itself.
        work = (self, epoch, numbers, ready, stop, torch.is_grad_enabled())
        thread = threading.Thread(target=_fill, args=work, name=f"gnnkit {type(self).__name__}", daemon=True)
        thread.start()
        try:
            for _ in numbers:
                made = ready.get()
                if made.error is not None:
                    raise made.error
                yield made.batch
        finally:
            stop.set()
            while thread.is_alive():
                _drain(ready)  # it may wait for room
                thread.join(0.01)


class _Made(NamedTuple):
    batch: Any
    error: BaseException | None


def _fill(
    loader: Loader,
    epoch: int,
    numbers: Sequence[int],
    ready: "queue.Queue[_Made]",
    stop: threading.Event,
    grad_enabled: bool,
) -> None:
    """Makes batches until the caller has left."""
    with torch.set_grad_enabled(grad_enabled):
        for number in numbers:
            try:
                made = _Made(loader.make(epoch, number), None)
            except BaseException as error:
                made = _Made(None, error)
            if stop.is_set():
                return
            ready.put(made)
            if stop.is_set() or made.error is not None:
                return


def _drain(ready: "queue.Queue[_Made]") -> None:
    try:
        while True:
            ready.get_nowait()
    except queue.Empty:
        return
