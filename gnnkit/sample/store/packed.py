"""The features of an epoch whose batches are known, laid out on disk in the order in which they will be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.errors import ConfigError, DataError
from gnnkit.ops._checks import check_count, check_number
from gnnkit.sample._loader import Loader
from gnnkit.sample.store._container import Mapped, chunks_of, writing
from gnnkit.sample.store.features import Counter, FeatureStore, Metrics, as_bytes, from_bytes, most_scored
from gnnkit.sample.store.schedule import Schedule
from gnnkit.sample.store.scores import minhash_order, visit_counts

KIND = "packed epoch"


def pack_epoch(
    schedule: Schedule, store: FeatureStore, path: str | Path, *, blowup: float = 2.0, memory_bytes: int = 0
) -> Path:
    r"""Writes the rows that each batch of a schedule needs side by side, as DiskGNN does; whole or not at all.

    Liu et al., "DiskGNN: bridging I/O efficiency and model accuracy for out-of-core GNN training", SIGMOD 2025. Rows
    are in one of three places:

    - in memory, while the epoch is replayed: those in most batches, as many as ``memory_bytes`` hold;
    - in the disk cache of a segment, some batches in succession: other rows that at least two of these need, in the
      order of :func:`~gnnkit.sample.store.minhash_order` over the segment;
    - with a batch: rows that no other batch of its segment needs, which are read in one go.

    So a segment has each row once. Long segments need less room on disk, and short ones leave less to be read here and
    there. Their length is the smallest power of two with which the rows of the file are at most ``blowup`` times those
    of the store.

    Args:
        schedule: The batches.
        store: The features, of the same graph.
        path: Of the file.
        blowup: Rows of the file for each row of the store, at most; with 1, any schedule fits.
        memory_bytes: For the rows that are held in memory.

    Returns:
        ``path``.

    Raises:
        ConfigError: If an option is out of range, or the rows of the schedule do not fit in ``blowup``.
        DataError: If the store has another number of rows than the graph, or the file cannot be written.

    Determinism: bitwise.
    Complexity: reads each row once per segment, and the schedule some times over; memory ``O(N)`` (about 40 bytes for
    each node) and that of the rows of one batch.
    """
    if not check_number("blowup", blowup) > 0:
        raise ConfigError(f"blowup must be positive, got {blowup}")
    check_count("memory_bytes", memory_bytes, 0)
    if len(store) != schedule.num_nodes:
        raise DataError(f"{store} has {len(store)} rows, and the graph of {schedule.path} {schedule.num_nodes} nodes")
    visits = visit_counts(schedule, schedule.num_nodes)
    hot = most_scored(visits, len(store), store.row_bytes, memory_bytes)
    length = _segment_length(schedule, hot, len(store), blowup)
    about = {"schedule": schedule.content, "features": store.content, "segment_length": length}
    with writing(Path(path), KIND, about) as file:
        file.append("hot", store.parts(hot), store.dtype, store.shape[1:])
        ptr = torch.tensor([0, *(n_id.numel() for n_id in schedule.members())]).cumsum(0)
        file.append("place_ptr", chunks_of(ptr), ptr.dtype, ())
        place = file.place("place", torch.int64, [int(ptr[-1])])
        layout = _Layout(schedule, store, hot, length, place, ptr)
        layout.distinct_rows = file.append("rows", layout.rows(), store.dtype, store.shape[1:])
        file.about["blowup"] = (hot.numel() + layout.distinct_rows) / max(len(store), 1)
    return Path(path)


class PackedEpoch(Loader):
    """Replays an epoch whose features :func:`pack_epoch` has laid out: each pass gives the same batches.

    A batch is, bit for bit, what the sampler gave whose schedule was recorded, with ``data.x`` a store of the features
    (or the features themselves). What replaying saves is to sample, and to read here and there; what it costs is that
    all epochs have the same batches. Record and pack several epochs, and take turns, where that matters.

    Args:
        data: The whole graph and its other attributes. What it has as ``name`` is not read.
        schedule: The batches.
        path: What :func:`pack_epoch` wrote for this schedule.
        name: Of the attribute that gets the features.
        prefetch: As of :class:`~gnnkit.sample.Loader`.

    Attributes:
        segment_length: Batches of a segment.
        blowup: Rows of the file for each row of the store.

    Raises:
        DataError: If the file is missing, truncated or damaged, or of another schedule, or the schedule of another
            graph than that of ``data``.

    Determinism: exact.
    """

    def __init__(self, data: Any, schedule: Schedule, path: str | Path, *, name: str = "x", prefetch: int = 2) -> None:
        super().__init__(prefetch=prefetch)
        schedule.check(data)
        self._file = Mapped(path, KIND)
        if self._file.about["schedule"] != schedule.content:
            raise DataError(f"{path} holds the features of another schedule than {schedule.path}; pack them anew")
        self.path = self._file.path
        self.name = name
        self.segment_length: int = self._file.about["segment_length"]
        self.blowup: float = self._file.about["blowup"]
        self._data = Data.from_dict({key: value for key, value in data.to_dict().items() if key != name})
        self._data.num_nodes = schedule.num_nodes
        self._schedule = schedule
        rows, hot = self._file.tensor("rows"), self._file.tensor("hot")
        self._shape, self._dtype = rows.shape[1:], rows.dtype
        self._rows, self._hot = as_bytes(rows), as_bytes(hot).clone()
        self._file.random("rows")
        self._place, self._ptr = self._file.tensor("place"), self._file.tensor("place_ptr").tolist()
        self._counter = Counter()

    @property
    def num_batches(self) -> int:
        """Batches of the schedule."""
        return len(self._schedule)

    @property
    def metrics(self) -> Metrics:
        """What batches have asked for since this was made, or :meth:`reset_metrics` was called."""
        return self._counter.total

    def reset_metrics(self) -> None:
        """Counts from 0 on again."""
        self._counter = Counter()

    def make(self, epoch: int, number: int) -> Data:
        """Batch ``number`` of the schedule, whatever the epoch; see :class:`~gnnkit.sample.Loader`."""
        batch = self._schedule.batch(number, self._data)
        place = self._place[self._ptr[number] : self._ptr[number + 1]]
        rows, counts = torch.ops.gnnkit.gather_rows(self._rows, self._hot, None, place, True)
        self._counter.add(place.numel(), counts, self._rows.size(1))
        batch[self.name] = from_bytes(rows, self._dtype, self._shape)
        return batch

    def verify(self) -> None:
        """Reads the whole file and compares it with the checksums of what was written.

        Raises:
            DataError: If it is damaged.
        """
        self._file.verify()


@dataclass
class _Layout:
    """The order of the rows of a file, and where those of each batch are."""

    schedule: Schedule
    store: FeatureStore
    hot: Tensor
    length: int
    place: Tensor
    ptr: Tensor
    distinct_rows: int = 0

    def rows(self) -> Iterator[Tensor]:
        """Rows segment by segment: those of its disk cache, then those of each batch. Fills ``place`` meanwhile."""
        # Where each row is, as far as it is needed in the segment at hand; below 0: in memory.
        at = torch.zeros(len(self.store), dtype=torch.int64)
        at[self.hot] = -1 - torch.arange(self.hot.numel())
        times = torch.zeros(len(self.store), dtype=torch.int32)
        next_row = 0
        for first in range(0, len(self.schedule), self.length):
            numbers = range(first, min(first + self.length, len(self.schedule)))
            needed = [_distinct(self.schedule.n_id(number), at) for number in numbers]
            for rows in needed:
                times[rows] += 1
            shared = self._shared(needed, times)
            at[shared] = torch.arange(next_row, next_row + shared.numel())
            next_row += shared.numel()
            yield from self.store.parts(shared)
            for number, rows in zip(numbers, needed, strict=True):
                alone = rows[times[rows] == 1]
                at[alone] = torch.arange(next_row, next_row + alone.numel())
                next_row += alone.numel()
                yield from self.store.parts(alone)
                self.place[int(self.ptr[number]) : int(self.ptr[number + 1])] = at[self.schedule.n_id(number)]
            for rows in needed:
                times[rows] = 0

    def _shared(self, needed: list[Tensor], times: Tensor) -> Tensor:
        """Rows that several batches of a segment need, those that the same ones need side by side."""
        parts = [rows[times[rows] > 1] for rows in needed]
        rows = torch.cat(parts).unique()
        local = (torch.searchsorted(rows, part) for part in parts)
        return rows[minhash_order((_Members(part) for part in local), rows.numel())]


@dataclass
class _Members:
    n_id: Tensor


def _distinct(n_id: Tensor, at: Tensor) -> Tensor:
    """Rows of a batch that are not in memory, each once, in ascending order."""
    return n_id[at[n_id] >= 0].unique()


def _segment_length(schedule: Schedule, hot: Tensor, num_rows: int, blowup: float) -> int:
    """The smallest power of two with which the rows of all segments fit."""
    length = 1
    while True:
        stored = hot.numel() + _stored(schedule, hot, num_rows, length)
        if stored <= blowup * num_rows:
            return length
        if length >= len(schedule):
            raise ConfigError(
                f"blowup = {blowup} is too little: the batches need {stored} distinct rows of {num_rows}, so that it "
                f"must be at least {stored / num_rows:.4f}"
            )
        length *= 2


def _stored(schedule: Schedule, hot: Tensor, num_rows: int, length: int) -> int:
    """Distinct rows of each segment, added up."""
    segment_of = torch.full((num_rows,), -1, dtype=torch.int32)
    cold = torch.ones(num_rows, dtype=torch.bool).index_fill_(0, hot, False)
    total = 0
    for number, n_id in enumerate(schedule.members()):
        segment = number // length
        rows = n_id[cold[n_id] & (segment_of[n_id] != segment)].unique()
        segment_of[rows] = segment
        total += rows.numel()
    return total
