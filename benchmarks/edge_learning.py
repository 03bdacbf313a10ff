"""Edge representation learning: classification of graphs while edges are dropped, and edges read back from clusters.

    GNNKIT_DATA=folder python -m benchmarks.edge_learning classify --epochs 100
    GNNKIT_DATA=folder python -m benchmarks.edge_learning reconstruct --epochs 100

Finished runs are kept in the folder ``--work`` and not done again. Each command writes its section of
``results/hypergraph/edge-learning.json``, the first one only if all of its runs are those of the table.
"""

import argparse
import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from benchmarks.measure import RESULTS, commit, environment, write_text
from gnnkit import Graph
from gnnkit.data import GraphDataset, load
from gnnkit.data.folds import NUM_FOLDS
from gnnkit.experiment.schedule import warmup_cosine
from gnnkit.experiment.tasks import epoch_order
from gnnkit.hypergraph import EdgeReconstruction, EHGNNClassifier, num_seeds_of
from gnnkit.hypergraph.edge_learning.classifier import ReadoutHead, readout
from gnnkit.nn import GCNConv, TopKPooling, pool

OUTPUT = RESULTS / "hypergraph" / "edge-learning.json"
HIDDEN, LAYERS, DROPOUT = 128, 3, 0.5
NODE_RATIO = 0.8
# Shares of edges kept after each layer, as the authors have them.
RATIOS = {"mutag": 0.9, "proteins": 0.65, "imdb-binary": 0.9}
CLUSTER_RATIO, CLUSTER_HIDDEN = 0.15, 32
PUBLISHED_EPOCHS = 500


@dataclass(frozen=True)
class Protocol:
    """How one model is trained.

    Attributes:
        epochs: Epochs of the schedule.
        patience: Epochs without a lower validation loss after which training ends.
        lr: Largest learning rate of Adam.
        weight_decay: L2 penalty.
        warmup: Epochs of linear warm-up before half a cosine. None: a constant rate.
        clip: Largest norm of the gradient.
        batch: Graphs per step.
        seed: Of the weights, the order of graphs and dropout.
    """

    epochs: int
    patience: int
    lr: float
    weight_decay: float
    warmup: int | None
    clip: float
    batch: int
    seed: int = 42


