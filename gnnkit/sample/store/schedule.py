"""The batches of an epoch, sampled once and written down: what is asked for, and when, is then known beforehand."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit._files import flat_bytes, hash_of
from gnnkit.errors import ConfigError, DataError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_count
from gnnkit.sample._counts import fingerprint
from gnnkit.sample._gather import take
from gnnkit.sample._loader import Loader
from gnnkit.sample._targets import topology_of
from gnnkit.sample.store._container import Mapped, Writer, name_of, writing

KIND = "schedule"
# Tensors of a batch begin at multiples of this many bytes.
_ALIGNED = 64
_DTYPES = {
    name_of(dtype): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    )
}


class Schedule:
    """A file with the batches of an epoch, but for the attributes of nodes and edges, which they are gathered from.

    Args:
        path: A file that :func:`record_schedule` wrote.

    Attributes:
        path: The file.
        epoch: Which epoch of the sampler it is.
        num_nodes: Of the whole graph.
        content: SHA-256 that tells this file from all others.

    Raises:
        DataError: If the file is missing, truncated, damaged, or no schedule.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = Mapped(path, KIND)
        self.path = self._file.path
        self.content = self._file.content
        self.epoch: int = self._file.about["epoch"]
        self.num_nodes: int = self._file.about["num_nodes"]
        self._batches = self._file.tensor("batches")
        self._records = self._file.tensor("records")
        self._ptr = self._file.tensor("record_ptr").tolist()

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._ptr) - 1

    def __iter__(self) -> Iterator[Data]:
        """What the sampler made of each batch, without the attributes that are gathered."""
        for number in range(len(self)):
            yield Data.from_dict(self._made(number))

    def n_id(self, number: int) -> Tensor:
        """Nodes of a batch, int64 ``[n]``; nothing else of it is read."""
        return self._tensor(self._record(number)["tensors"]["n_id"])

    def members(self) -> Iterator[Tensor]:
        """Nodes of one batch after the other."""
        return (self.n_id(number) for number in range(len(self)))

    def batch(self, number: int, data: Any) -> Data:
        """Batch ``number``, bit for bit what the sampler gave, with attributes gathered from ``data``.

        Args:
            number: From 0 on.
            data: The whole graph; attributes may have changed since, the graph not, which :meth:`check` tells.

        Raises:
            ConfigError: If there is no such batch.
            DataError: As :func:`~gnnkit.sample.take`.
        """
        made = self._made(number)
        batch = take(data, made["n_id"], made["e_id"], made["edge_index"])
        # In this order, as in the sampler, which sets its own after the gathered ones.
        for name, value in made.items():
            batch[name] = value
        return batch

    def check(self, data: Any) -> None:
        """Says whether this is a schedule for a graph.

        Args:
            data: A ``Data`` with ``edge_index`` or ``graph``.

        Raises:
            DataError: If its graph is another one.

        Complexity: ``O(E)`` time, but for a :class:`~gnnkit.sample.store.MappedGraph`, whose file tells.
        """
        if _fingerprint_of(topology_of(data)) != self._file.about["graph"]:
            raise DataError(
                f"{self.path} is a schedule for another graph: its nodes and edges are not those of the given data. "
                "Record one for this graph with record_schedule()"
            )

    def check_sampler(self, sampler: Loader) -> None:
        """Says whether this is the schedule of a sampler.

        Raises:
            DataError: If its graph or one of its settings is another.
        """
        self.check(_data_of(sampler))
        mine, given = self._file.about["sampler"], _settings_of(sampler)
        names = sorted(name for name in {*mine, *given} if mine.get(name) != given.get(name))
        if names:
            differing = ", ".join(f"{name}: {mine.get(name)!r}, not {given.get(name)!r}" for name in names)
            raise DataError(f"{self.path} is the schedule of another sampler ({differing}); record it anew")

    def verify(self) -> None:
        """Reads the whole file and compares it with the checksums of what was written.

        Raises:
            DataError: If it is damaged.
        """
        self._file.verify()

    def _made(self, number: int) -> dict[str, Any]:
        record = self._record(number)
        return {name: self._tensor(entry) for name, entry in record["tensors"].items()} | record["values"]

    def _record(self, number: int) -> dict[str, Any]:
        if check_count("number", number, 0) >= len(self):
            raise ConfigError(f"number must be below the {len(self)} batches of the schedule, got {number}")
        text = self._records[self._ptr[number] : self._ptr[number + 1]]
        try:
            return json.loads(bytes(text.numpy()))
        except ValueError as error:
            raise DataError(
                f"{self.path} is damaged: batch {number} cannot be read ({error}); record it anew"
            ) from error

    def _tensor(self, entry: dict[str, Any]) -> Tensor:
        dtype = _DTYPES[entry["dtype"]]
        part = self._batches[entry["start"] : entry["start"] + entry["bytes"]]
        # A copy: the caller may write to it.
        return part.clone().view(dtype).reshape(entry["shape"])


