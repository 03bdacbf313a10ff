"""An epoch of GraphSAGE on a generated graph whose topology and features stay on disk, in bounded memory."""

import argparse
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from benchmarks.graphs import power_law_parts
from benchmarks.measure import RESULTS, environment, write_text
from gnnkit import Graph
from gnnkit.nn import SAGEConv
from gnnkit.sample import Neighbor
from gnnkit.sample.store import FeatureStore, MappedGraph, PackedEpoch, pack_epoch, record_schedule, reverse_pagerank

ROWS_AT_ONCE, EDGES_AT_ONCE = 2**18, 2**21
CLASSES = 16
GIB = 2**30


class PeakMemory:
    """The most memory of the process that is no copy of a file: anonymous and shared, sampled every 10 ms.

    What is mapped from files is left out: the system drops it where memory is short.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()

    def __enter__(self) -> "PeakMemory":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            held = sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
            self.peak = max(self.peak, held)
            if self._stop.wait(0.01):
                return


class Sage(torch.nn.Module):
    """Two layers, which is how many hops are sampled."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = SAGEConv(width, hidden)
        self.second = SAGEConv(hidden, CLASSES)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Scores of the classes, ``[N, CLASSES]``."""
        return self.second(self.first(x, graph).relu(), graph)


def limit_memory(num_bytes: int) -> None:
    """Makes any allocation fail that takes the process beyond ``num_bytes`` of private memory."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (num_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def bytes_from_disk() -> int:
    """What the process has had read from disks so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))


@contextmanager
def timed(record: dict[str, Any], name: str) -> Iterator[None]:
    """Adds seconds, bytes from disk and the peak of memory of a step to the record, and prints them."""
    start, before = time.perf_counter(), bytes_from_disk()
    with PeakMemory() as memory:
        yield
    found = {
        "seconds": round(time.perf_counter() - start, 2),
        "disk_read_mb": round((bytes_from_disk() - before) / 1e6, 1),
        "peak_memory_mb": round(memory.peak / 1e6, 1),
    }
    record.setdefault("steps", {})[name] = found
    print(f"{name:40s} {found['seconds']:9.2f} s   {found['disk_read_mb']:9.1f} MB from disk   "
          f"peak {found['peak_memory_mb']:8.1f} MB", flush=True)  # fmt: skip


def files_size(options: argparse.Namespace) -> int:
    """Bytes that the files will have: features and, with int32, boundaries, sources and numbers of edges."""
    index = 4 if max(options.nodes, options.edges) < 2**31 else 8
    return options.nodes * (2 * options.width + index) + options.edges * index * (2 if options.edge_ids else 1)


def feature_parts(options: argparse.Namespace) -> Iterator[Tensor]:
    """Features that a label can be told from."""
    generator = torch.Generator().manual_seed(0)
    for begin in range(0, options.nodes, ROWS_AT_ONCE):
        rows = torch.randn(min(ROWS_AT_ONCE, options.nodes - begin), options.width, generator=generator)
        rows[:, 0] += torch.arange(begin, begin + len(rows)) % CLASSES - CLASSES / 2
        yield rows


def make_files(folder: Path, options: argparse.Namespace, record: dict[str, Any]) -> tuple[MappedGraph, FeatureStore]:
    """Writes what is not there yet."""
    name = f"{options.nodes}-{options.edges}-{options.width}-{options.edge_ids}"
    graph_path, x_path = folder / f"graph-{name}", folder / f"x-{name}"
    missing = sum(not path.exists() for path in (graph_path, x_path))
    free = shutil.disk_usage(folder).free
    if missing and free < 1.2 * files_size(options):
        raise SystemExit(f"{folder} has {free / 1e9:.1f} GB free, and the files need {files_size(options) / 1e9:.1f}")
    if not graph_path.exists():
        with timed(record, "topology: draw edges twice, sort"):
            parts = power_law_parts(options.nodes, options.edges, EDGES_AT_ONCE)
            MappedGraph.build(graph_path, parts, options.nodes, edge_ids=options.edge_ids)
    if not x_path.exists():
        with timed(record, "features: draw and write"):
            FeatureStore.write(x_path, feature_parts(options), dtype=torch.float16)
    return MappedGraph(graph_path), FeatureStore(x_path)


def train(
    loader: Any, measured: FeatureStore | PackedEpoch, options: argparse.Namespace, record: Any, name: str
) -> None:
    """One epoch; ``measured`` is what features come from."""
    torch.manual_seed(0)
    model = Sage(options.width, options.hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses: list[float] = []
    nodes = 0
    measured.reset_metrics()
    with timed(record, f"{name}: {len(loader)} batches"):
        for batch in loader:
            graph = Graph.from_edge_index(batch.edge_index, batch.num_nodes)
            out = model(batch.x.float(), graph)[: batch.batch_size]
            loss = torch.nn.functional.cross_entropy(out, batch.n_id[: batch.batch_size] % CLASSES)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            nodes += batch.num_nodes
    metrics = measured.metrics
    record[name] = {
        "batches": len(loader),
        "nodes_of_batches": nodes,
        "first_loss": round(losses[0], 4),
        "last_loss": round(losses[-1], 4),
        "rows": metrics.rows,
        "hit_rate": round(metrics.hit_rate, 4),
        "feature_bytes_read_mb": round(metrics.bytes_read / 1e6, 1),
        "feature_pages_read_mb": round(metrics.page_bytes / 1e6, 1),
    }


def packed(
    sampler: Neighbor, data: Data, store: FeatureStore, options: argparse.Namespace, record: dict[str, Any]
) -> PackedEpoch:
    """The epoch that has just been trained on, from files made for it."""
    with timed(record, "schedule: sample and write"):
        schedule = record_schedule(sampler, options.folder / "schedule")
    with timed(record, "features: lay out by batch"):
        tier = int(options.tier * options.nodes) * store.row_bytes
        path = pack_epoch(schedule, store, options.folder / "packed", blowup=options.pack, memory_bytes=tier)
    replayed = PackedEpoch(data, schedule, path)
    record["packed"] = {"blowup": round(replayed.blowup, 4), "segment_length": replayed.segment_length}
    return replayed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.out_of_core", description=__doc__)
    parser.add_argument("folder", type=Path, help="for the files, which are kept; an empty one at first")
    parser.add_argument("--nodes", type=int, default=10**7)
    parser.add_argument("--edges", type=int, default=10**8)
    parser.add_argument("--width", type=int, default=32, help="of the features, which are float16")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--seeds", type=float, default=0.02, help="share of the nodes that are trained on")
    parser.add_argument("--fanout", type=int, nargs=2, default=[15, 10])
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--tier", type=float, default=0.1, help="share of the features that is held in memory")
    parser.add_argument("--reorder", action="store_true", help="write the features again, in order of score")
    parser.add_argument(
        "--pack", type=float, default=0, help="also replay the epoch packed; times the size of the store"
    )
    parser.add_argument("--edge-ids", action="store_true", help="keep the numbers of edges as well")
    parser.add_argument("--memory", type=float, default=8, help="GiB that the process may take")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write results/scale/out_of_core.json, not only print")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    # Mapped files count as private memory, though what is read of them is not held by the process.
    copies = 1 + options.reorder + 2 * options.pack
    limit_memory(int(options.memory * GIB + copies * files_size(options)))
    record: dict[str, Any] = {"options": {key: str(value) for key, value in vars(options).items() if key != "folder"}}
    graph, store = make_files(options.folder, options, record)
    seeds = torch.randperm(options.nodes, generator=torch.Generator().manual_seed(1))
    seeds = seeds[: max(int(options.seeds * options.nodes), 1)].clone()
    data = Data.from_dict({"graph": graph, "x": store, "num_nodes": options.nodes})
    if options.tier > 0 or options.reorder:
        with timed(record, "scores: reverse PageRank from the seeds"):
            score = reverse_pagerank(graph, seeds, tolerance=1e-2)
        if options.reorder:
            with timed(record, "features: write in order of score"):
                order = score.argsort(descending=True, stable=True)
                store = data["x"] = store.reorder(options.folder / "x-ordered", order)
            del order
        with timed(record, "features: rows that are kept"):
            record["kept_rows"] = store.keep(score, bytes=int(options.tier * options.nodes) * store.row_bytes)
        del score
    sampler = Neighbor(data, options.fanout, seeds, batch_size=options.batch_size, shuffle=True)
    train(sampler, store, options, record, "training")
    if options.pack:
        replayed = packed(sampler, data, store, options, record)
        train(replayed, replayed, options, record, "training on the packed epoch")
    print(json.dumps({name: value for name, value in record.items() if name.startswith("training")}, indent=2))
    if options.write:
        whole = {"environment": environment(), **record}
        write_text(RESULTS / "scale" / "out_of_core.json", json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