def classification_protocol(epochs: int, seed: int = 42) -> Protocol:
    """The authors' for TU graphs; warm-up is a tenth of the epochs, 50 of 500."""
    return Protocol(epochs, 50, 5e-4, 1e-4, max(1, epochs // 10), 1.0, 128, seed)


def reconstruction_protocol(epochs: int, seed: int = 42) -> Protocol:
    """The authors' rate, epochs and patience for ZINC; the rest as for classification, without a schedule."""
    return Protocol(epochs, 200, 1e-3, 0.0, None, 1.0, 128, seed)


class GCNMean(torch.nn.Module):
    """Graph convolutions, the mean of the nodes, affine maps."""

    def __init__(self, in_channels: int, num_outputs: int) -> None:
        super().__init__()
        widths = [in_channels] + [HIDDEN] * (LAYERS - 1)
        self.convs = torch.nn.ModuleList(GCNConv(width, HIDDEN) for width in widths)
        self.head = ReadoutHead(HIDDEN, HIDDEN, num_outputs, dropout=DROPOUT)

    def forward(self, data: Any) -> Tensor:
        """A ``Batch`` to logits, ``[G, num_outputs]``."""
        x, graph = data.x, Graph.from_edge_index(data.edge_index, num_nodes=data.num_nodes)
        for conv in self.convs:
            x = conv(x, graph).relu()
        return self.head(pool(x, ptr=data.ptr, reduce="mean"))


class NodeTopK(torch.nn.Module):
    """Graph convolutions, after each a share of the nodes kept; the readout is that of HyperDrop."""

    def __init__(self, in_channels: int, num_outputs: int) -> None:
        super().__init__()
        widths = [in_channels] + [HIDDEN] * (LAYERS - 1)
        self.convs = torch.nn.ModuleList(GCNConv(width, HIDDEN) for width in widths)
        self.pools = torch.nn.ModuleList(TopKPooling(HIDDEN, NODE_RATIO) for _ in widths)
        self.head = ReadoutHead(3 * HIDDEN, HIDDEN, num_outputs, dropout=DROPOUT)

    def forward(self, data: Any) -> Tensor:
        """A ``Batch`` to logits, ``[G, num_outputs]``."""
        x, ptr, out = data.x, data.ptr, torch.zeros(())
        graph = Graph.from_edge_index(data.edge_index, num_nodes=data.num_nodes)
        for conv, pooling in zip(self.convs, self.pools, strict=True):
            kept = pooling(conv(x, graph).relu(), graph, ptr=ptr)
            x, graph, ptr = kept.x, kept.graph, kept.ptr
            out = out + readout(x, ptr)
        return self.head(out)


def hyper_drop(dataset: GraphDataset, *, symmetric: bool = False) -> torch.nn.Module:
    return EHGNNClassifier(
        dataset.num_node_features,
        dataset.num_outputs,
        edge_channels=max(dataset.num_edge_features, 1),
        hidden_channels=HIDDEN,
        num_convs=LAYERS,
        ratio=RATIOS[dataset.name],
        symmetric=symmetric,
        dropout=DROPOUT,
    )


MODELS: dict[str, Callable[[GraphDataset], torch.nn.Module]] = {
    "HyperDrop": hyper_drop,
    "GCN, mean pooling": lambda dataset: GCNMean(dataset.num_node_features, dataset.num_outputs),
    "GCN, top-k node pooling": lambda dataset: NodeTopK(dataset.num_node_features, dataset.num_outputs),
    "HyperDrop, symmetric": lambda dataset: hyper_drop(dataset, symmetric=True),
}
TABLE = tuple(MODELS)[:3]


def with_degrees(dataset: GraphDataset) -> GraphDataset:
    """Degrees one-hot as node features, where there are none."""
    if "x" in dataset.node:
        return dataset
    first = dataset.node_ptr[:-1].repeat_interleave(dataset.edge_ptr.diff())
    degree = torch.bincount(dataset.edge_index[0] + first, minlength=int(dataset.node_ptr[-1]))
    return GraphDataset(
        dataset.info,
        node_ptr=dataset.node_ptr,
        edge_ptr=dataset.edge_ptr,
        edge_index=dataset.edge_index,
        node={"x": one_hot(degree).float()},
        edge=dataset.edge,
        graph=dataset.graph,
        split=dataset.split,
    )


def fold_splits(folds: Sequence[Tensor], fold: int) -> dict[str, Tensor]:
    """Fold ``fold`` tests, the one before it (before the first, the last) validates, the others train."""
    count = len(folds)
    others = [folds[other] for other in range(count) if other not in (fold, (fold - 1) % count)]
    return {"train": torch.cat(others).sort().values, "val": folds[fold - 1], "test": folds[fold]}


def majority(labels: Tensor) -> float:
    """Accuracy of always telling the most frequent label."""
    return int(labels.bincount().max()) / labels.numel()


Targets = Callable[[Any], Tensor]


def evaluate(model: torch.nn.Module, batches: Iterable[Any], target: Targets) -> dict[str, float]:
    """Mean loss and accuracy over all labels."""
    model.eval()
    loss, right, count = 0.0, 0, 0
    with torch.no_grad():
        for batch in batches:
            logits, label = model(batch), target(batch)
            loss += float(cross_entropy(logits, label, reduction="sum"))
            right += int((logits.argmax(1) == label).sum())
            count += label.numel()
    return {"loss": loss / count, "accuracy": right / count}


def train(
    make: Callable[[], torch.nn.Module],
    dataset: GraphDataset,
    split: dict[str, Tensor],
    target: Targets,
    protocol: Protocol,
) -> dict[str, Any]:
    """Trains one model, and tests it as it was at the lowest validation loss."""
    start = time.perf_counter()
    torch.manual_seed(protocol.seed)
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=protocol.lr, weight_decay=protocol.weight_decay)
    held = {key: [dataset.batch(ids) for ids in split[key].split(protocol.batch)] for key in ("val", "test")}
    best: dict[str, Any] = {"val": {"loss": math.inf}}
    epoch = 0
    for epoch in range(1, protocol.epochs + 1):
        factor = 1.0 if protocol.warmup is None else warmup_cosine(epoch - 1, protocol.epochs, protocol.warmup)
        for group in optimizer.param_groups:
            group["lr"] = protocol.lr * factor
        model.train()
        for ids in epoch_order(split["train"], protocol.seed, epoch).split(protocol.batch):
            batch = dataset.batch(ids)
            optimizer.zero_grad()
            cross_entropy(model(batch), target(batch)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), protocol.clip)
            optimizer.step()
        found = evaluate(model, held["val"], target)
        if found["loss"] < best["val"]["loss"]:
            best = {"epoch": epoch, "val": found, "test": evaluate(model, held["test"], target)}
        elif epoch - best.get("epoch", 0) >= protocol.patience:
            break
    return best | {
        "epochs_run": epoch,
        "parameters": sum(value.numel() for value in model.parameters()),
        "seconds": round(time.perf_counter() - start, 1),
        "commit": commit(),
    }


