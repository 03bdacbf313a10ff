"""Classification of documents in HyperGCN's hypergraphs: ``GNNKIT_DATA=folder python -m benchmarks.hypergraph_nodes``.

Every method is trained on each of the ten splits that the hypergraphs come with. These have training and test nodes
only: there is nothing to stop early on or to choose settings by, so a run has a fixed number of epochs, and the
accuracy reported is that of the last epoch. Every node that is nowhere alone gets a hyperedge of its own.

Settings are those of the authors' code where it has any for this data. UniGCNII: ``train.py`` and ``prepare.py`` of
UniGNN, whose splits are these. AllSet: ``run_one_model.sh``, of one layer, with a width of 64 and the middle one of
the numbers of heads tried there; its authors train on half of the nodes of random splits, so that their accuracies are
not comparable. HGNN: as UniGCNII, with weight decay on all weights alike.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.measure import RESULTS, environment, write_text
from gnnkit.data import card, load_hypergraph
from gnnkit.hypergraph import HyperData, Hypergraph, HypergraphModel

DATA = ("cocitation-cora", "cocitation-citeseer")
NUM_SPLITS = 10
OUTPUT = RESULTS / "hypergraph" / "nodes.json"


@dataclass(frozen=True)
class Method:
    """A model, and how it is trained with Adam."""

    name: str
    model: dict[str, Any]
    epochs: int
    learning_rate: float
    weight_decay: float
    layer_weight_decay: float
    """Weight decay of the hypergraph layers; ``weight_decay`` is that of the affine maps around them."""
    normalise: bool
    """Divide the features of a node by their sum."""
    source: str


UNIGNN = "OneForward/UniGNN@a0a83cd"
ALLSET = "jianhao2016/AllSet@e42e0d7"
METHODS = (
    Method("UniGCNII", {"conv": "unigcnii", "dropout": 0.6}, 200, 0.01, 5e-4, 0.01, True, UNIGNN),
    Method(
        "AllSetTransformer",
        {"conv": "allsettransformer", "num_layers": 1, "heads": 4, "dropout": 0.5, "input_dropout": 0.2},
        500, 0.001, 0.0, 0.0, False, ALLSET,
    ),
    Method(
        "AllDeepSets",
        {
            "conv": "alldeepsets", "num_layers": 1, "dropout": 0.5, "input_dropout": 0.2,
            "layer_options": {"aggr": "mean"},
        },
        500, 0.001, 0.0, 0.0, False, ALLSET,
    ),
    Method("HGNN", {"conv": "hgnn", "dropout": 0.6}, 200, 0.01, 5e-4, 5e-4, True, UNIGNN),
)  # fmt: skip


def prepared(name: str, split: int, *, normalise: bool) -> HyperData:
    """The hypergraph, perhaps with features whose rows sum to one."""
    data = load_hypergraph(name, split=split, progress=False)
    assert isinstance(data.x, Tensor)
    if normalise:
        total = data.x.sum(1, keepdim=True)
        data.x = data.x / torch.where(total == 0, 1.0, total)
    data.hypergraph = Hypergraph.from_data(data)
    return data


def train(method: Method, data: HyperData, num_outputs: int, *, epochs: int, seed: int) -> dict[str, Any]:
    """One run; accuracies are those of the last epoch."""
    assert isinstance(data.x, Tensor)
    assert isinstance(data.y, Tensor)
    torch.manual_seed(seed)
    model = HypergraphModel(data.x.size(1), num_outputs, **method.model)
    layers = list(model.layers.parameters())
    around = [value for name, value in model.named_parameters() if not name.startswith("layers.")]
    groups = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((layers, method.layer_weight_decay), (around, method.weight_decay))
        if parameters
    ]
    optimizer = torch.optim.Adam(groups, lr=method.learning_rate)
    start = time.perf_counter()
    loss = torch.tensor(torch.nan)
    for _ in range(epochs):
        model.train()
        optimizer.zero_grad()
        loss = cross_entropy(model(data)[data.train_mask], data.y[data.train_mask])
        loss.backward()
        optimizer.step()
    seconds = time.perf_counter() - start
    model.eval()
    with torch.no_grad():
        right = model(data).argmax(1) == data.y
    return {
        "seed": seed,
        "test_accuracy": round(right[data.test_mask].double().mean().item(), 6),
        "train_accuracy": round(right[data.train_mask].double().mean().item(), 6),
        "last_loss": round(loss.item(), 6),
        "parameters": sum(value.numel() for value in model.parameters()),
        "seconds": round(seconds, 1),
    }


def row(method: Method, name: str, splits: list[int], *, epochs: int | None, seed: int) -> dict[str, Any]:
    """All runs of a method on a data set, and the mean and deviation of their test accuracy."""
    epochs = method.epochs if epochs is None else epochs
    num_outputs = card(name).num_outputs
    runs = [
        {"split": split, **train(method, prepared(name, split, normalise=method.normalise), num_outputs, **settings)}
        for split in splits
        for settings in [{"epochs": epochs, "seed": seed + split}]
    ]
    accuracy = torch.tensor([run["test_accuracy"] for run in runs], dtype=torch.float64)
    return {
        "method": method.name,
        "data": name,
        "settings": {**asdict(method), "epochs": epochs},
        "epochs_of_the_protocol": method.epochs,
        "test_accuracy_mean": round(accuracy.mean().item(), 6),
        # With n - 1; of a single run there is none.
        "test_accuracy_std": round(accuracy.std().item(), 6) if len(runs) > 1 else None,
        "runs": runs,
    }


def main(arguments: list[str] | None = None) -> None:
    names = [method.name for method in METHODS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hypergraph_nodes", description=__doc__.split("\n")[0])
    parser.add_argument("--methods", nargs="*", default=names, choices=names, metavar="NAME", help="default all")
    parser.add_argument("--data", nargs="*", default=DATA, choices=DATA, metavar="NAME", help="default both")
    parser.add_argument("--splits", type=int, nargs="*", default=list(range(NUM_SPLITS)), help="default 0 to 9")
    parser.add_argument("--epochs", type=int, default=None, help="of every method; default as its authors have")
    parser.add_argument("--seed", type=int, default=0, help="of split 0; each further split adds 1; default 0")
    parser.add_argument("--threads", type=int, default=2, help="of torch; default 2")
    parser.add_argument(
        "--json", type=Path, default=OUTPUT, metavar="PATH", help="where to write; default: the results"
    )
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    rows = []
    for name in chosen.data:
        for method in METHODS:
            if method.name not in chosen.methods:
                continue
            rows.append(row(method, name, chosen.splits, epochs=chosen.epochs, seed=chosen.seed))
            found = rows[-1]
            spread = "" if found["test_accuracy_std"] is None else f" ± {100 * found['test_accuracy_std']:.2f}"
            print(
                f"{name:20s} {method.name:18s} test accuracy {100 * found['test_accuracy_mean']:.2f}{spread} % over "
                f"{len(found['runs'])} splits, {found['settings']['epochs']} epochs, "
                f"{found['runs'][0]['parameters']} parameters, {sum(run['seconds'] for run in found['runs']):.0f} s",
                flush=True,
            )
            # After each row, so that an interruption loses one at most.
            content = {"kind": "hypergraph-nodes", "environment": environment(), "rows": rows}
            write_text(chosen.json, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