def record_schedule(sampler: Loader, path: str | Path, *, epoch: int = 0) -> Schedule:
    """Samples an epoch and writes its batches to a file, one after the other; whole or not at all.

    The file holds what the sampler makes, such as ``n_id``, ``e_id``, ``edge_index``, and norms. Attributes of the
    given data are gathered neither now nor into the file. It also holds SHA-256 of the graph and the settings of the
    sampler, so that a schedule is not taken for one of another graph.

    Args:
        sampler: Any sampler of :mod:`gnnkit.sample`; all of its batches are recorded, also where it is a shard.
        path: Of the file.
        epoch: Which epoch.

    Returns:
        The schedule.

    Raises:
        ConfigError: If ``epoch`` is negative, or ``sampler`` is no sampler of a ``Data``.
        DataError: If a batch has an attribute that is neither a tensor nor plain, or the file cannot be written.

    Determinism: that of the sampler.
    Complexity: that of sampling, ``O(E)`` for the checksum of the graph; memory of one batch.
    """
    data = _data_of(sampler)
    check_count("epoch", epoch, 0)
    graph = topology_of(data)
    about = {
        "epoch": epoch,
        "num_nodes": graph.num_nodes,
        "graph": _fingerprint_of(graph),
        "sampler": _settings_of(sampler),
    }
    bare: Any = copy.copy(sampler)
    ends = {"graph": graph} if data.edge_index is None else {"edge_index": data.edge_index}
    bare.data = Data.from_dict({"num_nodes": int(data.num_nodes), **ends})
    with writing(Path(path), KIND, about) as file:
        _write(file, (bare.make(epoch, number) for number in range(sampler.num_batches)))
    return Schedule(path)


def _write(file: Writer, batches: Iterator[Data]) -> None:
    records: list[bytes] = []

    def parts() -> Iterator[Tensor]:
        start = 0
        for batch in batches:
            record: dict[str, Any] = {"tensors": {}, "values": {}}
            for name, value in batch.to_dict().items():
                if not isinstance(value, Tensor):
                    record["values"][name] = _plain(name, value)
                    continue
                content = flat_bytes(value)
                size = content.numel()
                yield torch.nn.functional.pad(content, (0, -size % _ALIGNED))
                entry = {"dtype": name_of(value.dtype), "shape": list(value.shape), "start": start, "bytes": size}
                record["tensors"][name] = entry
                start += size + -size % _ALIGNED
            records.append(json.dumps(record).encode())

    file.append("batches", parts(), torch.uint8, ())
    text = (torch.frombuffer(bytearray(record), dtype=torch.uint8) for record in records)
    file.append("records", text, torch.uint8, ())
    size = torch.tensor([0, *(len(record) for record in records)])
    file.append("record_ptr", iter((size.cumsum(0),)), torch.int64, ())


def _plain(name: str, value: Any) -> Any:
    try:
        if json.loads(json.dumps(value)) == value:
            return value
    except (TypeError, ValueError):
        pass
    raise DataError(f"batch.{name} is {type(value).__name__}, which a schedule cannot hold: tensors, numbers and lists")


def _data_of(sampler: Any) -> Any:
    data = getattr(sampler, "data", None)
    if not isinstance(sampler, Loader) or data is None:
        raise ConfigError(
            f"a schedule is recorded from a sampler of gnnkit.sample, whose attribute data is the whole graph, got "
            f"{type(sampler).__name__}"
        )
    return data


def _fingerprint_of(graph: Graph) -> str:
    return graph.cached("fingerprint", lambda: fingerprint(graph, ()))


def _settings_of(sampler: Loader) -> dict[str, Any]:
    """What its batches depend on: the public attributes, tensors by their SHA-256."""
    settings: dict[str, Any] = {"class": type(sampler).__name__}
    for name, value in vars(sampler).items():
        if name.startswith("_") or name in ("data", "prefetch"):
            continue
        if isinstance(value, Tensor):
            settings[name] = f"sha256 {hash_of({name: value})}"
        else:
            settings[name] = json.loads(json.dumps(value, default=lambda other: type(other).__name__))
    return settings