def kept(work: Path, name: str, settings: dict[str, Any], run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of a run with these settings: read where it is there, else made and written."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    path = work / f"{name.replace(', ', '-').replace(' ', '-').lower()}-{key}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    result = settings | run()
    write_text(path, json.dumps(result, indent=2) + "\n")
    return result


def classify_one(name: str, model: str, folds: Sequence[int], protocol: Protocol, work: Path) -> list[dict[str, Any]]:
    """The folds of one model on one set of graphs."""
    by_fold = [load(name, progress=False, fold=fold) for fold in range(NUM_FOLDS)]
    dataset, tests = with_degrees(by_fold[0]), [part.split["test"] for part in by_fold]
    rows = []
    for fold in folds:
        settings = {
            "dataset": name,
            "content": dataset.content_hash,
            "model": model,
            "fold": fold,
            "ratio": {"HyperDrop": RATIOS[name]}.get(model.partition(",")[0], NODE_RATIO if "top-k" in model else None),
            "protocol": asdict(protocol),
        }
        row = kept(
            work,
            f"{name}-{model}-{fold}",
            settings,
            lambda fold=fold: train(
                lambda: MODELS[model](dataset), dataset, fold_splits(tests, fold), lambda batch: batch.y, protocol
            ),
        )
        print(
            f"{name:12s} {model:24s} fold {fold}: test {row['test']['accuracy']:.4f}, lowest validation loss "
            f"{row['val']['loss']:.4f} in epoch {row['epoch']} of {row['epochs_run']}, {row['seconds']} s",
            flush=True,
        )
        rows.append(row)
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of the test accuracy over folds."""
    accuracy = [row["test"]["accuracy"] for row in rows]
    return {
        "dataset": rows[0]["dataset"],
        "model": rows[0]["model"],
        "folds": len(rows),
        "mean_accuracy": round(statistics.mean(accuracy), 4),
        "std_accuracy": round(statistics.pstdev(accuracy), 4),
        "parameters": rows[0]["parameters"],
    }


def bond_types(dataset: GraphDataset) -> tuple[GraphDataset, int]:
    """The set with the type of each edge alone as ``edge_attr``, one-hot, and the number of types."""
    attr = dataset.edge["edge_attr"]
    kind = attr.argmax(1) if attr.is_floating_point() else attr[:, 0].long()
    number = attr.size(1) if attr.is_floating_point() else int(kind.max()) + 1
    typed = GraphDataset(
        replace(dataset.info, edge_categories=None),
        node_ptr=dataset.node_ptr,
        edge_ptr=dataset.edge_ptr,
        edge_index=dataset.edge_index,
        node=dataset.node,
        edge={"edge_attr": one_hot(kind, number).float()},
        graph=dataset.graph,
        split=dataset.split,
    )
    return typed, number


def reconstruct_one(name: str, protocol: Protocol, work: Path) -> dict[str, Any]:
    """Edge types of one set of graphs from their clusters, with the split on its card."""
    dataset, types = bond_types(load(name, progress=False))
    mean_edges = dataset.edge_index.size(1) / len(dataset)
    seeds = num_seeds_of(CLUSTER_RATIO, mean_edges)
    settings = {
        "dataset": name,
        "content": dataset.content_hash,
        "model": "HyperCluster",
        "ratio": CLUSTER_RATIO,
        "clusters": seeds,
        "mean_edges": round(mean_edges, 2),
        "hidden": CLUSTER_HIDDEN,
        "protocol": asdict(protocol),
    }

    def target(batch: Any) -> Tensor:
        return batch.edge_attr.argmax(1)

    def run() -> dict[str, Any]:
        found = train(
            lambda: EdgeReconstruction(types, types, seeds, hidden_channels=CLUSTER_HIDDEN),
            dataset,
            dataset.split,
            target,
            protocol,
        )
        return found | {"majority_accuracy": majority(target(dataset.batch(dataset.split["test"])))}

    row = kept(work, f"{name}-hypercluster", settings, run)
    print(
        f"{name:12s} {types} edge types, {seeds} clusters for {mean_edges:.1f} edges: test "
        f"{row['test']['accuracy']:.4f} (the most frequent type: {row['majority_accuracy']:.4f}), epoch "
        f"{row['epoch']} of {row['epochs_run']}, {row['seconds']} s",
        flush=True,
    )
    return row


def write_section(path: Path, key: str, section: dict[str, Any]) -> None:
    """Replaces one section of the results."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    content |= {"kind": "edge-learning", key: section | {"environment": environment()}}
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def schedule(epochs: int) -> str:
    if epochs < PUBLISHED_EPOCHS:
        return f"short schedule: {epochs} epochs, the authors' is {PUBLISHED_EPOCHS}"
    return f"{epochs} epochs"


def main(arguments: list[str] | None = None) -> int:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--epochs", type=int, default=PUBLISHED_EPOCHS)
    common.add_argument("--seed", type=int, default=42)
    common.add_argument("--json", type=Path, default=None, metavar="PATH", help="where to write; default: the results")
    common.add_argument("--work", type=Path, default=Path("runs/edge-learning"), metavar="FOLDER")
    common.add_argument("--threads", type=int, default=1, help="of torch; default 1")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.edge_learning", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    classes = commands.add_parser("classify", parents=[common], help="accuracy over ten folds")
    classes.add_argument("--datasets", nargs="*", default=list(RATIOS), choices=RATIOS, metavar="NAME")
    classes.add_argument("--models", nargs="*", default=list(TABLE), choices=MODELS, metavar="NAME")
    classes.add_argument("--folds", type=int, nargs="*", default=list(range(NUM_FOLDS)), choices=range(NUM_FOLDS))
    edges = commands.add_parser("reconstruct", parents=[common], help="accuracy of edge types")
    edges.add_argument("--datasets", nargs="*", default=["aids"], choices=["aids", "peptides-func"], metavar="NAME")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    if chosen.command == "reconstruct":
        protocol = reconstruction_protocol(chosen.epochs, chosen.seed)
        rows = [reconstruct_one(name, protocol, chosen.work) for name in chosen.datasets]
        section = {"schedule": schedule(chosen.epochs), "rows": rows}
        write_section(chosen.json or OUTPUT, "reconstruction", section)
        return 0
    protocol = classification_protocol(chosen.epochs, chosen.seed)
    cells = [
        classify_one(name, model, chosen.folds, protocol, chosen.work)
        for name in chosen.datasets
        for model in chosen.models
    ]
    for cell in cells:
        print(summary(cell))
    whole = (chosen.datasets, len(chosen.folds)) == (list(RATIOS), NUM_FOLDS) and set(TABLE) <= set(chosen.models)
    # A part must not take the place of the whole.
    if chosen.json is not None or whole:
        section = {
            "schedule": schedule(chosen.epochs),
            "protocol": "fold k tests, fold k - 1 validates; the model of the lowest validation loss is tested",
            "folds": "as listed on the data sets' cards; MUTAG's are stratified from seed 0",
            "table": [summary(cell) for cell in cells],
            "rows": [row for cell in cells for row in cell],
        }
        write_section(chosen.json or OUTPUT, "classification", section)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
