"""The section of the page of benchmarks that is about synthetic long-range tasks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.accuracy_page import environment_of
from gnnkit.experiment.record import read_record

Content = dict[str, Any]

_TABLES = ("ring-transfer", "tree-neighbors-match")


def long_range_results(folder: Path) -> dict[str, Content]:
    """The committed records of RingTransfer and TreeNeighborsMatch, as one result of the page."""
    paths = [path for table in _TABLES for path in sorted((folder / table).glob("*.json"))]
    return {"long-range": {"kind": "long-range", "records": [read_record(path) for path in paths]}}


def long_range_section(content: Content) -> Iterator[str]:
    """RingTransfer and TreeNeighborsMatch: each task with its methods, the best first."""
    yield from ("## Long-range tasks", "")
    yield " ".join(sorted({environment_of(record) for record in content["records"]}))
    yield "A node must learn what stands at the far end of a ring, or, at the root of a binary tree, the value of the"
    yield "leaf that carries its key. Test accuracy is that of the best validation epoch, the loss (cross-entropy) that"
    yield "of the last epoch on what it trained on; a model that has solved its task stops early. `gnnkit run"
    yield "benchmarks/tables/<table>/<cell>.toml` repeats a row."
    yield ""
    yield "| task | guessing | method | test accuracy | training loss | epochs | parameters | minutes | seed |"
    yield "|---" * 9 + "|"
    for record in sorted(content["records"], key=_place):
        classes = _classes(record)
        yield (
            f"| {_task(record)} | {1 / classes:.3f} | {record['method']} | {record['final']['test']:.3f} | "
            f"{record['history'][-1]['train_loss']:.3f} | {_epochs(record)} | {record['parameters']['total']:,} | "
            f"{record['timing']['wall_seconds'] / 60:.1f} | {record['seed']} |"
        )


def _place(record: Content) -> tuple[Any, ...]:
    """Tasks in order of their difficulty, the better methods first."""
    options = record["config"]["data"]["options"]
    size = options["depth"] if record["table"] == "tree-neighbors-match" else options["ring_size"]
    return (_TABLES.index(record["table"]), size, -record["final"]["test"], record["method"], record["seed"])


def _task(record: Content) -> str:
    options, graphs = record["config"]["data"]["options"], record["data"]["graphs"]
    if record["table"] == "tree-neighbors-match":
        name = f"TreeNeighborsMatch, depth {options['depth']}"
    else:
        name = f"RingTransfer, {options['ring_size']} nodes"
    return f"{name} ({graphs['train']:,} graphs to train on, {graphs['test']:,} to test on)"


def _classes(record: Content) -> int:
    """Classes, all of them equally frequent."""
    options = record["config"]["data"]["options"]
    return 2 ** options["depth"] if record["table"] == "tree-neighbors-match" else options["num_classes"]


def _epochs(record: Content) -> str:
    run, protocol = record["epochs_run"], record["protocol_epochs"]
    text = f"{run}" if run == protocol else f"{run} of {protocol}"
    return text + (", **short schedule**" if record["short_schedule"] else "")
